// All measurements as tables, which the terminal, the Markdown and the page format in their own ways.

import type { CellResult, TransportsResult } from '../result.ts'
import { group, percent, short, whole } from './print.ts'
import { bytesPerClient, grouped, publishers, readers } from './select.ts'

export interface TableRow {
  readonly cells: readonly string[]
  /** Notes on the cell. */
  readonly marks: readonly string[]
}

export interface Table {
  readonly title: string
  readonly header: readonly string[]
  readonly rows: readonly TableRow[]
  /** Columns that hold words, not numbers. */
  readonly text: readonly number[]
}

export interface Column {
  readonly title: string
  readonly of: (cell: CellResult) => string
  /** Omitted from the short tables. */
  readonly long?: true
}

const share = (a: number, b: number) => (b === 0 ? undefined : a / b)

const COLUMNS: readonly Column[] = [
  { title: 'events/s', of: cell => short(cell.rate) },
  { title: 'deliveries/s', long: true, of: cell => whole(cell.deliveriesPerSecond) },
  { title: 'dlvd %', of: cell => percent(share(cell.delivered, cell.expected)) },
  { title: 'missing', long: true, of: cell => whole(cell.missing) },
  { title: 'repeated', long: true, of: cell => whole(cell.repeated) },
  { title: 'reordered', long: true, of: cell => whole(cell.reordered) },
  { title: 'gaps', long: true, of: cell => whole(cell.gaps) },
  { title: 'p50 ms', of: cell => short(cell.latency?.p50) },
  { title: 'p95 ms', of: cell => short(cell.latency?.p95) },
  { title: 'p99 ms', of: cell => short(cell.latency?.p99) },
  { title: 'max ms', of: cell => short(cell.latency?.max) },
  { title: 'µs/dlv', of: cell => short(cell.cpuPerDelivery) },
  { title: 'CPU µs/event', long: true, of: cell => short(cell.cpuPerEvent) },
  { title: 'µs/cl·s', of: cell => short(cell.cpuPerClient) },
  { title: 'CPU %', long: true, of: cell => percent(cell.cpuShare) },
  { title: 'Redis CPU µs/event', long: true, of: cell => short(cell.redisCpuPerEvent) },
  { title: 'nginx CPU %', long: true, of: cell => percent(cell.balancerCpuShare) },
  { title: 'B in/dlv', of: cell => whole(cell.bytesInPerDelivery) },
  { title: 'B out/dlv', of: cell => whole(cell.bytesOutPerDelivery) },
  { title: 'B/cl·s', of: cell => short(bytesPerClient(cell)) },
  { title: 'req/s', of: cell => whole(cell.requestsPerSecond) },
  { title: 'empty %', of: cell => percent(cell.emptyShare) },
  { title: 'answer p50 ms', long: true, of: cell => short(cell.answering?.p50) },
  { title: 'answer p99 ms', long: true, of: cell => short(cell.answering?.p99) },
  { title: 'KB/cl', of: cell => short(cell.residentPerClient) },
  { title: 'generator CPU %', long: true, of: cell => percent(cell.generatorCpu) },
  { title: 'publisher late ms', long: true, of: cell => short(cell.publisherLate) },
]

const PUBLISH: readonly Column[] = [
  { title: 'publishes/s', of: cell => whole(cell.requestsPerSecond) },
  { title: 'p50 ms', of: cell => short(cell.answering?.p50) },
  { title: 'p95 ms', of: cell => short(cell.answering?.p95) },
  { title: 'p99 ms', of: cell => short(cell.answering?.p99) },
  { title: 'max ms', of: cell => short(cell.answering?.max) },
  { title: 'CPU µs/event', of: cell => short(cell.cpuPerEvent) },
  { title: 'CPU %', of: cell => percent(cell.cpuShare) },
  { title: 'Redis CPU µs/event', of: cell => short(cell.redisCpuPerEvent) },
  { title: 'generator CPU %', of: cell => percent(cell.generatorCpu) },
]

/** The meaning of the short titles. */
export const LEGEND =
  'dlv: one event delivered to one client; cl·s: one client for one second; B: bytes on the wire with all headers, ' +
  'in: towards the client, out: from it; empty: requests that brought no event; KB/cl: what a client adds to the ' +
  "server's resident memory. µs are of CPU that the nodes used; Redis, nginx and the load generator are not in it."

export function tables(result: TransportsResult, long: boolean): Table[] {
  const columns = COLUMNS.filter(column => long || column.long === undefined)
  const reading = grouped(readers(result)).map(each =>
    tableOf(group(each), 'wire', each.cells, columns, name),
  )
  const publishing = publishers(result)
  if (publishing.length === 0) return reading
  const connections = ({ clients }: CellResult) => whole(clients)
  return [
    ...reading,
    tableOf('Publishing, one event a request', 'connections', publishing, PUBLISH, connections),
  ]
}

const name = ({ line, saturated }: CellResult) => `${line.name}${saturated === undefined ? '' : ' (!)'}`

function tableOf(
  title: string,
  first: string,
  cells: readonly CellResult[],
  columns: readonly Column[],
  label: (cell: CellResult) => string,
): Table {
  const shown = columns.filter(({ of }) => cells.some(cell => of(cell) !== ''))
  return {
    title,
    header: [first, ...shown.map(column => column.title)],
    rows: cells.map(cell => ({
      cells: [label(cell), ...shown.map(({ of }) => of(cell))],
      marks: marks(cell),
    })),
    text: [0],
  }
}

/** The notes of a cell, each with the cell's name. */
function marks(cell: CellResult): string[] {
  const { line, rate, saturated, errors, notes } = cell
  const about = line.wire === 'publish' ? `${cell.clients} connections` : `${line.name}, ${short(rate)}/s`
  const failed = Object.entries(errors).map(([what, count]) => `${whole(count)} × ${what}`)
  const full =
    saturated &&
    `(!) asked for more than the ${saturated.by} can; it came to ${whole(saturated.ceiling)} deliveries/s`
  return [
    ...(full === undefined ? [] : [full]),
    ...(failed.length > 0 ? [`errors: ${failed.join(', ')}`] : []),
    ...notes,
  ].map(text => `${about}: ${text}`)
}
