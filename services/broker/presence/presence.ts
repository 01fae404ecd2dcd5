// The members of channels: this node's clients, and through the store those of all nodes.

import { setImmediate } from 'node:timers/promises'
import type { Identity } from '../access/identity.ts'
import { ownCopy } from '../event/names.ts'
import { Allowance } from '../log/allowance.ts'
import type { Logger } from '../logger.ts'
import { repeat } from '../slices.ts'
import { Attendance, type Attending, whoOf } from './attendance.ts'
import { Lease, newId } from './lease.ts'
import { PORTION, Room } from './room.ts'
import { type Change, type Count, leaseOf, type MemberPage, type MemberStore, type Outbox } from './store.ts'

/** How often each channel is compared with the store, ms. */
const VERIFY_MS = 8000
/** The number of channels that are compared at a time. */
const AT_A_TIME = 50
/** How long a polling client remains a member after its last request, ms. */
const VISIT_MS = 60_000
/**
 * The number of channels per second in which polls may make the first members of this node, since a client can poll any
 * names. If it is used up, the client's next poll makes it a member.
 */
const BEGUN_A_SECOND = 100

export interface PresenceOptions {
  readonly store: MemberStore
  readonly logger: Logger
  /** How long a user remains a member after its last client has left, ms. */
  readonly grace: number
  readonly lives?: Lives
  /** Whether the channel keeps members. */
  keeps(channel: string): boolean
  /** Whether any channel keeps members. */
  keepsAny(): boolean
  /** Intervals for tests, ms. */
  readonly times?: { readonly renew?: number; readonly verify?: number; readonly visit?: number }
}

/** The entries for the log of lives. */
export interface Lives {
  /** Whether anything about channels with members is recorded there. */
  wanted(): boolean
  /** Returns once all entries are in it. Does not raise. */
  take(channel: string, outbox: Outbox): Promise<void>
}

/** A polling user. */
interface Visit {
  readonly channel: string
  readonly user: string
  readonly who: string
  readonly timer: NodeJS.Timeout
}

export class Presence {
  readonly #options: PresenceOptions
  readonly #rooms = new Map<string, Room>()
  readonly #visits = new Map<string, Visit>()
  readonly #begins = new Allowance(BEGUN_A_SECOND)
  readonly #lease: Lease
  readonly #lives: Lives | undefined
  #tags = 0
  #timer: NodeJS.Timeout | undefined
  #sweeping = false
  #closed = false

  constructor(options: PresenceOptions) {
    this.#options = options
    this.#lives = options.lives
    const { store, logger, times } = options
    const events = {
      changed: () => this.#enterAnew(),
      ended: (leases: readonly string[]) => void this.#sweep(leases),
    }
    this.#lease = new Lease(store, logger, events, times?.renew)
  }

  /** Starts once any channel keeps members. */
  open(): void {
    if (this.#timer !== undefined || this.#closed || !this.#options.keepsAny()) return
    const every = this.#options.times?.verify ?? VERIFY_MS
    this.#timer = repeat(() => this.#verify(), every)
    void this.#lease.renew()
  }

  /**
   * Stops. The members of this node leave after the grace period, or the time of a visit, unless they go to another node.
   * Does not raise.
   */
  async close(): Promise<void> {
    this.#closed = true
    clearInterval(this.#timer)
    for (const { timer } of this.#visits.values()) clearTimeout(timer)
    for (const room of this.#rooms.values()) room.close()
    if (this.#timer === undefined) return
    // If the store is unavailable, they leave with the others.
    await this.#keepVisits().catch(() => {})
    await this.#lease.close(this.#options.grace)
  }

  /** Stores the polling users under another lease, which ends when they would have left. Raises LogUnavailable. */
  async #keepVisits(): Promise<void> {
    const { store, times } = this.#options
    const visited = new Map<string, Change[]>()
    for (const { channel, user, who } of this.#visits.values()) {
      const changes = visited.get(channel) ?? []
      changes.push({ user, clients: 0, who, updated: false })
      visited.set(channel, changes)
    }
    if (visited.size === 0) return
    const lease = newId()
    const { now } = await store.renew(lease, true)
    const ms = times?.visit ?? VISIT_MS
    await store.end(lease, ms)
    const keep = async ([channel, changes]: [string, Change[]]) => {
      await store.attach(lease, channel)
      for (let at = 0; at < changes.length; at += PORTION) {
        const lives = this.#lives?.wanted() ?? false
        const part = changes.slice(at, at + PORTION)
        const put = { tag: `${lease}/1`, until: now + ms, version: at + 1, changes: part, lives }
        await this.#record(channel, (await store.put(channel, put)) ?? [])
      }
    }
    const all = [...visited]
    for (let at = 0; at < all.length; at += AT_A_TIME) {
      await Promise.all(all.slice(at, at + AT_A_TIME).map(keep))
    }
  }

  // Members of this node ----------------------------------------------------------------------------------------

  /** Makes the client a member of every channel that it reads. Call it again if its identity changes. */
  attend(connection: Attending, identity: Identity): void {
    if (connection.watcher instanceof Attendance) connection.watcher.identify(identity)
    else if (this.#options.keepsAny()) connection.watcher = new Attendance(this, identity)
  }

  /** Makes a user who polls these channels a member for a while. Anonymous clients are ignored: they look alike. */
  visit({ user, kind, info }: Identity, channels: readonly string[]): void {
    if (user === '' || kind === 'key' || this.#closed || !this.#options.keepsAny()) return
    const who = whoOf(user, info)
    for (const channel of channels) {
      const key = `${channel} ${user}`
      const known = this.#visits.get(key)
      if (known !== undefined) known.timer.refresh()
      else if (this.#mayVisit(channel) && this.enter(channel, user, who)) {
        const ms = this.#options.times?.visit ?? VISIT_MS
        const own = ownCopy(channel)
        const timer = setTimeout(() => {
          this.#visits.delete(key)
          this.leave(own, user)
        }, ms).unref()
        this.#visits.set(key, { channel: own, user, who, timer })
      }
    }
  }

  /** Whether a poll may add a member: it stores nothing about more than a few channels without members per second. */
  #mayVisit(channel: string): boolean {
    return this.#rooms.has(channel) || (this.#options.keeps(channel) && this.#begins.take())
  }

  /** Adds a client. Returns false if the channel keeps no members. */
  enter(channel: string, user: string, who: string): boolean {
    if (this.#closed || !this.#options.keeps(channel)) return false
    this.open()
    this.#room(channel).enter(user, who)
    return true
  }

  /** Returns when all nodes see this node's members. */
  async settled(channel: string): Promise<void> {
    await this.#rooms.get(channel)?.settled()
  }

  leave(channel: string, user: string): void {
    if (!this.#closed) this.#rooms.get(channel)?.leave(user)
  }

  #room(channel: string): Room {
    const known = this.#rooms.get(channel)
    if (known !== undefined) return known
    const { store, grace } = this.#options
    const room = new Room(ownCopy(channel), {
      store,
      grace,
      lease: this.#lease,
      lives: () => this.#lives?.wanted() ?? false,
      outbox: (channel, outbox) => this.#record(channel, outbox),
      tag: () => `${this.#lease.id}/${++this.#tags}`,
      empty: empty => this.#forget(empty),
    })
    this.#rooms.set(room.channel, room)
    return room
  }

  #forget({ channel }: Room): void {
    this.#rooms.delete(channel)
    // If this fails, the node that cleans up later finds nothing.
    this.#options.store.detach(this.#lease.id, [channel]).catch(() => {})
  }

  async #record(channel: string, outbox: Outbox): Promise<void> {
    await this.#lives?.take(channel, outbox)
  }

  // All members -------------------------------------------------------------------------------------------------

  /** Raises LogUnavailable. */
  async count(channel: string): Promise<Count> {
    return this.#looked(channel, await this.#options.store.count(channel))
  }

  /** Raises LogUnavailable. */
  async page(channel: string, after: string, limit: number): Promise<MemberPage> {
    return this.#looked(channel, await this.#options.store.page(channel, after, limit))
  }

  /** Entries of a lease that the store has lost are removed as if the lease had ended. */
  #looked<T extends Count>(channel: string, found: T): T {
    const { known } = this.#lease
    for (const lease of new Set(found.tags.map(leaseOf))) {
      if (!known.has(lease) && known.size > 0) this.#options.store.attach(lease, channel).catch(() => {})
    }
    return found
  }

  // What goes wrong ---------------------------------------------------------------------------------------------

  #enterAnew(): void {
    for (const room of this.#rooms.values()) room.enterAnew()
  }

  /** Finds entries that the store has lost. */
  async #verify(): Promise<void> {
    const rooms = [...this.#rooms.values()]
    try {
      for (let at = 0; at < rooms.length && !this.#closed; at += AT_A_TIME) {
        await Promise.all(rooms.slice(at, at + AT_A_TIME).map(room => room.verify()))
        await setImmediate()
      }
    } catch {
      // The log is unavailable: the next round retries.
    }
  }

  /** Removes the members of nodes that are gone. All nodes may do this at the same time. */
  async #sweep(leases: readonly string[]): Promise<void> {
    if (this.#sweeping) return
    this.#sweeping = true
    const { store, logger } = this.#options
    try {
      for (const lease of leases) {
        logger.info({ lease }, 'a node is gone: its members leave')
        for (;;) {
          const channels = await store.attached(lease, AT_A_TIME)
          if (channels.length === 0 || this.#closed) break
          await Promise.all(channels.map(channel => this.#expel(channel, lease)))
          await store.detach(lease, channels)
        }
      }
    } catch (error) {
      logger.debug(
        { reason: String(error) },
        'members of a gone node could not be removed; the node will retry',
      )
    }
    this.#sweeping = false
  }

  async #expel(channel: string, lease: string): Promise<void> {
    const { store } = this.#options
    const { tags } = await store.count(channel)
    // Appends the entries that the gone node did not append.
    await this.#record(channel, (await store.version(channel, `${lease}/`)).outbox)
    for (const tag of tags.filter(each => leaseOf(each) === lease)) {
      for (let more = true; more && !this.#closed;) {
        const expelled = await store.expel(channel, tag, this.#lives?.wanted() ?? false)
        await this.#record(channel, expelled.outbox)
        more = expelled.more
      }
    }
  }
}
