// The measured figures, their formats, and how several runs are combined.

/** The figures of a row: those that its case measures. */
export type Figures = Partial<Record<Figure, number>>

interface Column {
  readonly title: string
  /** Digits after the decimal point. */
  readonly digits: number
  /** How the figures of several runs are combined. */
  readonly of: 'median' | 'worst'
}

const shown = (title: string, digits: number, of: Column['of'] = 'median'): Column => ({ title, digits, of })

/** In table order. Times in ms unless the title says otherwise. */
export const COLUMNS = {
  requestsPerSecond: shown('requests/s', 0),
  acceptedPerSecond: shown('accepted/s', 0),
  cpuPerConnection: shown('CPU µs/connection', 0),
  deliveriesPerSecond: shown('deliveries/s', 0),
  delivered: shown('delivered %', 1),
  missing: shown('missing', 0, 'worst'),
  repeated: shown('repeated', 0, 'worst'),
  reordered: shown('reordered', 0, 'worst'),
  gaps: shown('gaps', 0, 'worst'),
  p50: shown('p50 ms', 1),
  p95: shown('p95 ms', 1),
  p99: shown('p99 ms', 1),
  max: shown('max ms', 1),
  cpuPerDelivery: shown('CPU µs/delivery', 2),
  cpuPerEvent: shown('CPU µs/event', 1),
  kernelCpu: shown('of it in the kernel %', 0),
  redisCpuPerEvent: shown('Redis CPU µs/event', 1),
  allCpuPerEvent: shown('both µs/event', 1),
  idleCpu: shown('CPU ms/s', 1),
  idleRedisCpu: shown('Redis CPU ms/s', 1),
  residentPerConnection: shown('KB/connection', 1),
  collectedPerConnection: shown('KB/connection after GC', 1),
  peakResident: shown('peak MB', 0),
  grown: shown('grown by MB', 1),
  bytesPerDelivery: shown('bytes/delivery', 0),
  stalledBehind: shown('stalled: events behind', 0),
  stalledBlocked: shown('stalled: sockets full', 0),
  stalledClosed: shown('stalled: closed', 0),
  caughtUpAfter: shown('caught up after s', 2),
  logReads: shown('log reads', 0, 'worst'),
  distinctCursors: shown('distinct cursors', 0),
  generatorCpu: shown('generator CPU %', 0, 'worst'),
  publisherLate: shown('publisher late ms', 1, 'worst'),
} satisfies Record<string, Column>

export type Figure = keyof typeof COLUMNS

/** What a case costs, and how far to trust it; the other figures are what clients notice. */
export const COSTS: ReadonlySet<Figure> = new Set([
  'cpuPerConnection',
  'cpuPerDelivery',
  'cpuPerEvent',
  'kernelCpu',
  'redisCpuPerEvent',
  'allCpuPerEvent',
  'idleCpu',
  'idleRedisCpu',
  'residentPerConnection',
  'collectedPerConnection',
  'peakResident',
  'grown',
  'bytesPerDelivery',
  'generatorCpu',
  'publisherLate',
])

/** One row of a case's table: one peer, one variant, all its runs. */
export interface Row {
  readonly peer: string
  readonly label: string
  /** Distinguishes the peer's rows. */
  readonly variant?: string
  readonly figures: Figures
  readonly notes: readonly string[]
  readonly runs: readonly Figures[]
}

/** The figures of one run, for one row. */
export interface Result {
  readonly label: string
  readonly figures: Figures
  readonly notes?: readonly string[]
}

export function combine(peer: string, label: string, results: readonly Result[]): Row {
  const figures: Figures = {}
  for (const [name, { of }] of Object.entries(COLUMNS) as [Figure, Column][]) {
    const values = results.flatMap(({ figures }) => figures[name] ?? [])
    if (values.length > 0) figures[name] = of === 'median' ? median(values) : Math.max(...values)
  }
  const notes = [...new Set(results.flatMap(({ notes }) => notes ?? []))]
  return { peer, label, figures, notes, runs: results.map(each => each.figures) }
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = (sorted.length - 1) / 2
  return ((sorted[Math.floor(middle)] ?? 0) + (sorted[Math.ceil(middle)] ?? 0)) / 2
}

/** A goal of a case, and whether it is met. */
export interface Bar {
  readonly what: string
  readonly value: string
  readonly bar: string
  readonly goal: string
  readonly verdict: 'goal' | 'bar' | 'missed' | 'not measured'
}

interface Limits {
  readonly unit?: string
  readonly digits?: number
  readonly bar: number
  /** Equal to the bar by default. */
  readonly goal?: number
}

/** A goal that `value` must not exceed. */
export function atMost(what: string, value: number | undefined, limits: Limits): Bar {
  return judged(what, value, limits, '≤', limit => value !== undefined && value <= limit)
}

/** A goal that `value` must reach. */
export function atLeast(what: string, value: number | undefined, limits: Limits): Bar {
  return judged(what, value, limits, '≥', limit => value !== undefined && value >= limit)
}

function judged(
  what: string,
  value: number | undefined,
  { unit = '', digits = 1, bar, goal = bar }: Limits,
  sign: string,
  holds: (limit: number) => boolean,
): Bar {
  const print = (number: number, places: number) =>
    number.toLocaleString('en', { maximumFractionDigits: places })
  const limit = (number: number) => `${sign} ${print(number, 3)}${unit}`
  const verdict =
    value === undefined || Number.isNaN(value)
      ? 'not measured'
      : holds(goal)
        ? 'goal'
        : holds(bar)
          ? 'bar'
          : 'missed'
  return {
    what,
    value: verdict === 'not measured' ? '' : `${print(value ?? 0, digits)}${unit}`,
    bar: limit(bar),
    goal: limit(goal),
    verdict,
  }
}

/** The number of missing, repeated and reordered deliveries of a row. */
export function wrongOf(row: Figures | undefined): number | undefined {
  return row && (row.missing ?? 0) + (row.repeated ?? 0) + (row.reordered ?? 0)
}

export function ratio(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined || b === 0 ? undefined : a / b
}
