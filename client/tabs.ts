// One connection for all tabs of an origin. The tab that holds the lock leads: it has the lines, and broadcasts their
// events. Every tab keeps its own positions, so that a new leader loses nothing.

import type { Env } from './link.ts'
import type { Feed, Item } from './feed.ts'
import { positionAfter, type Reader } from './feed.ts'
import { Joint } from './joint.ts'
import type { Lines } from './lines.ts'
import { isPosition } from './position.ts'
import type { Happening, State } from './states.ts'
import { newKey } from './publish.ts'
import { FanwireError } from './errors.ts'
import type { ReadOptions } from './types.ts'

/** A leading tab that does not answer for this long, ms, counts as frozen; another one takes the lead. */
const PATIENCE_MS = 10_000

interface Locks {
  request(
    name: string,
    options: { signal?: AbortSignal; steal?: boolean },
    run: () => Promise<unknown>,
  ): Promise<unknown>
}

interface Channel {
  onmessage: unknown
  postMessage(message: unknown): void
  close(): void
}

/** The messages of a following tab. `key` is a channel with its options. */
type Ask =
  | {
      readonly say: 'want'
      readonly tab: string
      readonly key: string
      readonly channel: string
      readonly options: ReadOptions
      readonly cursor: string
    }
  | { readonly say: 'leave'; readonly tab: string; readonly key: string }
  | { readonly say: 'ping' | 'retry' }

/** The messages of the leading tab. */
type Tell =
  | { readonly say: 'lead' | 'state'; readonly state: State }
  | { readonly say: 'at'; readonly key: string; readonly cursor: string; readonly tab?: string }
  | { readonly say: 'item'; readonly key: string; readonly item: Item }
  | { readonly say: 'refused'; readonly key: string; readonly code: string; readonly message: string }

/** `term` is when the tab took the lead, so that a frozen leader that wakes up is ignored. */
type Say = Ask | (Tell & { readonly term: number })

const { navigator, BroadcastChannel } = globalThis as unknown as {
  readonly navigator?: { readonly locks?: Locks }
  readonly BroadcastChannel?: new (name: string) => Channel
}

export const canShare = navigator?.locks !== undefined && BroadcastChannel !== undefined

/** The feeds of this client, shared with the tabs that follow it. */
export interface Sharing {
  readonly env: Env
  /** The name that all tabs use. */
  readonly name: string
  own(): Lines
  join(channel: string, options: ReadOptions, reader: Reader): void
  leave(channel: string, options: ReadOptions, reader: Reader): void
  changed(): void
}

export const keyOf = (channel: string, options: ReadOptions): string => JSON.stringify([channel, options])

/** Follows a feed of this tab for all other tabs. */
class Relay implements Reader {
  cursor: string
  readonly tabs = new Set<string>()
  readonly #key: string
  readonly #tell: (tell: Tell) => void

  constructor(key: string, cursor: string, tell: (tell: Tell) => void) {
    this.#key = key
    this.cursor = cursor
    this.#tell = tell
  }

  take(item: Item): void {
    const known = isPosition(this.cursor)
    this.cursor = positionAfter(item) ?? this.cursor
    const key = this.#key
    // The position of the flow was unknown until now.
    if ('at' in item || (!known && isPosition(this.cursor)))
      this.#tell({ say: 'at', key, cursor: this.cursor })
    else if ('refused' in item) {
      const { code, message } = item.refused
      this.#tell({ say: 'refused', key, code, message })
    } else this.#tell({ say: 'item', key, item })
  }
}

export class SharedLines implements Lines {
  readonly #sharing: Sharing
  readonly #id = newKey()
  readonly #channel: Channel
  readonly #feeds = new Map<string, Feed>()
  /** The joints of a following tab. */
  readonly #joints = new Map<string, Joint>()
  /** The relays of the leading tab. */
  readonly #relays = new Map<
    string,
    { readonly relay: Relay; readonly channel: string; readonly options: ReadOptions }
  >()
  readonly #known = new Set<string>()
  #lines: Lines | undefined
  #closed = false
  #state: State = { name: 'idle' }
  /** When the leading tab took the lead, ms since 1970. */
  #term = 0
  /** Releases this tab's own lock. */
  #leads = () => {}
  /** Whether this tab holds its own lock. */
  #isHere = false
  #stop = new AbortController()
  #heard = Date.now()
  #pinged = 0
  readonly #watch: ReturnType<typeof setInterval>

  constructor(sharing: Sharing) {
    this.#sharing = sharing
    this.#channel = new (BroadcastChannel as NonNullable<typeof BroadcastChannel>)(sharing.name)
    this.#channel.onmessage = ({ data }: { data: Say }) => this.#hear(data)
    // Other tabs detect that this tab is closed when they get its lock, so it sends nothing before it holds the lock.
    void this.#locks.request(this.#lockOf(this.#id), {}, () => {
      this.#isHere = true
      if (!this.#lines) for (const feed of this.#feeds.values()) this.#want(feed)
      return new Promise(resolve => (this.#leads = () => resolve(0)))
    })
    this.#queue()
    this.#watch = setInterval(() => this.#look(), PATIENCE_MS / 4)
  }

  get #locks(): Locks {
    return (navigator as { locks: Locks }).locks
  }

  #lockOf(tab: string): string {
    return `${this.#sharing.name}:${tab}`
  }

  get state(): State {
    return this.#lines?.state ?? this.#state
  }

  add(feed: Feed): void {
    this.#feeds.set(keyOf(feed.channel, feed.options), feed)
    if (this.#lines) this.#lines.add(feed)
    else this.#want(feed)
  }

  remove(feed: Feed): void {
    const key = keyOf(feed.channel, feed.options)
    this.#feeds.delete(key)
    if (this.#lines) return this.#lines.remove(feed)
    this.#joints.get(key)?.close()
    this.#joints.delete(key)
    this.#say({ say: 'leave', tab: this.#id, key })
  }

  happen(what: Happening): void {
    if (what === 'retry') this.#say({ say: 'retry' })
    if (what !== 'close') return this.#lines?.happen(what)
    clearInterval(this.#watch)
    for (const key of this.#feeds.keys()) this.#say({ say: 'leave', tab: this.#id, key })
    // From here on the other tabs hear nothing: this tab's state is not theirs.
    this.#closed = true
    const lines = this.#lines
    this.#lines = undefined
    this.#state = { name: 'closed', why: 'close' }
    lines?.happen('close')
    this.#stop.abort()
    this.#leads()
    this.#channel.close()
    this.#sharing.changed()
  }

  check(): void {
    this.#lines?.check()
    if (!this.#lines) this.#look()
  }

  #say(say: Say): void {
    if (!this.#closed) this.#channel.postMessage(say)
  }

  #tell(tell: Tell): void {
    this.#say({ ...tell, term: this.#term })
  }

  /** Waits for the lead, and keeps it until this client is closed, or another tab takes it. */
  #queue(steal = false): void {
    const { signal } = (this.#stop = new AbortController())
    const lead = () =>
      new Promise(resolve => {
        if (signal.aborted) return resolve(0)
        signal.addEventListener('abort', () => resolve(0))
        this.#lead()
      })
    this.#locks.request(this.#sharing.name, steal ? { steal } : { signal }, lead).catch(() => {
      if (signal.aborted) return
      // Another tab took the lead, because this one was frozen.
      const lines = this.#lines
      this.#lines = undefined
      for (const [key, { relay }] of [...this.#relays]) for (const tab of relay.tabs) this.#unserve(key, tab)
      lines?.happen('close')
      this.#queue()
      for (const feed of this.#feeds.values()) this.#want(feed)
    })
  }

  #lead(): void {
    for (const joint of this.#joints.values()) joint.close()
    this.#joints.clear()
    const lines = this.#sharing.own()
    this.#lines = lines
    this.#term = Math.max(Date.now(), this.#term + 1)
    for (const feed of this.#feeds.values()) lines.add(feed)
    this.#tell({ say: 'lead', state: this.state })
    this.#sharing.changed()
  }

  /** Called when the state of this tab's lines has changed. */
  tellState(): void {
    if (this.#lines) this.#tell({ say: 'state', state: this.state })
  }

  #want({ channel, options, cursor }: Feed): void {
    if (!this.#isHere) return
    this.#say({ say: 'want', tab: this.#id, key: keyOf(channel, options), channel, options, cursor })
  }

  #hear(said: Say): void {
    if (this.#lines) this.#hearAsLeader(said)
    else this.#hearAsFollower(said)
  }

  #hearAsLeader(said: Say): void {
    if (said.say === 'want') this.#serve(said)
    else if (said.say === 'leave') this.#unserve(said.key, said.tab)
    else if (said.say === 'ping') this.tellState()
    else if (said.say === 'retry') this.#lines?.happen('retry')
  }

  #serve({ tab, key, channel, options, cursor }: Extract<Say, { say: 'want' }>): void {
    if (!this.#known.has(tab)) {
      this.#known.add(tab)
      void this.#locks.request(this.#lockOf(tab), {}, async () => {
        this.#known.delete(tab)
        for (const each of [...this.#relays.keys()]) this.#unserve(each, tab)
      })
    }
    const known = this.#relays.get(key)
    const relay =
      known?.relay ?? new Relay(key, this.#feeds.get(key)?.cursor ?? cursor, tell => this.#tell(tell))
    relay.tabs.add(tab)
    if (known === undefined) {
      this.#relays.set(key, { relay, channel, options })
      this.#sharing.join(channel, options, relay)
    }
    this.tellState()
    if (isPosition(relay.cursor)) this.#tell({ say: 'at', key, cursor: relay.cursor, tab })
  }

  #unserve(key: string, tab: string): void {
    const served = this.#relays.get(key)
    if (!served?.relay.tabs.delete(tab) || served.relay.tabs.size > 0) return
    this.#relays.delete(key)
    this.#sharing.leave(served.channel, served.options, served.relay)
  }

  #hearAsFollower(said: Say): void {
    if (!('term' in said) || said.term < this.#term) return
    this.#term = said.term
    if (said.say === 'lead') {
      for (const joint of this.#joints.values()) joint.close()
      this.#joints.clear()
      for (const feed of this.#feeds.values()) this.#want(feed)
    }
    if (said.say === 'lead' || said.say === 'state') {
      this.#heard = Date.now()
      this.#state = said.state
      this.#sharing.changed()
    } else if (said.say === 'at') this.#flow(said.key, said.cursor, said.tab)
    else if (said.say === 'item') this.#joints.get(said.key)?.take(said.item)
    else if (said.say === 'refused')
      this.#feeds.get(said.key)?.refused(new FanwireError(said.code, said.message))
  }

  /** Reports that the flow of a channel is at `cursor`, to one tab or to all. */
  #flow(key: string, cursor: string, tab: string | undefined): void {
    const feed = this.#feeds.get(key)
    if (feed === undefined || (tab !== undefined && tab !== this.#id)) return
    const joint = this.#joints.get(key)
    if (joint && tab === undefined) return joint.take({ at: cursor })
    joint?.close()
    this.#joints.set(key, new Joint(this.#sharing.env, feed, readerOf(feed), cursor))
  }

  /** Checks whether the leading tab is alive. */
  #look(): void {
    if (this.#lines || this.#feeds.size === 0) return
    const now = Date.now()
    // The last check is long ago if the machine has slept, or this tab was frozen.
    const patient = now - this.#pinged < PATIENCE_MS
    if (now - this.#heard > PATIENCE_MS && patient && this.#pinged > this.#heard) {
      this.#stop.abort()
      return this.#queue(true)
    }
    if (!patient || this.#pinged <= this.#heard) this.#pinged = now
    this.#say({ say: 'ping' })
  }
}

/** A feed, as the end of a flow. */
function readerOf(feed: Feed): Reader {
  return {
    get cursor() {
      return feed.cursor
    },
    take(item) {
      if ('at' in item) feed.opened(item.at)
      else if ('event' in item) feed.event(item.event)
      else if ('gap' in item) feed.gap(item.gap)
      else if ('end' in item) feed.end(item.end)
      else feed.refused(item.refused)
    },
  }
}
