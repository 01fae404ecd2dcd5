// A client: subscriptions over one connection, publishing, presence.

import { Credentials } from './credentials.ts'
import { Emitter } from './emitter.ts'
import { Feed, type Reader } from './feed.ts'
import { type Lines, OwnLines } from './lines.ts'
import type { Env } from './link.ts'
import { Presence } from './presence.ts'
import { publish } from './publish.ts'
import type { State } from './states.ts'
import { Subscription } from './subscription.ts'
import { canShare, keyOf, SharedLines } from './tabs.ts'
import type {
  Options,
  PublishOptions,
  ReadOptions,
  Receipt,
  SubscribeOptions,
  Timing,
  Wire,
} from './types.ts'

const WIRES: readonly Wire[] = ['ws', 'sse', 'stream', 'long-poll', 'poll']

const TIMING: Timing = {
  backoff: 1000,
  maxBackoff: 30_000,
  open: 5000,
  silence: 55_000,
  upgrade: 180_000,
  poll: 3000,
}

/** The minimum time between two writes of positions to the store, ms. */
const KEEP_MS = 500

export interface FanwireEvents {
  state: State
}

/** Sources of network and page events, if there are any. */
const surroundings = globalThis as unknown as {
  addEventListener?(name: string, listener: () => void): void
  removeEventListener?(name: string, listener: () => void): void
  readonly document?: { readonly visibilityState: string } & typeof surroundings
  readonly navigator?: { readonly onLine?: boolean }
  readonly WebSocket?: Options['WebSocket']
}

export class Fanwire extends Emitter<FanwireEvents> {
  readonly #env: Env
  readonly #options: Options
  readonly #lines: Lines
  readonly #feeds = new Map<string, Feed>()
  readonly #subscriptions = new Set<Subscription<never>>()
  readonly #presences = new Set<Presence>()
  readonly #stop = new AbortController()
  readonly #unkept = new Map<string, string>()
  #keeping: ReturnType<typeof setTimeout> | undefined

  constructor(url: string, options: Options = {}) {
    super()
    this.#options = options
    const WebSocket = options.WebSocket ?? surroundings.WebSocket
    this.#env = {
      url: url.replace(/\/+$/, ''),
      credentials: new Credentials(options.getToken),
      timing: { ...TIMING, ...options.timing },
      fetch: options.fetch ?? ((input, init) => fetch(input, init)),
      WebSocket,
      pages: { limit: 100 },
    }
    const wires = (options.wires ?? WIRES).filter(wire => wire !== 'ws' || WebSocket !== undefined)
    if (wires.length === 0)
      throw new TypeError('none of these wires works here: Node before 22 has no WebSocket')
    this.#lines = options.tabs === 'shared' && canShare ? this.#share(wires) : this.#own(wires)
    if (surroundings.navigator?.onLine === false) this.#lines.happen('offline')
    this.#watch('addEventListener')
  }

  #own(wires: readonly Wire[], shared?: () => SharedLines): OwnLines {
    return new OwnLines(this.#env, wires, () => {
      shared?.().tellState()
      this.#changed()
    })
  }

  #share(wires: readonly Wire[]): Lines {
    const lines: SharedLines = new SharedLines({
      env: this.#env,
      name: `fanwire:${this.#env.url}`,
      own: () => this.#own(wires, () => lines),
      join: (channel, options, reader) => this.#feed(channel, options).join(reader),
      leave: (channel, options, reader) => this.#feeds.get(keyOf(channel, options))?.leave(reader),
      changed: () => this.#changed(),
    })
    return lines
  }

  get state(): State {
    return this.#lines.state
  }

  /** Subscribes to a channel. Reading begins with the first listener or loop. */
  subscribe<Data = unknown>(channel: string, options: SubscribeOptions = {}): Subscription<Data> {
    const { cursor = 'latest', types, filter, every, newest } = options
    const read: ReadOptions = {
      ...(types && { types }),
      ...(filter && { filter }),
      ...(every !== undefined && { every }),
      ...(newest !== undefined && { newest }),
    }
    const key = `fanwire:${this.#env.url}:${keyOf(channel, read)}`
    const kept = this.#options.store?.getItem(key)
    const leave = (reader: Reader) => this.#feeds.get(keyOf(channel, read))?.leave(reader)
    const subscription = new Subscription<Data>(channel, kept ?? cursor, {
      join: reader => this.#feed(channel, read).join(reader),
      leave,
      keep: position => this.#keep(key, position),
      gone: () => void this.#subscriptions.delete(subscription as Subscription<never>),
      state: () => this.state,
    })
    this.#subscriptions.add(subscription as Subscription<never>)
    return subscription
  }

  /** Resolves once the log holds the event; retries failures, and never publishes twice. */
  publish(channel: string, data: unknown, options: PublishOptions = {}): Promise<Receipt> {
    return publish(this.#env, channel, data, options, this.#stop.signal)
  }

  /** The members of a channel. */
  presence(channel: string): Presence {
    const presence: Presence = new Presence(
      channel,
      this.#env,
      (name, options) => this.subscribe(name, options),
      () => void this.#presences.delete(presence),
    )
    this.#presences.add(presence)
    return presence
  }

  /** Retries now, also after `unauthorized`, but not before the delay that the server requested. */
  reconnect(): void {
    this.#env.credentials.drop()
    this.#lines.happen('retry')
    for (const presence of this.#presences) presence.retry()
  }

  close(): void {
    if (this.#stop.signal.aborted) return
    this.#watch('removeEventListener')
    for (const presence of this.#presences) presence.close()
    for (const subscription of [...this.#subscriptions]) subscription.close()
    this.#store()
    this.#stop.abort(new DOMException('the client is closed', 'AbortError'))
    this.#lines.happen('close')
  }

  #feed(channel: string, options: ReadOptions): Feed {
    const key = keyOf(channel, options)
    const known = this.#feeds.get(key)
    if (known) return known
    const emptied = () => {
      if (this.#feeds.get(key) === feed) this.#feeds.delete(key)
    }
    const feed: Feed = new Feed(this.#env, this.#lines, { channel, options }, emptied)
    this.#feeds.set(key, feed)
    return feed
  }

  #changed(): void {
    this.emit('state', this.state)
    for (const subscription of [...this.#subscriptions]) subscription.stateChanged()
  }

  #keep(key: string, position: string): void {
    if (!this.#options.store) return
    this.#unkept.set(key, position)
    this.#keeping ??= setTimeout(this.#store, KEEP_MS)
  }

  readonly #store = (): void => {
    clearTimeout(this.#keeping)
    this.#keeping = undefined
    for (const [key, position] of this.#unkept) this.#options.store?.setItem(key, position)
    this.#unkept.clear()
  }

  readonly #offline = () => this.#lines.happen('offline')
  readonly #online = () => this.#lines.happen('online')
  readonly #shown = () => {
    if (surroundings.document?.visibilityState !== 'hidden') this.#lines.check()
  }

  #watch(how: 'addEventListener' | 'removeEventListener'): void {
    surroundings[how]?.('offline', this.#offline)
    surroundings[how]?.('online', this.#online)
    surroundings[how]?.('pagehide', this.#store)
    surroundings[how]?.('pageshow', this.#shown)
    for (const name of ['visibilitychange', 'resume']) surroundings.document?.[how]?.(name, this.#shown)
  }
}

/** A client of the nodes at `url`. It connects once there is something to read. */
export function connect(url: string, options: Options = {}): Fanwire {
  return new Fanwire(url, options)
}
