// The objects that every wire delivers, and an application's options.

/** The wires that the client knows. */
export type Wire = 'ws' | 'sse' | 'stream' | 'long-poll' | 'poll'

/** An event as every wire delivers it. */
export interface Event<Data = unknown> {
  readonly channel: string
  /** Its position in the channel, and a cursor to resume from; undefined: a transient event, which has none. */
  readonly id?: string
  /** The log's clock, ms since 1970. */
  readonly time: number
  readonly type?: string
  readonly tags?: Readonly<Record<string, string>>
  /** Set if `data` is a string that encodes bytes. */
  readonly encoding?: 'base64'
  /** Older events of the same value that were skipped (`newest`). */
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

/** Nothing comes after this in the channel. */
export interface End {
  readonly channel: string
  readonly id?: string
}

/** The selection that a node applies; docs/protocol.md describes it. */
export interface ReadOptions {
  /** Types of events. */
  readonly types?: readonly string[]
  /** A filter over tags. */
  readonly filter?: object
  /** At most one stretch in that time, such as `500ms`. */
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
  /** Delivered to connected readers, not kept. */
  readonly transient?: boolean
  /** Generated if omitted: retries with the same key do not publish again. */
  readonly idempotencyKey?: string
}

export interface Receipt {
  readonly channel: string
  readonly id?: string
  readonly time: number
}

/** As `localStorage` is. */
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
  /** For Node before 22, which has none: that of `ws`. */
  readonly WebSocket?: new (url: string) => WebSocketLike
  readonly fetch?: typeof fetch
  /** All in ms. */
  readonly timing?: Partial<Timing>
}

/** All in ms. */
export interface Timing {
  /** The longest pause before the first attempt to reconnect, and before any. */
  readonly backoff: number
  readonly maxBackoff: number
  /** A wire that stays silent for this long after its request does not work. */
  readonly open: number
  /** The longest silence; nodes send a heartbeat every 25 s. */
  readonly silence: number
  /** Between attempts to return to a better wire. */
  readonly upgrade: number
  /** Between polls that returned nothing. */
  readonly poll: number
}
