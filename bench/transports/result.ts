// What a comparison of the transports gives: kept as JSON, and all that its reports are made of.

import type { WireName } from '../load/order.ts'

/** One line in the plots: a wire in one way of using it. */
export interface Line {
  /** As people read it, such as `poll every 1 s`, `long-poll, low priority`, `sse`. */
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
  /** Events a second on the one channel that all clients follow. 0: nothing happens. */
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

/** Once a second while a cell was measured: what came and what it cost since the sample before. */
export interface Sample {
  /** Seconds since the beginning. */
  readonly at: number
  readonly delivered: number
  readonly requests: number
  /** Server CPU, µs. */
  readonly cpu: number
  /** Server resident memory, bytes. */
  readonly resident: number
}

/** Left out is what does not apply, or could not be measured. */
export interface CellResult extends Cell {
  /** Events that were published in the measured time. */
  readonly events: number
  readonly delivered: number
  /** `events` × `clients`. */
  readonly expected: number
  readonly missing: number
  readonly repeated: number
  readonly reordered: number
  readonly gaps: number
  readonly deliveriesPerSecond: number
  /** From when an event should have been published (coordinated omission) to its receipt. */
  readonly latency?: Quantiles
  readonly requestsPerSecond?: number
  /** Of the requests, from when each should have been sent; `publish` and request wires. */
  readonly answering?: Quantiles
  /** Requests that brought no event, 0 to 1. */
  readonly emptyShare?: number
  /** Bytes on the wire, headers included, per delivered event: towards the client, and from it. */
  readonly bytesInPerDelivery?: number
  readonly bytesOutPerDelivery?: number
  /** The same per client and second, also where nothing is delivered. */
  readonly bytesInPerClient: number
  readonly bytesOutPerClient: number
  /** Server CPU over all its nodes, µs: per delivered event, per published event, per client and second. */
  readonly cpuPerDelivery?: number
  readonly cpuPerEvent?: number
  readonly cpuPerClient: number
  /** Share of one core that the nodes used, all together; Redis; nginx, where there is one. */
  readonly cpuShare: number
  readonly redisCpuPerEvent?: number
  readonly balancerCpuShare?: number
  /** Resident memory that a client adds to the server, KB (1024 bytes). */
  readonly residentPerClient?: number
  readonly errors: Readonly<Record<string, number>>
  /** The short probe before it found that more is asked than can be had here. */
  readonly saturated?: {
    readonly by: 'server' | 'load generator' | 'machine'
    /** Deliveries a second that it came to. */
    readonly ceiling: number
  }
  /** Share of a core that the busiest process of the load generator used. */
  readonly generatorCpu: number
  /** The longest that an event was published after its time, ms. */
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
