// fanwire bench: a load test of a running deployment. services/main.ts starts it as a separate process.

import { writeFileSync } from 'node:fs'
import { Live } from './run/live.ts'
import { loadTest } from './run/load-test.ts'
import { HELP, Misused, type Options, readOptions } from './run/options.ts'
import { exceeded, type Outcome, outcomeText } from './run/outcome.ts'
import { CannotRun } from './run/preflight.ts'

/** Exit codes. */
const EXCEEDED = 1
const MISUSED = 2
const CANNOT = 3
/** A second signal within this time, ms, is an echo: a terminal signals all processes, and the parent forwards it. */
const ECHO = 500

function give(code: number, message: string): never {
  process.stderr.write(`${message.replace(/^/gm, 'fanwire bench: ')}\n`)
  process.exit(code)
}

/** Aborts at the first Ctrl-C; a second one ends the process. */
function untilInterrupted(): AbortSignal {
  const abort = new AbortController()
  let first = 0
  const interrupt = () => {
    if (abort.signal.aborted && Date.now() - first > ECHO) process.exit(CANNOT)
    first ||= Date.now()
    abort.abort()
  }
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, interrupt)
  return abort.signal
}

function resultOf(options: Options, outcome: Outcome, broken: readonly string[]): string {
  const { publishKey, headers, processesFree, ...asked } = options
  const result = {
    date: new Date().toISOString(),
    node: process.versions.node,
    asked: { ...asked, headers: Object.keys(headers) },
    ok: broken.length === 0,
    exceeded: broken,
    ...outcome,
  }
  return `${JSON.stringify(result, null, 2)}\n`
}

async function main(): Promise<number> {
  const options = readOptions(process.argv.slice(2), process.env)
  if (options === undefined) {
    process.stdout.write(HELP)
    return 0
  }
  const signal = untilInterrupted()
  const live = new Live(process.stderr)
  const outcome = await loadTest(options, live, signal).finally(() => live.clear())
  process.stdout.write(outcomeText(outcome))
  const broken = exceeded(outcome, options.thresholds)
  if (options.out !== undefined) writeFileSync(options.out, resultOf(options, outcome, broken))
  for (const each of broken) process.stdout.write(`EXCEEDED  ${each}\n`)
  return broken.length > 0 ? EXCEEDED : 0
}

process.exitCode = await main().catch((error: unknown) => {
  if (error instanceof Misused) give(MISUSED, `${error.message}\nsee fanwire bench --help`)
  if (error instanceof CannotRun) give(CANNOT, error.message)
  give(CANNOT, error instanceof Error ? (error.stack ?? error.message) : String(error))
})
