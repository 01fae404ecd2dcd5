// A node's report about its own state. Counters count from the node's start.

export interface NodeStats {
  /** The time of the report by the node's clock, ms since 1970, for the calculation of rates. */
  readonly at: number
  /** `memory`, `file` or `redis`. */
  readonly engine: string
  readonly ready: boolean
  readonly takesEvents: boolean
  /** Why it is not ready, or accepts no publishes. */
  readonly reason?: string
  /** The exhausted resource because of which it accepts no new reads: `loop` or `memory`. */
  readonly overloaded?: string
  /** Settings whose current file is invalid. */
  readonly problems: readonly string[]
  /** How long its last probes took from the append to their delivery, ms, the oldest first. */
  readonly delays: readonly number[]
  readonly wires: Readonly<
    Record<string, { readonly connections: number; readonly deliveries: number; readonly gaps: number }>
  >
  readonly appends: { readonly appended: number; readonly replayed: number; readonly failed: number }
  readonly readers: number
  /** Connections whose socket is full. */
  readonly behind: number
  readonly channels: number
  /** Bytes of recent events, and of their encodings for readers. */
  readonly recent: number
  /** Resident memory, bytes. */
  readonly rss: number
  /** CPU time since the start, ms. */
  readonly cpu: number
}
