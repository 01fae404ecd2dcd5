// Formats the result: one Markdown table per case, for the terminal, a file, and the documents.

import { cpus, totalmem } from 'node:os'
import { type Bar, COLUMNS, COSTS, type Figure, type Row } from './figures.ts'

export interface CaseResult {
  readonly name: string
  readonly title: string
  readonly rows: readonly Row[]
  readonly bars: readonly Bar[]
}

export interface BenchResult {
  readonly command: string
  readonly date: string
  readonly machine: string
  readonly node: string
  readonly runs: number
  readonly quick: boolean
  /** Peers that could not run here, and why. */
  readonly left: readonly string[]
  readonly cases: readonly CaseResult[]
}

export function machine(): string {
  const [first] = cpus()
  return `${cpus().length} × ${first?.model ?? 'CPU'}, ${Math.round(totalmem() / 2 ** 30)} GB`
}

export function markdown(result: BenchResult): string {
  const runs = result.quick
    ? 'one short run: a trial, not a measurement'
    : `medians of ${result.runs} run${result.runs === 1 ? '' : 's'}`
  return [
    `${ranWith(result)}; ${runs}. ` + 'Server, load generator, publisher and Redis share these cores.',
    ...result.left.map(each => `Not measured: ${each}.`),
    ...result.cases.map(caseMarkdown),
  ].join('\n\n')
}

/** The command, the machine and the day of a run. */
export function ranWith({
  command,
  machine,
  node,
  date,
}: Pick<BenchResult, 'command' | 'machine' | 'node' | 'date'>): string {
  return `\`${command}\` on ${machine}, Node ${node}, ${date.slice(0, 10)}`
}

/** The summary's rows: case, figure, title, digits. */
const GLANCE: readonly [string, Figure, string, number][] = [
  ['hot-ws', 'deliveriesPerSecond', 'deliveries/s', 0],
  ['hot-ws', 'p99', 'p99, ms', 0],
  ['hot-sse', 'deliveriesPerSecond', 'deliveries/s', 0],
  ['hot-sse', 'p99', 'p99, ms', 0],
  ['calm', 'cpuPerDelivery', 'CPU per delivery, µs', 1],
  ['many', 'cpuPerEvent', 'CPU per event, µs', 0],
  ['many', 'p99', 'p99, ms', 0],
  ['idle', 'residentPerConnection', 'memory per ws connection, KB', 1],
]

/** One line per figure, one column per peer: from each peer's first row in the case. */
export function glance({ cases }: BenchResult): string {
  const rows = cases.flatMap(each => each.rows)
  const peers = [...new Set(rows.map(({ peer }) => peer))]
  const title = (peer: string) => rows.find(row => row.peer === peer)?.label.split(': ', 1)[0] ?? peer
  const body = GLANCE.flatMap(([name, figure, unit, digits]) => {
    const found = cases.find(each => each.name === name)
    if (found === undefined) return []
    const values = peers.map(peer => found.rows.find(row => row.peer === peer)?.figures[figure])
    return [[`${found.title}: ${unit}`, ...values.map(value => print(value, digits))]]
  })
  return table(['', ...peers.map(title)], body)
}

/** A case with more columns is split into two tables: what clients notice, and what it costs. */
const MOST_COLUMNS = 11

function tablesOf(rows: readonly Row[]): string[] {
  const all = (Object.keys(COLUMNS) as Figure[]).filter(name =>
    rows.some(row => row.figures[name] !== undefined),
  )
  const [noticed, costs] = [all.filter(name => !COSTS.has(name)), all.filter(name => COSTS.has(name))]
  return (all.length > MOST_COLUMNS ? [noticed, costs] : [all]).map(columns =>
    table(
      ['', ...columns.map(name => COLUMNS[name].title)],
      rows.map(({ label, figures }) => [
        label,
        ...columns.map(name => print(figures[name], COLUMNS[name].digits)),
      ]),
    ),
  )
}

export function caseMarkdown({ title, rows, bars }: CaseResult): string {
  const notes = rows.flatMap(({ label, notes }) => notes.map(note => `- ${label}: ${note}`))
  const judged = bars.map(({ what, value, bar, goal, verdict }) => [what, value, bar, goal, verdict])
  return [
    `**${title}**`,
    ...tablesOf(rows),
    ...(notes.length > 0 ? [notes.join('\n')] : []),
    ...(judged.length > 0 ? [table(['', 'measured', 'bar', 'goal', 'reached'], judged)] : []),
  ].join('\n\n')
}

/** One line per goal of all cases. */
export function barsTable(cases: readonly CaseResult[]): string {
  const body = cases.flatMap(({ name, bars }) =>
    bars.map(({ what, value, bar, goal, verdict }) => [name, what, value, bar, goal, verdict]),
  )
  return table(['case', 'figure', 'measured', 'bar', 'goal', 'reached'], body, [0, 1])
}

/** One line per profile, one column per part of a node: shares, %. */
export function sharesTable(
  parts: readonly string[],
  profiles: ReadonlyMap<string, ReadonlyMap<string, number>>,
): string {
  const body = [...profiles].map(([name, shares]) => [
    name,
    ...parts.map(part => print(shares.get(part) ?? 0, 0)),
  ])
  return table(['', ...parts], body)
}

function print(value: number | undefined, digits: number): string {
  if (value === undefined) return ''
  return value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits })
}

/** A Markdown table whose columns also align as text. Text columns go in `left`, the others hold numbers. */
export function table(
  header: readonly string[],
  body: readonly (readonly string[])[],
  left: readonly number[] = [0],
): string {
  const words = new Set(left)
  const widths = header.map((title, i) =>
    Math.max(3, title.length, ...body.map(row => (row[i] ?? '').length)),
  )
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, i) => (words.has(i) ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join(' | ')} |`
  const rule = `|${widths.map((width, i) => (words.has(i) ? '-'.repeat(width + 2) : `${'-'.repeat(width + 1)}:`)).join('|')}|`
  return [line(header), rule, ...body.map(line)].join('\n')
}
