// A synthetic result of the transports' bench, from a simple model of each wire, for tests of its reports.

import type { Cell, CellResult, Line, Quantiles, TransportsResult } from '../../../bench/transports/result.ts'

/** Costs of a wire in the model. */
interface Costs {
  /** CPU of a single delivery, µs. `more`: of each delivery that arrives together with another. */
  readonly delivery: number
  readonly more: number
  /** CPU of a request, µs. Requests are sent at every interval, or once per event (long-poll). */
  readonly request?: number
  /** Received bytes of a delivery. `answer`: received bytes of a response; `ask`: sent bytes of a request. */
  readonly bytes: number
  readonly answer?: number
  readonly ask?: number
  /** Median delay without a timer, ms. */
  readonly p50: number
  /** Memory per client, KB. */
  readonly memory: number
  /** Maximum deliveries per second on one core. */
  readonly ceiling: number
}

const COSTS: Readonly<Record<Line['wire'], Costs>> = {
  poll: {
    delivery: 1,
    more: 1,
    request: 80,
    bytes: 110,
    answer: 260,
    ask: 150,
    p50: 2,
    memory: 9,
    ceiling: 3e5,
  },
  'long-poll': {
    delivery: 4,
    more: 1,
    request: 95,
    bytes: 110,
    answer: 240,
    ask: 150,
    p50: 3,
    memory: 12,
    ceiling: 9000,
  },
  sse: { delivery: 8, more: 1, bytes: 160, p50: 1.6, memory: 6.4, ceiling: 120_000 },
  stream: { delivery: 7.9, more: 1, bytes: 141, p50: 1.6, memory: 6.3, ceiling: 120_000 },
  ws: { delivery: 7.4, more: 1, bytes: 138, p50: 1.5, memory: 7, ceiling: 130_000 },
  'socket.io': { delivery: 11, more: 2, bytes: 155, p50: 1.9, memory: 13, ceiling: 80_000 },
  push: { delivery: 130, more: 90, bytes: 210, p50: 6, memory: 60, ceiling: 7000 },
  refresh: {
    delivery: 2,
    more: 2,
    request: 210,
    bytes: 130,
    answer: 2400,
    ask: 380,
    p50: 3,
    memory: 10,
    ceiling: 3e5,
  },
  publish: {
    delivery: 0,
    more: 0,
    request: 180,
    bytes: 0,
    answer: 210,
    ask: 190,
    p50: 2,
    memory: 0,
    ceiling: 4500,
  },
}

const high = { priority: 'high' } as const
export const LINES: readonly Line[] = [
  { name: 'poll every 1 s', wire: 'poll', every: 1, ...high },
  { name: 'poll every 5 s', wire: 'poll', every: 5, ...high },
  { name: 'long-poll', wire: 'long-poll', ...high },
  { name: 'long-poll, low priority', wire: 'long-poll', priority: 'low' },
  { name: 'sse', wire: 'sse', ...high },
  { name: 'stream', wire: 'stream', ...high },
  { name: 'ws', wire: 'ws', ...high },
  { name: 'socket.io', wire: 'socket.io', ...high },
  { name: 'HTTP/2 push', wire: 'push', ...high },
  { name: 'refresh every 5 s', wire: 'refresh', every: 5, ...high },
]

/** The quantile `share` of the delays, ms: a timer's delay is uniform, other delays have a long tail. */
function delayAt(share: number, { p50 }: Costs, timer: number): number {
  const tail = p50 * (0.4 + 0.6 * 2 ** (share * 2 - 1)) * (1 - Math.min(share, 0.9999)) ** -0.25
  return timer * 1000 * share + tail
}

function quantiles(at: (share: number) => number): Quantiles {
  return { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(0.9999) }
}

/** Requests per second of a client. */
function requests({ wire, every, priority }: Line, rate: number): number {
  if (every !== undefined) return 1 / every
  if (wire !== 'long-poll') return 0
  return Math.max(1 / 25, priority === 'low' ? Math.min(rate, Math.max(1, rate / 64)) : rate)
}

export function cell(what: Cell, change: Partial<CellResult> = {}): CellResult {
  const { line, clients, rate, nodes, seconds } = what
  const costs = COSTS[line.wire]
  const asked = requests(line, rate)
  const arrivals = asked > 0 ? Math.min(asked, rate) : rate
  const perClient =
    arrivals * costs.delivery +
    (rate - arrivals) * costs.more +
    asked * (costs.request ?? 0) +
    (rate === 0 ? 0.2 : 0)
  const [bytesIn, bytesOut] = [
    rate * costs.bytes + asked * (costs.answer ?? 0) + 0.1,
    asked * (costs.ask ?? 0),
  ]
  const demanded = rate * clients
  const ceiling = costs.ceiling * nodes
  const full = line.wire === 'poll' || line.wire === 'refresh' ? false : demanded > ceiling
  const events = rate * seconds
  const load = 1 / (1 - Math.min(0.9, (perClient * clients) / 1e6))
  const timer = line.every ?? (line.priority === 'low' ? Math.min(1, 64 / Math.max(rate, 1)) : 0)
  const at = (share: number) => delayAt(share, { ...costs, p50: costs.p50 * load }, timer)
  const shares = [0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999]
  return {
    ...what,
    events,
    delivered: Math.floor(events * clients * (full ? ceiling / demanded : 1)),
    expected: events * clients,
    missing: 0,
    repeated: 0,
    reordered: 0,
    gaps: 0,
    deliveriesPerSecond: full ? ceiling : demanded,
    ...(rate > 0 && {
      latency: quantiles(at),
      bytesInPerDelivery: bytesIn / rate,
      bytesOutPerDelivery: bytesOut / rate,
      cpuPerDelivery: perClient / rate,
      cpuPerEvent: (perClient * clients) / rate,
      redisCpuPerEvent: 40 + 200 / rate,
    }),
    ...(asked > 0 && {
      requestsPerSecond: asked * clients,
      answering: quantiles(share => delayAt(share, costs, 0)),
      emptyShare: line.wire === 'long-poll' ? (rate === 0 ? 1 : 0) : Math.exp(-rate / asked),
    }),
    bytesInPerClient: bytesIn,
    bytesOutPerClient: bytesOut,
    cpuPerClient: perClient,
    cpuShare: Math.min(1, (perClient * clients) / 1e6),
    ...(nodes > 1 && { balancerCpuShare: 0.2 }),
    ...(clients >= 1000 && { residentPerClient: costs.memory }),
    errors: {},
    ...(full && { saturated: { by: 'server', ceiling } as const }),
    generatorCpu: Math.min(0.9, demanded / 2e5),
    publisherLate: 6.2,
    latencies:
      rate === 0
        ? []
        : shares.map((share, i) => [at(share) * 1000, (share - (shares[i - 1] ?? 0)) * 1e5] as const),
    samples: Array.from({ length: seconds }, (_, i) => ({
      at: i + 1,
      delivered: demanded,
      requests: asked * clients,
      cpu: perClient * clients,
      resident: 9e7,
    })),
    notes: [],
    ...change,
  }
}

function publishing(clients: number): CellResult {
  const line: Line = { name: 'publish', wire: 'publish', ...high }
  const requestsPerSecond = clients === 1 ? 1100 : 4300
  return {
    ...cell({ line, clients, rate: 0, nodes: 1, seconds: 10 }),
    events: requestsPerSecond * 10,
    requestsPerSecond,
    answering: { p50: 0.8, p95: 1.6, p99: 3.1, max: 14 },
    cpuPerEvent: 210,
    redisCpuPerEvent: 34,
  }
}

const without = ({ clients, rate, line }: Cell) => clients > 1000 && (rate > 10 || line.wire === 'push')

/** A result whose cells have the model's values, replaced by those that `change` returns. */
export function synthetic(change: (cell: CellResult) => Partial<CellResult> = () => ({})): TransportsResult {
  const places = [100, 1000, 5000].flatMap(clients =>
    (clients === 1000 ? [0, 1, 10, 100] : [0, 10, 100]).map(rate => ({
      clients,
      rate,
      nodes: 1,
      seconds: 10,
    })),
  )
  const main = { clients: 1000, rate: 10, nodes: 2, seconds: 10 }
  const cells = [...places, main].flatMap(place => LINES.map(line => ({ line, ...place })))
  return {
    command: 'npm run bench',
    date: '2026-11-21T10:00:00.000Z',
    machine: '2 × AMD EPYC, 24 GB',
    node: '20.20.2',
    fanwire: '0.1.0',
    quick: false,
    size: 100,
    cells: [
      ...cells.filter(each => !without(each)).map(each => cell(each)),
      publishing(1),
      publishing(100),
    ].map(each => ({ ...each, ...change(each) })),
  }
}
