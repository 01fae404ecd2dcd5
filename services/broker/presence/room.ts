// The members of one channel on this node, and their updates to the store. The last change of a user counts, so a change
// can be repeated until the store has accepted it.

import { delay } from '../../backoff.ts'
import type { Lease } from './lease.ts'
import type { Change, MemberStore, Outbox } from './store.ts'

/** The maximum changes of one call. */
export const PORTION = 500

export interface RoomOptions {
  readonly store: MemberStore
  readonly lease: Lease
  /** How long a user remains a member after its last client has left, ms. */
  readonly grace: number
  /** Whether the log of lives records this channel. */
  lives(): boolean
  /** Appends entries to the log of lives. Returns once it has all of them. */
  outbox(channel: string, outbox: Outbox): Promise<void>
  /** Called when the room has become empty. */
  empty(room: Room): void
  /** Creates a tag of this node. */
  tag(): string
}

interface Entry {
  clients: number
  who: string
  updated: boolean
  /** The timer for its leave. */
  leaving: NodeJS.Timeout | undefined
}

export class Room {
  readonly channel: string
  readonly #options: RoomOptions
  readonly #entries = new Map<string, Entry>()
  /** Users whose changes the store has not received yet. */
  readonly #dirty = new Set<string>()
  #tag: string
  /** Tags whose entries have to be removed once those of the current tag are stored. */
  #stale: string[] = []
  #version = 0
  #attached = ''
  #flushing = false
  #retry: NodeJS.Timeout | undefined
  #failures = 0
  /** Settles once the log of lives has all entries. */
  #sent: Promise<void> = Promise.resolve()
  #closed = false
  #waiting: (() => void)[] = []

  constructor(channel: string, options: RoomOptions) {
    this.channel = channel
    this.#options = options
    this.#tag = options.tag()
  }

  /** The number of users; all anonymous clients count as one. */
  get size(): number {
    return this.#entries.size
  }

  enter(user: string, who: string): void {
    const entry = this.#entries.get(user)
    if (entry === undefined) {
      this.#entries.set(user, { clients: 1, who, updated: true, leaving: undefined })
    } else {
      clearTimeout(entry.leaving)
      entry.leaving = undefined
      entry.clients++
      entry.updated ||= entry.who !== who
      entry.who = who
    }
    this.#changed(user)
  }

  leave(user: string): void {
    const entry = this.#entries.get(user)
    if (entry === undefined) return
    const { grace } = this.#options
    if (--entry.clients === 0 && grace === 0) this.#entries.delete(user)
    else if (entry.clients === 0) {
      entry.leaving = setTimeout(() => {
        this.#entries.delete(user)
        this.#changed(user)
      }, grace).unref()
    }
    this.#changed(user)
  }

  /** Returns when the store has all changes so far, or can't be reached. A later read then reports why. */
  async settled(): Promise<void> {
    if (this.#unsettledChanges && !this.#closed && this.#retry === undefined)
      await new Promise<void>(resolve => this.#waiting.push(resolve))
  }

  #settle(count = this.#waiting.length): void {
    for (const resolve of this.#waiting.splice(0, count)) resolve()
  }

  /** Stores everything again under another tag, since the store lost some or all of this node's entries. */
  enterAnew(): void {
    this.#stale.push(this.#tag)
    this.#tag = this.#options.tag()
    this.#version = 0
    for (const user of this.#entries.keys()) this.#dirty.add(user)
    this.#flush()
  }

  /** Compares the store's content with what was sent. Raises LogUnavailable. */
  async verify(): Promise<void> {
    if (this.#unsettled) return
    const [tag, version] = [this.#tag, this.#version]
    const found = await this.#options.store.version(this.channel, tag)
    this.#sent = this.#options.outbox(this.channel, found.outbox)
    if (!this.#unsettled && tag === this.#tag && found.version !== version && version > 0) this.enterAnew()
  }

  /** Stops sending changes. */
  close(): void {
    this.#closed = true
    clearTimeout(this.#retry)
    for (const { leaving } of this.#entries.values()) clearTimeout(leaving)
    this.#settle()
  }

  get #unsettledChanges(): boolean {
    return this.#flushing || this.#dirty.size > 0 || this.#stale.length > 0
  }

  get #unsettled(): boolean {
    return this.#unsettledChanges || this.#entries.size === 0
  }

  #changed(user: string): void {
    this.#dirty.add(user)
    if (this.#flushing || this.#retry !== undefined || this.#closed) return
    this.#flushing = true
    // Changes of the same turn of the event loop are sent together.
    setImmediate(() => void this.#run())
  }

  #flush(): void {
    if (this.#flushing || this.#closed) return
    clearTimeout(this.#retry)
    this.#retry = undefined
    this.#flushing = true
    void this.#run()
  }

  async #run(): Promise<void> {
    try {
      while (!this.#closed && (this.#dirty.size > 0 || this.#stale.length > 0)) await this.#round()
      this.#failures = 0
      this.#flushing = false
      this.#settle()
    } catch {
      // The log is unavailable, and reports that itself.
      this.#flushing = false
      this.#settle()
      if (this.#closed) return
      this.#retry = setTimeout(
        () => {
          this.#retry = undefined
          this.#flush()
        },
        delay(++this.#failures, 100, 2000),
      ).unref()
      return
    }
    if (this.#entries.size === 0) void this.#endWhenTold()
  }

  /** Stores the changes so far. It ends however fast later changes follow. */
  async #round(): Promise<void> {
    const waiting = this.#waiting.length
    const stale = [...this.#stale]
    // Users are stored in the order in which they changed.
    for (let left = this.#dirty.size; left > 0 && !this.#closed; left -= PORTION) await this.#put()
    for (const tag of stale) {
      while (!this.#closed && (await this.#expel(tag))) {
        if (this.#dirty.size > 0) await this.#put()
      }
    }
    this.#settle(waiting)
  }

  /** Waits for the log of lives: until it has all entries, the lease shows that there is something to do. */
  async #endWhenTold(): Promise<void> {
    await this.#sent
    if (this.#entries.size === 0 && !this.#unsettledChanges && !this.#closed) this.#options.empty(this)
  }

  async #put(): Promise<void> {
    const { store, lease, outbox } = this.#options
    if (lease.until === 0) await lease.renew()
    while (this.#attached !== lease.id) {
      const { id } = lease
      await store.attach(id, this.channel)
      this.#attached = id
    }
    // Read after the wait, during which another tag may have replaced it.
    const tag = this.#tag
    const users = [...this.#dirty].slice(0, PORTION)
    const changes = users.map(user => this.#change(user))
    for (const user of users) this.#dirty.delete(user)
    try {
      const version = ++this.#version
      const put = { tag, until: lease.until, version, changes, lives: this.#options.lives() }
      const entries = await store.put(this.channel, put)
      if (entries === undefined) {
        await lease.renew()
        throw new Error('the lease was not renewed in time')
      }
      this.#sent = outbox(this.channel, entries)
    } catch (error) {
      for (const { user, updated } of changes) {
        this.#dirty.add(user)
        const entry = this.#entries.get(user)
        if (entry !== undefined) entry.updated ||= updated
      }
      throw error
    }
  }

  #change(user: string): Change {
    const entry = this.#entries.get(user)
    if (entry === undefined) return { user, clients: -1, who: '', updated: false }
    const { clients, who, updated } = entry
    entry.updated = false
    return { user, clients, who, updated }
  }

  /** Removes entries of the first stale tag. Returns whether it may have more. */
  async #expel(tag: string): Promise<boolean> {
    const { store, outbox } = this.#options
    const { more, outbox: entries } = await store.expel(this.channel, tag, this.#options.lives())
    this.#sent = outbox(this.channel, entries)
    if (!more) this.#stale.shift()
    return more
  }
}
