// What a node says of itself when it is asked how it is. Counters count from the node's start.

export interface NodeStats {
  /** By the node's clock, ms since 1970: rates are differences over differences of this. */
  readonly at: number
  /** `memory`, `file` or `redis`. */
  readonly engine: string
  readonly ready: boolean
  readonly takesEvents: boolean
  /** Why it is not ready, or takes no events. */
  readonly reason?: string
  /** What it is short of, so that it takes no new reads: `loop` or `memory`. */
  readonly overloaded?: string
  /** Settings whose file can not be used as it is now. */
  readonly problems: readonly string[]
  /** Ms that its last probes took from the append to their delivery, the oldest first. */
  readonly delays: readonly number[]
  readonly wires: Readonly<
    Record<string, { readonly connections: number; readonly deliveries: number; readonly gaps: number }>
  >
  readonly appends: { readonly appended: number; readonly replayed: number; readonly failed: number }
  readonly readers: number
  /** Connections whose socket is full. */
  readonly behind: number
  readonly channels: number
  /** Bytes of recent events, and of the stretches that are encoded for readers. */
  readonly recent: number
  /** Resident memory, bytes. */
  readonly rss: number
  /** CPU since the start, ms. */
  readonly cpu: number
}
