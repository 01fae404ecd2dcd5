// The result of a transport comparison: stored as JSON, and the only input of its reports.

import type { WireName } from '../load/order.ts'

/** A wire used in one way, which is one line in the plots. */
export interface Line {
  /** Its label, such as `poll every 1 s`, `long-poll, low priority`, `sse`. */
  readonly name: string
  readonly wire: WireName | 'publish'
  /** poll and refresh: seconds between two requests of a client. */
  readonly every?: number
  /** Priority of the events. */
  readonly priority: 'high' | 'low'
}

export interface Cell {
  readonly line: Line
  /** Clients; for `publish`, connections that publish as fast as they are answered. */
  readonly clients: number
  /** Events per second on the one channel that all clients follow. 0: none. */
  readonly rate: number
  /** 1, or several behind nginx. */
  readonly nodes: number
  readonly seconds: number
}

/** ms. */
export interface Quantiles {
  readonly p50: number
  readonly p95: number
  readonly p99: number
  readonly max: number
}

/** Deliveries and costs of one second of a cell. */
export interface Sample {
  /** Seconds since the start. */
  readonly at: number
  readonly delivered: number
  readonly requests: number
  /** Server CPU, µs. */
  readonly cpu: number
  /** Server resident memory, bytes. */
  readonly resident: number
}

/** Values that do not apply or could not be measured are omitted. */
export interface CellResult extends Cell {
  /** Events published in the measured time. */
  readonly events: number
  readonly delivered: number
  /** `events` × `clients`. */
  readonly expected: number
  readonly missing: number
  readonly repeated: number
  readonly reordered: number
  readonly gaps: number
  readonly deliveriesPerSecond: number
  /** From an event's scheduled publish time (coordinated omission) to its receipt. */
  readonly latency?: Quantiles
  readonly requestsPerSecond?: number
  /** From each request's scheduled time; `publish` and request wires. */
  readonly answering?: Quantiles
  /** Share of requests without any event, 0 to 1. */
  readonly emptyShare?: number
  /** Bytes on the wire, including headers, per delivered event: to and from the client. */
  readonly bytesInPerDelivery?: number
  readonly bytesOutPerDelivery?: number
  /** The same per client and second, also without deliveries. */
  readonly bytesInPerClient: number
  readonly bytesOutPerClient: number
  /** Server CPU over all its nodes, µs: per delivered event, per published event, per client and second. */
  readonly cpuPerDelivery?: number
  readonly cpuPerEvent?: number
  readonly cpuPerClient: number
  /** Share of one core used by all nodes together; below, by Redis, and by nginx if there is one. */
  readonly cpuShare: number
  readonly redisCpuPerEvent?: number
  readonly balancerCpuShare?: number
  /** Resident memory that a client adds to the server, KB (1024 bytes). */
  readonly residentPerClient?: number
  readonly errors: Readonly<Record<string, number>>
  /** Set if the short probe found that the machine cannot do what the cell requests. */
  readonly saturated?: {
    readonly by: 'server' | 'load generator' | 'machine'
    /** Deliveries per second that it reached. */
    readonly ceiling: number
  }
  /** Share of a core used by the busiest process of the load generator. */
  readonly generatorCpu: number
  /** The longest delay of an event behind its scheduled time, ms. */
  readonly publisherLate: number
  /** Latency as a histogram: µs and count, ascending. */
  readonly latencies: readonly (readonly [number, number])[]
  readonly samples: readonly Sample[]
  readonly notes: readonly string[]
}

export interface TransportsResult {
  readonly command: string
  /** ISO 8601. */
  readonly date: string
  readonly machine: string
  /** Version of Node.js. */
  readonly node: string
  readonly fanwire: string
  readonly quick: boolean
  /** Bytes of an event's data. */
  readonly size: number
  readonly cells: readonly CellResult[]
}
