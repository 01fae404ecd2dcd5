// The members of a single node, in its memory. Joins and leaves go through the log, with any engine.

import { presenceOf } from '../event/names.ts'
import { randomBytes } from 'node:crypto'
import type { ChannelLog } from '../log/log.ts'
import {
  type Change,
  type Count,
  LEASE_MS,
  type Life,
  type MemberPage,
  type MemberStore,
  OUTAGE_MS,
  type Outbox,
  type Put,
  type Renewal,
} from './store.ts'

interface User {
  clients: number
  entries: number
  readonly since: number
  who: string
}

interface Room {
  readonly users: Map<string, User>
  /** The entries of each tag: the number of clients by user. */
  readonly entries: Map<string, Map<string, number>>
  readonly versions: Map<string, number>
  outbox: Life[]
  /** Serializes changes, each with its events. */
  turn: Promise<unknown>
  clients: number
  held: number
}

/** The maximum number of members that one call removes. */
const PORTION = 500

export class MemoryMembers implements MemberStore {
  readonly #log: ChannelLog
  readonly #now: () => number
  readonly #rooms = new Map<string, Room>()
  readonly #leases = new Map<string, number>()
  readonly #channels = new Map<string, Set<string>>()
  readonly #name = randomBytes(9).toString('base64url')
  #keys = 0

  constructor(log: ChannelLog, now: () => number = Date.now) {
    this.#log = log
    this.#now = now
  }

  // Leases ------------------------------------------------------------------------------------------------------

  async renew(lease: string, begin: boolean): Promise<Renewal> {
    const now = this.#now()
    // Leases that `end` has extended into the future do not show that the store was available.
    const past = [...this.#leases].filter(([, renewed]) => renewed <= now)
    if (Math.max(...past.map(([, renewed]) => renewed)) < now - OUTAGE_MS) {
      for (const [each] of past) this.#leases.set(each, now)
    }
    const holds = (each: string) => (this.#leases.get(each) ?? -Infinity) + LEASE_MS > now
    const held = begin || holds(lease)
    if (held) this.#leases.set(lease, now)
    const all = [...this.#leases.keys()]
    return { held, now, leases: all.filter(holds), ended: all.filter(each => !holds(each)) }
  }

  async end(lease: string, within: number): Promise<void> {
    if (this.#leases.has(lease)) this.#leases.set(lease, this.#now() - LEASE_MS + within)
  }

  async attach(lease: string, channel: string): Promise<void> {
    if (!this.#leases.has(lease)) this.#leases.set(lease, this.#now())
    const channels = this.#channels.get(lease) ?? new Set()
    this.#channels.set(lease, channels.add(channel))
  }

  async detach(lease: string, channels: readonly string[]): Promise<void> {
    for (const channel of channels) this.#channels.get(lease)?.delete(channel)
    this.#forget(lease)
  }

  async attached(lease: string, most: number): Promise<string[]> {
    const found = [...(this.#channels.get(lease) ?? [])].slice(0, most)
    this.#forget(lease)
    return found
  }

  #forget(lease: string): void {
    if ((this.#channels.get(lease)?.size ?? 0) > 0) return
    this.#channels.delete(lease)
    if ((this.#leases.get(lease) ?? Infinity) + LEASE_MS <= this.#now()) this.#leases.delete(lease)
  }

  // Members -----------------------------------------------------------------------------------------------------

  put(channel: string, { tag, until, version, changes, lives }: Put): Promise<Outbox | undefined> {
    return this.#inTurn(channel, async room => {
      if (this.#now() > until) return undefined
      await this.#change(channel, room, tag, changes, lives)
      if (room.entries.has(tag)) room.versions.set(tag, version)
      return [...room.outbox]
    })
  }

  expel(channel: string, tag: string, lives: boolean): Promise<{ outbox: Outbox; more: boolean }> {
    return this.#inTurn(channel, async room => {
      const users = [...(room.entries.get(tag)?.keys() ?? [])].slice(0, PORTION)
      const changes = users.map(user => ({ user, clients: -1, who: '', updated: false }))
      await this.#change(channel, room, tag, changes, lives)
      return { outbox: [...room.outbox], more: room.entries.has(tag) }
    })
  }

  version(channel: string, tag: string): Promise<{ version: number | undefined; outbox: Outbox }> {
    return this.#inTurn(channel, async room => ({
      version: room.versions.get(tag),
      outbox: [...room.outbox],
    }))
  }

  acknowledge(channel: string, key: string): Promise<Outbox> {
    return this.#inTurn(channel, async room => {
      room.outbox = room.outbox.slice(room.outbox.findIndex(each => each.key === key) + 1)
      return [...room.outbox]
    })
  }

  async count(channel: string): Promise<Count> {
    const room = this.#rooms.get(channel)
    return room === undefined ? { users: 0, clients: 0, tags: [] } : countOf(room)
  }

  page(channel: string, after: string, limit: number): Promise<MemberPage> {
    return this.#inTurn(channel, async room => {
      // Begins the log's epoch, as Redis does.
      const log = presenceOf(channel)
      const { cursor } = await this.#log.read(log, 'latest', { events: 0, bytes: 0 }, true)
      const names = firstBehind(room.users.keys(), after, limit + 1)
      const page = names.slice(0, limit)
      return {
        ...countOf(room),
        cursor,
        next: names.length > limit ? page.at(-1) : undefined,
        members: page.map(name => {
          const { who, since } = room.users.get(name) as User
          return `{${who},"since":${since}}`
        }),
      }
    })
  }

  #inTurn<T>(channel: string, act: (room: Room) => Promise<T>): Promise<T> {
    let room = this.#rooms.get(channel)
    if (room === undefined) {
      room = {
        users: new Map(),
        entries: new Map(),
        versions: new Map(),
        outbox: [],
        turn: Promise.resolve(),
        clients: 0,
        held: 0,
      }
      this.#rooms.set(channel, room)
    }
    const own = room
    const done = own.turn.then(() => act(own))
    const last: Promise<void> = done
      .then(
        () => {},
        () => {},
      )
      .then(() => {
        if (own.turn === last && own.held === 0 && own.outbox.length === 0) this.#rooms.delete(channel)
      })
    own.turn = last
    return done
  }

  /** Appends the events first: if that fails, nothing has changed. */
  async #change(
    channel: string,
    room: Room,
    tag: string,
    changes: readonly Change[],
    keep: boolean,
  ): Promise<void> {
    const entries = room.entries.get(tag) ?? new Map<string, number>()
    const events: { readonly type: string; readonly data: Buffer }[] = []
    const lives: Life[] = []
    const writes: (() => void)[] = []
    let { clients, held } = room
    const live = (kind: Life['kind'], who = '') =>
      lives.push({ key: `${this.#name}.${++this.#keys}`, kind, who })
    const tell = (type: string, { who, clients: count }: Pick<User, 'who' | 'clients'>) =>
      events.push({ type, data: Buffer.from(`{${who},"clients":${count}}`) })

    for (const { user, clients: count, who, updated } of changes) {
      const had = entries.get(user)
      if (had === undefined && count < 0) continue
      const more = Math.max(count, 0) - (had ?? 0)
      const entered = (count < 0 ? 0 : 1) - (had === undefined ? 0 : 1)
      if (held === 0 && entered === 1) live('occupied')
      clients += more
      held += entered
      writes.push(() => void (count < 0 ? entries.delete(user) : entries.set(user, count)))
      if (user !== '') {
        const known = room.users.get(user)
        const next: User = {
          clients: (known?.clients ?? 0) + more,
          entries: (known?.entries ?? 0) + entered,
          since: known?.since ?? this.#now(),
          who: known === undefined || updated ? who : known.who,
        }
        if (known === undefined) {
          tell('join', next)
          live('joined', who)
        } else if (next.entries === 0) {
          tell('leave', next)
          live('left', known.who)
        } else if (next.who !== known.who) tell('update', next)
        writes.push(() => void (next.entries === 0 ? room.users.delete(user) : room.users.set(user, next)))
      }
      if (held === 0 && entered === -1) live('vacated')
    }
    if (events.length > 0) await this.#log.append(presenceOf(channel), events)
    for (const write of writes) write()
    room.clients = clients
    room.held = held
    if (entries.size > 0) room.entries.set(tag, entries)
    else {
      room.entries.delete(tag)
      room.versions.delete(tag)
    }
    if (keep) room.outbox.push(...lives)
  }
}

function countOf({ users, clients, entries }: Room): Count {
  return { users: users.size, clients, tags: [...entries.keys()] }
}

/** The first names after `after`, in order. Visits each name once, since there may be very many. */
function firstBehind(names: Iterable<string>, after: string, most: number): string[] {
  let first: string[] = []
  let bound: string | undefined
  for (const name of names) {
    if (after !== '' && compare(name, after) <= 0) continue
    if (bound !== undefined && compare(name, bound) >= 0) continue
    first.push(name)
    if (first.length < 2 * most) continue
    first = first.sort(compare).slice(0, most)
    bound = first.at(-1)
  }
  return first.sort(compare).slice(0, most)
}

/** Compares by UTF-8 bytes, as Redis does. */
function compare(a: string, b: string): number {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    const [one, other] = [a.charCodeAt(i), b.charCodeAt(i)]
    if (one !== other) return placeOf(one) - placeOf(other)
  }
  return a.length - b.length
}

/** Surrogates sort after all other code units, since their characters have the greatest code points. */
function placeOf(code: number): number {
  if (code < 0xd800) return code
  return code < 0xe000 ? code + 0x2000 : code - 0x800
}
