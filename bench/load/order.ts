// Orders that the measuring process sends to the load processes, and their results.

/** The wires of docs/protocol.md#read, as the load uses them. */
export const WIRES = ['poll', 'long-poll', 'sse', 'stream', 'ws', 'refresh', 'push', 'socket.io'] as const
export type WireName = (typeof WIRES)[number]

/** A deployment: one node, or many behind a load balancer. */
export interface Target {
  /** http:// or https://, optionally with a path that precedes `/v1`. */
  readonly url: string
  /** Headers that every reader sends, such as one with a token. */
  readonly headers?: Readonly<Record<string, string>>
  /** Accepts any certificate. */
  readonly insecure?: boolean
}

/** A number of clients of one wire. */
export interface LoadOrder {
  readonly target: Target
  readonly wire: WireName
  readonly clients: number
  /** The clients are spread evenly over the channels, one channel each. */
  readonly channels: readonly string[]
  /** poll and refresh: seconds between two requests of a client. */
  readonly every: number
  /** poll, long-poll and refresh: maximum events of a response; omitted: the server's default. */
  readonly limit?: number
  /** long-poll: maximum seconds that a request is held. */
  readonly wait: number
  /** Seconds over which they connect. */
  readonly rampUp: number
  /** The sequence number before the first that every client must receive; if absent, any may be first. */
  readonly after?: number
}

/** The result of connecting. */
export interface Connected {
  /** Clients that connected and, on request wires, were answered once. */
  readonly opened: number
  readonly failed: number
  /** The reason of the last failure. */
  readonly reason: string
}

/** Totals of all clients since `begin`. */
export interface Tally {
  readonly clients: number
  /** Currently connected clients, or for request wires recently answered ones. */
  readonly open: number
  /** Received events, including duplicates. */
  readonly received: number
  /** Events that were skipped and have not arrived since. */
  readonly missing: number
  readonly repeated: number
  readonly reordered: number
  /** Reported gaps. */
  readonly gaps: number
  /** Answered requests; below, those without any event. 0 for streams. */
  readonly requests: number
  readonly empty: number
  /** Bytes on the wire as the clients' sockets count them, including headers, without TLS overhead. */
  readonly bytesIn: number
  readonly bytesOut: number
  /** Connections ended by the server, and those among them that reconnected. */
  readonly cut: number
  readonly resumed: number
  /** Counts of failures: by status or error code. */
  readonly errors: Readonly<Record<string, number>>
  /** When the last events arrived, µs of the machine's clock. */
  readonly lastAt: number
  /** From an event's scheduled publish time to its receipt, µs: value and count, ascending. */
  readonly latency: readonly (readonly [number, number])[]
  /** From a request's scheduled time to its response, µs; empty for streams. */
  readonly answering: readonly (readonly [number, number])[]
  /** Share of a core used by the busiest load process. */
  readonly cpu: number
}

/** Publishing of one event per request, as fast as requests are answered. */
export interface PublishingOrder {
  readonly target: Target
  readonly key?: string
  /** Each publishes to a separate channel, whose name starts with `channel`. */
  readonly channel: string
  readonly connections: number
  readonly seconds: number
  /** Bytes of data. */
  readonly size: number
}

export interface PublishingTally {
  readonly requests: number
  readonly requestsPerSecond: number
  /** From sending a request to its response, for stored events, µs: value and count, ascending. */
  readonly answering: readonly (readonly [number, number])[]
  readonly bytesIn: number
  readonly bytesOut: number
  readonly errors: Readonly<Record<string, number>>
  /** Share of a core used by the load process. */
  readonly cpu: number
}
