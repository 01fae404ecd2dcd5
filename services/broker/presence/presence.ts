// Who is in which channel: this node's own clients, and all of them through the store.

import { setImmediate } from 'node:timers/promises'
import type { Identity } from '../access/identity.ts'
import type { Logger } from '../logger.ts'
import { Attendance, type Attending, whoOf } from './attendance.ts'
import { Lease } from './lease.ts'
import { Room } from './room.ts'
import { type Count, leaseOf, type MemberPage, type MemberStore, type Outbox } from './store.ts'

/** Ms in which each channel is compared with the store once. */
const VERIFY_MS = 8000
/** Channels that are compared at a time. */
const AT_A_TIME = 50
/** Ms that a client which only asks now and then is a member behind its last request. */
const VISIT_MS = 60_000

export interface PresenceOptions {
  readonly store: MemberStore
  readonly logger: Logger
  /** Ms that a user stays behind its last client. */
  readonly grace: number
  readonly lives?: Lives
  /** Whether members are kept of the channel. */
  keeps(channel: string): boolean
  /** Whether they are of any channel. */
  keepsAny(): boolean
  /** For tests, ms. */
  readonly times?: { readonly renew?: number; readonly verify?: number; readonly visit?: number }
}

/** What goes to the log of lives. */
export interface Lives {
  /** Whether anything of channels with members does. */
  wanted(): boolean
  /** Returns once it is there. Does not raise. */
  take(channel: string, outbox: Outbox): Promise<void>
}

/** A user who only asks now and then. */
interface Visit {
  readonly channel: string
  readonly user: string
  readonly timer: NodeJS.Timeout
}

export class Presence {
  readonly #options: PresenceOptions
  readonly #rooms = new Map<string, Room>()
  readonly #visits = new Map<string, Visit>()
  readonly #lease: Lease
  readonly #lives: Lives | undefined
  #tags = 0
  #timer: NodeJS.Timeout | undefined
  #sweeping = false
  #verifying = false
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

  /** Takes part, if there are channels with members; once that is so, for good. */
  open(): void {
    if (this.#timer !== undefined || this.#closed || !this.#options.keepsAny()) return
    const every = this.#options.times?.verify ?? VERIFY_MS
    this.#timer = setInterval(() => void this.#verify(), every).unref()
    void this.#lease.renew()
  }

  /** Members of this node have left once the grace is over, unless they come to another one. Does not raise. */
  async close(): Promise<void> {
    this.#closed = true
    clearInterval(this.#timer)
    for (const { timer } of this.#visits.values()) clearTimeout(timer)
    for (const room of this.#rooms.values()) room.close()
    if (this.#timer !== undefined) await this.#lease.close(this.#options.grace)
  }

  // Members of this node ----------------------------------------------------------------------------------------

  /** The client is a member wherever it reads; again where it is another one now. */
  attend(connection: Attending, identity: Identity): void {
    if (connection.watcher instanceof Attendance) connection.watcher.identify(identity)
    else if (this.#options.keepsAny()) connection.watcher = new Attendance(this, identity)
  }

  /** A user asked for these channels, and will ask again. The anonymous can't be told apart. */
  visit({ user, kind, info }: Identity, channels: readonly string[]): void {
    if (user === '' || kind === 'key' || this.#closed || !this.#options.keepsAny()) return
    for (const channel of channels) {
      const key = `${channel} ${user}`
      const known = this.#visits.get(key)
      if (known !== undefined) known.timer.refresh()
      else if (this.enter(channel, user, whoOf(user, info))) {
        const ms = this.#options.times?.visit ?? VISIT_MS
        const timer = setTimeout(() => {
          this.#visits.delete(key)
          this.leave(channel, user)
        }, ms).unref()
        this.#visits.set(key, { channel, user, timer })
      }
    }
  }

  /** One client more. False where no members are kept. */
  enter(channel: string, user: string, who: string): boolean {
    if (this.#closed || !this.#options.keeps(channel)) return false
    this.open()
    this.#room(channel).enter(user, who)
    return true
  }

  /** Returns when all nodes see who is here. */
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
    const room = new Room(channel, {
      store,
      grace,
      lease: this.#lease,
      lives: () => this.#lives?.wanted() ?? false,
      outbox: (channel, outbox) => this.#tell(channel, outbox),
      tag: () => `${this.#lease.id}/${++this.#tags}`,
      empty: empty => this.#forget(empty),
    })
    this.#rooms.set(channel, room)
    return room
  }

  #forget({ channel }: Room): void {
    this.#rooms.delete(channel)
    // If this fails, whoever sweeps finds nothing there.
    this.#options.store.detach(this.#lease.id, [channel]).catch(() => {})
  }

  async #tell(channel: string, outbox: Outbox): Promise<void> {
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

  /** Entries of a lease that nobody knows, since the store has lost it, end as if it were one. */
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

  /** Finds out what the store has lost. */
  async #verify(): Promise<void> {
    if (this.#verifying) return
    this.#verifying = true
    const rooms = [...this.#rooms.values()]
    try {
      for (let at = 0; at < rooms.length && !this.#closed; at += AT_A_TIME) {
        await Promise.all(rooms.slice(at, at + AT_A_TIME).map(room => room.verify()))
        await setImmediate()
      }
    } catch {
      // The log is away: the next time.
    }
    this.#verifying = false
  }

  /** Has the members of nodes that are gone leave. All nodes may do this at a time. */
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
      logger.debug({ reason: String(error) }, 'members of a node that is gone are still there')
    }
    this.#sweeping = false
  }

  async #expel(channel: string, lease: string): Promise<void> {
    const { store } = this.#options
    const { tags } = await store.count(channel)
    // What the node did not come to tell.
    await this.#tell(channel, (await store.version(channel, `${lease}/`)).outbox)
    for (const tag of tags.filter(each => leaseOf(each) === lease)) {
      for (let more = true; more && !this.#closed;) {
        const told = await store.expel(channel, tag, this.#lives?.wanted() ?? false)
        await this.#tell(channel, told.outbox)
        more = told.more
      }
    }
  }
}
