// The result of a load test: one row per wire, and the thresholds.

import type { Connected, Tally, WireName } from '../load/order.ts'
import { table } from '../report.ts'
import { quantiles } from '../transports/quantiles.ts'
import type { Quantiles } from '../transports/result.ts'
import type { Thresholds } from './options.ts'

export interface WireOutcome {
  readonly wire: WireName
  readonly clients: number
  /** Clients connected at the end; below, clients whose first attempt failed. */
  readonly open: number
  readonly failed: number
  readonly expected: number
  readonly delivered: number
  readonly deliveriesPerSecond: number
  /** Expected deliveries that no client received. */
  readonly lost: number
  readonly repeated: number
  readonly reordered: number
  readonly gaps: number
  /** From an event's scheduled publish time, ms; absent without deliveries. */
  readonly latency?: Quantiles
  readonly requestsPerSecond?: number
  readonly emptyShare?: number
  /** From a request's scheduled time to its response, ms. */
  readonly answering?: Quantiles
  readonly bytesInPerDelivery?: number
  readonly bytesOutPerDelivery?: number
  /** Per client and second. */
  readonly bytesInPerClient: number
  readonly bytesOutPerClient: number
  readonly cut: number
  readonly resumed: number
  readonly errors: Readonly<Record<string, number>>
  /** Share of a core used by the busiest load process. */
  readonly generatorCpu: number
}

export interface Outcome {
  readonly events: number
  readonly seconds: number
  /** Publishes that failed for good. */
  readonly publishesFailed: number
  /** The longest delay of an event behind its scheduled time, ms. */
  readonly publisherLate: number
  readonly wires: readonly WireOutcome[]
  /** Costs of all nodes, if they report them: µs per delivery, share of a core, KB added per client. */
  readonly nodes?: {
    readonly cpuPerDelivery?: number
    readonly cpuShare: number
    readonly residentPerClient: number
  }
  readonly notes: readonly string[]
}

export function outcomeOf(
  wire: WireName,
  { opened, failed }: Connected,
  tally: Tally,
  expected: number,
  seconds: number,
): WireOutcome {
  const { received, repeated, requests, bytesIn, bytesOut } = tally
  const each = (value: number) => (received === 0 ? undefined : value / received)
  const latency = quantilesOf(tally.latency)
  const answering = quantilesOf(tally.answering)
  const [inward, outward] = [each(bytesIn), each(bytesOut)]
  return {
    wire,
    clients: opened + failed,
    open: tally.open,
    failed,
    expected,
    delivered: received,
    deliveriesPerSecond: received / seconds,
    lost: Math.max(0, expected - (received - repeated)),
    repeated,
    reordered: tally.reordered,
    gaps: tally.gaps,
    ...(latency === undefined ? {} : { latency }),
    ...(requests === 0 ? {} : { requestsPerSecond: requests / seconds, emptyShare: tally.empty / requests }),
    ...(answering === undefined ? {} : { answering }),
    ...(inward === undefined ? {} : { bytesInPerDelivery: inward }),
    ...(outward === undefined ? {} : { bytesOutPerDelivery: outward }),
    bytesInPerClient: bytesIn / seconds / (opened + failed),
    bytesOutPerClient: bytesOut / seconds / (opened + failed),
    cut: tally.cut,
    resumed: tally.resumed,
    errors: tally.errors,
    generatorCpu: tally.cpu,
  }
}

/** ms; undefined without values. */
export function quantilesOf(entries: Tally['latency']): Quantiles | undefined {
  return entries.length === 0 ? undefined : quantiles(entries)
}

function errorsOf({ errors, failed }: WireOutcome): number {
  return Object.values(errors).reduce((sum, each) => sum + each, failed)
}

/** The exceeded thresholds, one per line. */
export function exceeded({ wires, publishesFailed }: Outcome, thresholds: Thresholds): string[] {
  const { maxP50, maxP99, maxLost, maxRepeated, maxErrors } = thresholds
  const found: string[] = []
  const check = (
    wire: string,
    what: string,
    value: number | undefined,
    most: number | undefined,
    unit = '',
  ) => {
    if (most === undefined || (value !== undefined && value <= most)) return
    found.push(
      `${wire}: ${what} ${value === undefined ? 'not measured' : show(value) + unit}, more than ${most}${unit}`,
    )
  }
  for (const each of wires) {
    check(each.wire, 'p50', each.latency?.p50, maxP50, ' ms')
    check(each.wire, 'p99', each.latency?.p99, maxP99, ' ms')
    check(each.wire, 'lost', each.lost, maxLost)
    check(each.wire, 'repeated', each.repeated, maxRepeated)
    check(each.wire, 'errors', errorsOf(each), maxErrors)
  }
  check('publishing', 'errors', publishesFailed, maxErrors)
  return found
}

function show(value: number): string {
  if (Number.isInteger(value) || value >= 1000) return Math.round(value).toLocaleString('en')
  return value.toFixed(value < 10 ? 2 : 1)
}

/** Titles and cells. A column without values is omitted. */
const COLUMNS: readonly [string, (row: WireOutcome) => number | string | undefined][] = [
  ['wire', row => row.wire],
  ['clients', row => row.clients],
  ['open', row => row.open],
  ['delivered', row => row.delivered],
  ['a second', row => row.deliveriesPerSecond],
  ['lost', row => row.lost],
  ['repeated', row => row.repeated],
  ['reordered', row => row.reordered],
  ['gaps', row => row.gaps],
  ['p50 ms', row => row.latency?.p50],
  ['p95 ms', row => row.latency?.p95],
  ['p99 ms', row => row.latency?.p99],
  ['max ms', row => row.latency?.max],
  ['requests/s', row => row.requestsPerSecond],
  ['empty %', row => (row.emptyShare === undefined ? undefined : row.emptyShare * 100)],
  ['bytes in/delivery', row => row.bytesInPerDelivery],
  ['bytes out/delivery', row => row.bytesOutPerDelivery],
  ['cut', row => row.cut],
  ['errors', errorsOf],
]

export function outcomeText(outcome: Outcome): string {
  const { wires, nodes, notes, events, seconds } = outcome
  const cells = COLUMNS.map(([title, cell]) => ({ title, cells: wires.map(cell) })).filter(column =>
    column.cells.some(cell => cell !== undefined),
  )
  const print = (cell: number | string | undefined) => (typeof cell === 'number' ? show(cell) : (cell ?? ''))
  const lines = [
    `${events.toLocaleString('en')} events in ${show(seconds)} s`,
    '',
    table(
      cells.map(({ title }) => title),
      wires.map((_, i) => cells.map(column => print(column.cells[i]))),
    ),
    '',
  ]
  for (const row of wires) {
    const kinds = Object.entries(row.errors).map(
      ([kind, count]) => `${kind} ${count.toLocaleString('en')} times`,
    )
    if (row.failed > 0) kinds.push(`${row.failed.toLocaleString('en')} clients could not connect at first`)
    if (kinds.length > 0) lines.push(`${row.wire}: ${kinds.join(', ')}`)
  }
  if (nodes !== undefined) {
    const { cpuPerDelivery, cpuShare, residentPerClient } = nodes
    const each = cpuPerDelivery === undefined ? '' : `CPU ${show(cpuPerDelivery)} µs per delivery, `
    lines.push(
      `the nodes: ${each}${show(cpuShare * 100)} % of a core, ` +
        `${show(Math.max(0, residentPerClient))} KB of memory per client`,
    )
  }
  lines.push(...notes.map(note => `note: ${note}`))
  return `${lines.join('\n').trimEnd()}\n`
}
