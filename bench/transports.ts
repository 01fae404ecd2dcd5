// npm run bench: measures the cost and speed of each transport in one run.

import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { chosen, invocation, say } from './command.ts'
import { intoFile, readJson, RESULTS, ROOT, TRIALS } from './files.ts'
import { machine } from './report.ts'
import { selfCheck, selfCheckText } from './self-check.ts'
import { duration, FULL, LINES, QUICK, type Run } from './transports/cells.ts'
import { html } from './transports/report/page.ts'
import { markdown, readme, terminal } from './transports/report/text.ts'
import type { CellResult, TransportsResult } from './transports/result.ts'
import { type Bench, measure, SIZE } from './transports/run.ts'

const FILES = { raw: 'transports.json', markdown: 'report.md', html: 'report.html' }

const HELP = `npm run bench -- [options]: compares the transports' load on this machine

  --quick        only the main cells, shortened: two minutes instead of twenty
  --line NAMES   only these, comma separated: ${LINES.map(({ name }) => name).join(', ')}
  --out DIR      folder of ${Object.values(FILES).join(', ')} (bench/results for a full run,
                 otherwise .cache/bench)
  --from FILE    measure nothing; write the reports from this ${FILES.raw}
  --self-check   test the load generator against a server that loses 1 % and delays by 50 ms
  --docs         measure nothing; write the last bench/results into docs/benchmarks/wires.md

Installed versions of Redis and nginx are used; otherwise the distribution's packages are unpacked into .cache/, which
needs no root. To load-test your own deployment: fanwire bench --help
`

const options = {
  quick: { type: 'boolean', default: false },
  line: { type: 'string' },
  out: { type: 'string' },
  from: { type: 'string' },
  'self-check': { type: 'boolean', default: false },
  docs: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
} as const

/** One run; failures are logged. */
async function runOnce(run: Run, bench: Bench): Promise<CellResult[]> {
  try {
    return await measure(run, bench)
  } catch (error) {
    say(`failed: ${error instanceof Error ? (error.stack ?? error.message) : error}`)
    process.exitCode = 1
    return []
  }
}

function titleOf({ line, clients, nodes }: Run): string {
  const count = `${clients.toLocaleString('en')} ${line.wire === 'publish' ? 'connection' : 'client'}`
  return `${line.name}, ${count}${clients === 1 ? '' : 's'}${nodes > 1 ? `, ${nodes} nodes` : ''}`
}

function summary({
  rate,
  latency,
  cpuPerDelivery,
  requestsPerSecond,
  saturated,
  ...cell
}: CellResult): string {
  const print = (value: number | undefined, unit: string) =>
    value === undefined
      ? []
      : [`${value < 10 ? value.toFixed(1) : Math.round(value).toLocaleString('en')} ${unit}`]
  return [
    ...(cell.line.wire === 'publish'
      ? []
      : [`${rate} events/s: ${cell.delivered.toLocaleString('en')} deliveries`]),
    ...print(latency?.p50, 'ms p50'),
    ...print(latency?.p99, 'ms p99'),
    ...print(cpuPerDelivery, 'µs CPU a delivery'),
    ...print(requestsPerSecond, 'requests/s'),
    ...(saturated === undefined ? [] : [`saturated (${saturated.by})`]),
    ...(cell.missing > 0 ? [`${cell.missing} missing`] : []),
    ...Object.entries(cell.errors).map(([what, count]) => `${count} × ${what}`),
  ].join(', ')
}

async function compare(runs: readonly Run[], quick: boolean, out: string): Promise<void> {
  const { version } = await readJson<{ version: string }>(join(ROOT, 'package.json'))
  const cells: CellResult[] = []
  const about = {
    command: invocation('bench'),
    date: new Date().toISOString(),
    machine: machine(),
    node: process.versions.node,
    fanwire: version,
    quick,
    size: SIZE,
  }
  for (const [i, run] of runs.entries()) {
    const left = duration(runs.slice(i))
    const about = left < 90 ? `${Math.ceil(left / 10) * 10} s` : `${Math.round(left / 60)} min`
    const title = titleOf(run)
    say(`${title}  (run ${i + 1} of ${runs.length}, about ${about} left)`)
    for (const cell of await runOnce(run, { quick, progress: text => say(`${title}: ${text}`) })) {
      cells.push(cell)
      say(`${title}: ${summary(cell)}`)
    }
  }
  const result: TransportsResult = { ...about, cells }
  await write(out, result)
}

async function write(out: string, result: TransportsResult): Promise<void> {
  await mkdir(out, { recursive: true })
  const { cells, ...about } = result
  const lines = cells.map(cell => JSON.stringify(cell))
  // One cell per line, so that results are compact but can be compared line by line.
  const raw = `${JSON.stringify(about).slice(0, -1)},"cells":[\n${lines.join(',\n')}\n]}\n`
  await writeFile(join(out, FILES.raw), raw)
  await report(out, result)
}

async function report(out: string, result: TransportsResult): Promise<void> {
  await writeFile(join(out, FILES.markdown), `${markdown(result)}\n`)
  await writeFile(join(out, FILES.html), await html(result))
  process.stdout.write(`\n${terminal(result)}\n\n`)
  say(`written to ${out}: ${Object.values(FILES).join(', ')}`)
}

async function check(): Promise<void> {
  say('the server loses 1 % of the events, repeats and reorders some, and delays all by 50 ms')
  const rows = await selfCheck()
  process.stdout.write(`\n${selfCheckText(rows)}\n`)
  if (!rows.every(({ right }) => right)) process.exitCode = 1
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options })
  if (values.help) return void process.stdout.write(HELP)
  if (values.docs) {
    return intoFile('docs/benchmarks/wires.md', {
      'bench:transports': readme(await readJson<TransportsResult>(join(RESULTS, FILES.raw))),
    })
  }
  if (values.from !== undefined)
    return report(values.out ?? TRIALS, await readJson<TransportsResult>(values.from))
  if (values['self-check']) return check()
  const lines = chosen(LINES, values.line, HELP)
  const runs = (values.quick ? QUICK : FULL).filter(({ line }) => lines.includes(line))
  const whole = !values.quick && values.line === undefined
  await compare(runs, values.quick, values.out ?? (whole ? RESULTS : TRIALS))
}

await main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : error}\n`)
  process.exitCode = 1
})
