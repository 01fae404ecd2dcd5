// Real node processes for tests. `npm test` builds first, and they run the build; a test file that is run by itself
// runs services/main.ts from source, so that no stale build can be tested.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const MAIN = fileURLToPath(new URL('../../services/main.ts', import.meta.url))
const ROOT = fileURLToPath(new URL('../..', import.meta.url))
/** Whether `npm test` has built dist/, so that node processes need not compile the sources again. */
export const BUILT = process.env.TEST_BUILT === '1'

/** A node that does not listen within this time, ms, has failed, even on a busy machine. */
const START_WITHIN = 60_000

export interface NodeOptions {
  /** Settings. Only PATH is inherited; PORT is 0 unless set. */
  readonly env?: Readonly<Record<string, string>>
  readonly args?: readonly string[]
  /** Flags of Node itself. */
  readonly flags?: readonly string[]
  /** Runs from dist/, which must exist, rather than from source. `BUILT` by default. */
  readonly built?: boolean
}

/** How a process ended. */
export interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

export interface RunningNode {
  /** `http://127.0.0.1:<port>`, or `https:`, without a slash at the end. */
  readonly url: string
  readonly port: number
  readonly pid: number
  /** Every line that it has written to stdout and stderr so far. */
  readonly logs: readonly string[]
  readonly exit: Promise<Exit>
  /** Returns when a matching line has been written, even before the call. */
  logged(pattern: RegExp): Promise<string>
  /** Sends a signal without waiting. */
  signal(signal: NodeJS.Signals): void
  /** Asks it to stop, and returns when it has ended. */
  stop(signal?: NodeJS.Signals): Promise<Exit>
  /** SIGKILL, as if the machine had failed. */
  kill(): Promise<Exit>
}

/** Starts a node and returns when it is ready. Rejects with its output when it ends before. */
export async function startNode(options: NodeOptions = {}): Promise<RunningNode> {
  const { child, logs, exit, logged } = launch(options)
  const timer = setTimeout(() => child.kill('SIGKILL'), START_WITHIN)
  const ended = exit.then(({ code, signal }): never => {
    throw new Error(`the node ended (${code ?? signal}) before it listened:\n${logs.join('\n')}`)
  })
  const line = await Promise.race([logged(/listening on http/), ended])
  clearTimeout(timer)
  const [, scheme, digits] = /listening on (https?):\/\/\S*?:(\d+)/.exec(line) ?? []
  const port = Number(digits)
  const stop = (signal: NodeJS.Signals) => {
    child.kill(signal)
    return exit
  }
  return {
    url: `${scheme}://127.0.0.1:${port}`,
    port,
    pid: child.pid as number,
    logs,
    exit,
    logged,
    signal: signal => void child.kill(signal),
    stop: (signal = 'SIGTERM') => stop(signal),
    kill: () => stop('SIGKILL'),
  }
}

/** Runs a node that is expected to exit by itself. Kills it after `within` ms. */
export async function runNode(
  options: NodeOptions & { within?: number } = {},
): Promise<Exit & { output: string }> {
  const { child, logs, exit } = launch(options)
  const timer = setTimeout(() => child.kill('SIGKILL'), options.within ?? START_WITHIN)
  const end = await exit
  clearTimeout(timer)
  return { ...end, output: logs.join('\n') }
}

/** Starts a process without waiting for it to be ready. */
export function launch({ env = {}, args = [], flags = [], built = BUILT }: NodeOptions) {
  const main = built ? ['dist/services/main.js'] : ['--import', 'tsx', MAIN]
  const child: ChildProcess = spawn(process.execPath, [...flags, ...main, ...args], {
    cwd: ROOT,
    env: { PATH: process.env.PATH, PORT: '0', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const logs: string[] = []
  const waiting = new Set<(line: string) => void>()
  const read = async (stream: NodeJS.ReadableStream | null) => {
    if (stream === null) return
    for await (const line of createInterface({ input: stream })) {
      logs.push(line)
      for (const look of waiting) look(line)
    }
  }
  // Resolves only after all output has been read.
  const exit = Promise.all([once(child, 'exit'), read(child.stdout), read(child.stderr)]).then(
    ([[code, signal]]): Exit => ({ code, signal }),
  )
  const logged = async (pattern: RegExp): Promise<string> => {
    const found = logs.find(line => pattern.test(line))
    if (found !== undefined) return found
    return new Promise(resolve => {
      const look = (line: string) => {
        if (!pattern.test(line)) return
        waiting.delete(look)
        resolve(line)
      }
      waiting.add(look)
    })
  }
  return { child, logs, exit, logged }
}
