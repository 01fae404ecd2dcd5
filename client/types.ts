// The objects that every wire delivers, and an application's options.

/** The wires that the client knows. */
export type Wire = 'ws' | 'sse' | 'stream' | 'long-poll' | 'poll'

/** An event as every wire delivers it. */
export interface Event<Data = unknown> {
  readonly channel: string
  /** Its position in the channel, and a cursor to resume from; undefined for a transient event. */
  readonly id?: string
  /** The log's clock, ms since 1970. */
  readonly time: number
  readonly type?: string
  readonly tags?: Readonly<Record<string, string>>
  /** Set if `data` is a string that encodes bytes. */
  readonly encoding?: 'base64'
  /** The number of older events of the same value that were skipped (`newest`). */
  readonly skipped?: number
  /** The data was erased after it was published. */
  readonly erased?: true
  readonly data: Data
}

/** Events after `from`, up to and including `to`, may be lost. Reading continues from `to`. */
export interface Gap {
  readonly channel: string
  readonly from: string
  readonly to: string
}

/** The end of a channel: nothing follows. */
export interface End {
  readonly channel: string
  readonly id?: string
}

/** The selection that a node applies; docs/protocol.md describes it. */
export interface ReadOptions {
  /** Only events of these types. */
  readonly types?: readonly string[]
  /** Only events whose tags match this filter. */
  readonly filter?: object
  /** The minimum time between two deliveries, such as `500ms`. */
  readonly every?: string
  /** Only the newest event of each value: `type`, or `tag:<name>`. */
  readonly newest?: string
}

export interface SubscribeOptions extends ReadOptions {
  /** Where to begin: `latest` (the default), `earliest`, `last:<n>`, `since:<time>`, or a cursor. */
  readonly cursor?: string
}

export interface PublishOptions {
  readonly type?: string
  readonly tags?: Readonly<Record<string, string>>
  readonly priority?: 'low'
  /** Delivers the event to connected readers only, without keeping it. */
  readonly transient?: boolean
  /** Retries with the same key do not publish again. Default: a generated key. */
  readonly idempotencyKey?: string
}

export interface Receipt {
  readonly channel: string
  readonly id?: string
  readonly time: number
}

/** A store such as `localStorage`. */
export interface Store {
  getItem(key: string): string | null
  setItem(key: string, value: string): void
}

export interface WebSocketLike {
  onopen: unknown
  onmessage: unknown
  onclose: unknown
  onerror: unknown
  readonly readyState: number
  send(text: string): void
  close(code?: number, reason?: string): void
}

export interface Options {
  /**
   * Returns a token (JWT) or a key. Called at first and whenever a fresh one is needed. Throw `Unauthorized` to stop.
   */
  readonly getToken?: () => Promise<string | undefined> | string | undefined
  /** In order of preference. */
  readonly wires?: readonly Wire[]
  /** `shared`: one connection for all tabs of the origin. */
  readonly tabs?: 'shared' | 'each'
  /** Keeps cursors across reloads. */
  readonly store?: Store
  /** The WebSocket class of `ws`, for Node before 22, which has none. */
  readonly WebSocket?: new (url: string) => WebSocketLike
  readonly fetch?: typeof fetch
  /** All in ms. */
  readonly timing?: Partial<Timing>
}

/** All in ms. */
export interface Timing {
  /** The longest pause before the first attempt to reconnect; below, before any attempt. */
  readonly backoff: number
  readonly maxBackoff: number
  /** How long a wire may be silent after its request. */
  readonly open: number
  /** The longest silence of a connection. Nodes send a heartbeat every 25 s. */
  readonly silence: number
  /** The time between attempts to return to a better wire. */
  readonly upgrade: number
  /** The time between polls that return nothing. */
  readonly poll: number
}
