// What load is asked for, and what came of it: between whoever measures and the processes that make the load.

/** The wires of docs/protocol.md#read, as a load is made over each of them. */
export const WIRES = ['poll', 'long-poll', 'sse', 'stream', 'ws', 'refresh', 'push', 'socket.io'] as const
export type WireName = (typeof WIRES)[number]

/** A deployment: one node, or many behind a load balancer. */
export interface Target {
  /** http:// or https://, perhaps with a path that goes before `/v1`. */
  readonly url: string
  /** Headers that every reader sends, such as one with a token. */
  readonly headers?: Readonly<Record<string, string>>
  /** Takes any certificate. */
  readonly insecure?: boolean
}

/** So many clients of one wire. */
export interface LoadOrder {
  readonly target: Target
  readonly wire: WireName
  readonly clients: number
  /** The clients are spread evenly over them, one channel each. */
  readonly channels: readonly string[]
  /** poll and refresh: seconds between two requests of a client. */
  readonly every: number
  /** poll, long-poll and refresh: events of an answer at most; left out: what the server does by default. */
  readonly limit?: number
  /** long-poll: seconds that a request is held at most. */
  readonly wait: number
  /** Seconds over which they connect. */
  readonly rampUp: number
  /** The sequence number that comes before the first that every client has to get; left out: any may be first. */
  readonly after?: number
}

/** What became of connecting. */
export interface Connected {
  /** Connected, and for request wires answered once. */
  readonly opened: number
  readonly failed: number
  /** Why the last one failed. */
  readonly reason: string
}

/** What all clients met since `begin`. */
export interface Tally {
  readonly clients: number
  /** Clients that are connected now, or for request wires that have been answered lately. */
  readonly open: number
  /** Events that came, each as often as it came. */
  readonly received: number
  /** Events that were stepped over and have not come since. */
  readonly missing: number
  readonly repeated: number
  readonly reordered: number
  /** Gaps that were told. */
  readonly gaps: number
  /** Answered requests; those of them that brought no event. 0 for streams. */
  readonly requests: number
  readonly empty: number
  /** Bytes on the wire as the clients' sockets count them, headers included, below TLS not counted. */
  readonly bytesIn: number
  readonly bytesOut: number
  /** Connections that the server ended, and those among them that came back. */
  readonly cut: number
  readonly resumed: number
  /** How often what went wrong: a status, an error code. */
  readonly errors: Readonly<Record<string, number>>
  /** When events came last, µs of the machine's clock. */
  readonly lastAt: number
  /** From the time when an event should have been published to its receipt, µs: value and count, ascending. */
  readonly latency: readonly (readonly [number, number])[]
  /** From the time when a request should have been sent to its answer, µs; empty for streams. */
  readonly answering: readonly (readonly [number, number])[]
  /** Share of a core that the busiest of the load's processes used. */
  readonly cpu: number
}

/** One event a request, as fast as they are answered. */
export interface PublishingOrder {
  readonly target: Target
  readonly key?: string
  /** Each publishes to a channel of its own, whose name begins with `channel`. */
  readonly channel: string
  readonly connections: number
  readonly seconds: number
  /** Bytes of data. */
  readonly size: number
}

export interface PublishingTally {
  readonly requests: number
  readonly requestsPerSecond: number
  /** From sending a request to its answer, of those that the log took, µs: value and count, ascending. */
  readonly answering: readonly (readonly [number, number])[]
  readonly bytesIn: number
  readonly bytesOut: number
  readonly errors: Readonly<Record<string, number>>
  /** Share of a core that the load's process used. */
  readonly cpu: number
}
