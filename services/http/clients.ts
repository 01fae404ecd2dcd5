// Connected clients: their identities, and the end of clients whose token expires or is revoked, or who have lost the
// right to read their channels.

import { randomBytes } from 'node:crypto'
import type { Access, Lapse, LapsedGrant } from '../broker/access/access.ts'
import { type Asker, bareAsker, Disconnected } from '../broker/access/asking.ts'
import { type Identity, msOf, nextEndOf, withFewerTokens } from '../broker/access/identity.ts'
import type { Position } from '../broker/event/position.ts'
import type { CloseReason } from '../broker/fanout/framing.ts'
import type { ReadGrant } from '../broker/fanout/reader.ts'
import type { Lease } from '../broker/limits/holds.ts'
import { repeat, visitInSlices } from '../broker/slices.ts'
import { FanwireError } from '../errors.ts'

/** Something that a client holds open. */
export interface Held {
  readonly wire: string
  /** Whether it is only a long poll: its client does not connect and disconnect. */
  readonly polls?: boolean
  /** Names of the channels that it reads. */
  readonly channels: readonly string[]
  /** Its position in a channel; undefined if that is unknown. */
  positionIn(channel: string): Position | undefined
  /** From where it has received a channel's events, and whether it receives only a selection; undefined if unknown. */
  readIn?(channel: string): { readonly from: Position; readonly selects: boolean } | undefined
  /** Its rights in a channel when it began to read; undefined if they are unknown. */
  grantIn?(channel: string): ReadGrant | undefined
  /** Called when the client has another identity, for wires that ask for its rights at each event. */
  became?(identity: Identity): void
  /** Whether its socket is full: it accepts no data. */
  readonly blocked?: boolean
  /** Sends the client the reason, and ends. */
  end(reason: CloseReason): void
  /** Drops a channel. Returns false if the client was ended instead: it was the last one, or the wire can't report it. */
  drop?(channel: string, reason: CloseReason): boolean
}

/** A client that holds something open. Its identity changes when its token is refreshed. */
export interface Client {
  /** Created on first use. */
  readonly id: string
  readonly held: Held
  readonly identity: Identity
  /** ms since 1970. */
  readonly since: number
}

/** An administrator ended it: its credentials are still valid. */
export const DISCONNECTED: CloseReason = { code: 4401, reason: 'disconnected', retry: 1000 }

const CREDENTIALS = { key: 'key', token: 'token', hook: 'session', anonymous: 'session' } as const

/** Reconnect with your cursor, and with new credentials. */
function lapsedReason(kind: Identity['kind'], lapse: Lapse): CloseReason {
  const reason = `${CREDENTIALS[kind]} ${lapse}`
  return { code: 4401, reason, retry: 1000, lapsed: 'credentials', expired: lapse === 'expired' }
}

/** The reason if a channel's grant is no longer valid: a channel token, or the application's response. */
function lapsedGrantReason({ source, lapse }: LapsedGrant): CloseReason {
  if (source !== 'hook') return lapsedReason('token', lapse)
  return { code: 4401, reason: `grant ${lapse}`, retry: 1000, lapsed: 'grant', expired: lapse === 'expired' }
}

/** The reason if the client has lost the right to read a channel. */
function forbidden(channel: string): CloseReason {
  return about(`may not read ${channel} any more`)
}

/** The reason if the server unsubscribed the client from a channel. */
function unsubscribed(channel: string): CloseReason {
  return about(`unsubscribed from ${channel}`)
}

/** A reason of at most 123 bytes (RFC 6455 section 5.5). Names of channels are ASCII. */
function about(reason: string): CloseReason {
  return { code: 4403, reason: reason.slice(0, 123), retry: 1000 }
}

/** The error for a held request that is ended with this reason. */
export function refusalOf({ code, reason, lapsed }: CloseReason): FanwireError {
  if (code === 4403) return new FanwireError('FW_FORBIDDEN', reason, { challenge: 'insufficient_scope' })
  if (lapsed === 'credentials') {
    return new FanwireError('FW_UNAUTHORIZED', reason, { challenge: 'invalid_token' })
  }
  return new FanwireError(
    'FW_UNAUTHORIZED',
    `${reason}: the credentials are still valid, send the request again`,
  )
}

/** How often expiries are checked, ms. */
const TICK_MS = 1000
/** How long before a session's end the application is asked to extend it, ms; also the interval of retries. */
const REFRESH_AHEAD_MS = 5000
const REFRESH_AGAIN_MS = 2000

/** A client that is about to stay connected. */
export interface Comer {
  readonly identity: Identity
  /** The client as the application sees it; undefined if the application is not asked about it again. */
  readonly asker: Asker | undefined
}

class Entry implements Client {
  readonly held: Held
  identity: Identity
  /** The usage in which its channels count. */
  readonly lease: Lease | undefined
  readonly since = Date.now()
  /** The client as the application sees it; undefined if the application was never asked. */
  readonly asker: Asker | undefined
  /** When the application is asked to extend the session, ms. */
  refreshAt: number | undefined
  #id: string | undefined

  constructor(held: Held, { identity, asker }: Comer, lease: Lease | undefined) {
    this.held = held
    this.identity = identity
    this.lease = lease
    this.asker = asker
  }

  get id(): string {
    this.#id ??= this.asker?.client ?? randomBytes(12).toString('base64url')
    return this.#id
  }
}

/** The next time when it or one of its channel tokens ends or has to be refreshed. */
function tickOf({ identity, refreshAt = Infinity }: Entry): number | undefined {
  const next = Math.min(nextEndOf(identity) ?? Infinity, refreshAt)
  const end = next === Infinity ? undefined : next
  // Rounded up: no connection ends while its credentials are still valid.
  return end === undefined ? undefined : Math.ceil(end / TICK_MS)
}

/** Something that happens to each of a user's clients. */
type Act = (client: Entry) => void

/** Notified when clients come and go. */
export interface ClientLives {
  connected(client: Client): void
  disconnected(client: Client): void
}

export class Clients {
  readonly #access: Access
  readonly #clients = new Set<Entry>()
  /** Clients by the tick in which they end. */
  readonly #ending = new Map<number, Set<Entry>>()
  #timer: NodeJS.Timeout | undefined
  #judging = false
  #judgeAgain = false
  /** Acts that wait for the next walk over the clients, by user. */
  #acts = new Map<string, Act[]>()
  #acting = false

  readonly #lives: ClientLives | undefined
  readonly #mostTokens: number

  /** `mostTokens`: how many channel tokens of a client are kept. */
  constructor(access: Access, lives?: ClientLives, mostTokens = Infinity) {
    this.#access = access
    this.#mostTokens = mostTokens
    this.#lives = lives
    access.on('rules', () => void this.#judgeAll())
    access.on('revoked', user => this.#act(user, client => this.#judge(client)))
  }

  /** If everybody may do everything there is nothing to check, and nothing is kept. */
  add(held: Held, comer: Comer, lease?: Lease): Client | undefined {
    if (this.#access.isOpen) return undefined
    const client = new Entry(held, comer, lease)
    this.#planRefresh(client)
    this.#clients.add(client)
    this.#lives?.connected(client)
    this.#schedule(client)
    // Rights may have changed since the request was checked.
    this.#judge(client)
    return client
  }

  /** Removes a client that has ended. */
  remove(client: Client | undefined): void {
    if (!(client instanceof Entry)) return
    if (this.#clients.delete(client)) this.#lives?.disconnected(client)
    this.#unschedule(client)
  }

  /** Called when the client has another identity, such as by a new token. */
  renew(client: Client | undefined, identity: Identity): void {
    if (!(client instanceof Entry) || !this.#clients.has(client)) return
    this.#become(client, withFewerTokens(identity, this.#mostTokens, client.held.channels))
    this.#judge(client)
  }

  #become(client: Entry, identity: Identity): void {
    this.#unschedule(client)
    client.identity = identity
    client.held.became?.(identity)
    this.#planRefresh(client)
    this.#schedule(client)
  }

  /** Unsubscribes all of the user's connections from the channel. */
  unsubscribe(user: string, channel: string): void {
    this.#act(user, client => {
      if (client.held.channels.includes(channel)) this.#drop(client, channel, unsubscribed(channel))
    })
  }

  /** Ends a user's connections for which `which` returns true. */
  end(user: string, reason: CloseReason, which: (client: Client) => boolean = () => true): void {
    this.#act(user, client => {
      if (which(client)) this.#end(client, reason)
    })
  }

  /** All clients. */
  [Symbol.iterator](): Iterator<Client> {
    return this.#clients.values()
  }

  get size(): number {
    return this.#clients.size
  }

  close(): void {
    clearInterval(this.#timer)
    this.#clients.clear()
    this.#ending.clear()
  }

  #end(client: Entry, reason: CloseReason): void {
    this.remove(client)
    client.held.end(reason)
  }

  /** Ends the reads of a client for which it has lost the right. `now`: ms. */
  #judge(client: Entry, now = Date.now()): void {
    if (this.#access.isRevoked(client.identity)) {
      return this.#end(client, lapsedReason(client.identity.kind, 'revoked'))
    }
    const { identity, lapsed } = this.#access.withoutLapsed(client.identity, now)
    if (lapsed !== undefined) this.#become(client, identity)
    for (const channel of client.held.channels) {
      if (this.#access.may(identity, 'subscribe', channel).allowed && !this.#isFilteredAnew(client, channel))
        continue
      this.#drop(client, channel, lapsed === undefined ? forbidden(channel) : lapsedGrantReason(lapsed))
      if (!this.#clients.has(client)) return
    }
  }

  /** Whether the client's filter has changed since it began: then it has to reconnect with its cursor. */
  #isFilteredAnew({ held, identity }: Entry, channel: string): boolean {
    const began = held.grantIn?.(channel)
    return (
      began !== undefined && began.filter !== this.#access.filterOf(identity, channel, began.looksBack)?.key
    )
  }

  #drop(client: Entry, channel: string, reason: CloseReason): void {
    if (client.held.drop?.(channel, reason) === true) client.lease?.remove()
    else this.#end(client, reason)
  }

  async #judgeAll(): Promise<void> {
    this.#judgeAgain = true
    if (this.#judging) return
    this.#judging = true
    while (this.#judgeAgain) {
      this.#judgeAgain = false
      await visitInSlices([...this.#clients], client => {
        if (this.#clients.has(client)) this.#judge(client)
      })
    }
    this.#judging = false
  }

  /** Acts on the user's present clients, in slices. Acts that arrive during a walk share the next one. */
  #act(user: string, act: Act): void {
    const acts = this.#acts.get(user)
    if (acts === undefined) this.#acts.set(user, [act])
    else acts.push(act)
    if (!this.#acting) void this.#actOnAll()
  }

  async #actOnAll(): Promise<void> {
    this.#acting = true
    while (this.#acts.size > 0) {
      const byUser = this.#acts
      this.#acts = new Map()
      await visitInSlices([...this.#clients], client => {
        for (const act of byUser.get(client.identity.user) ?? []) if (this.#clients.has(client)) act(client)
      })
    }
    this.#acting = false
  }

  // Expiry ----------------------------------------------------------------------------------------------------

  #schedule(client: Entry): void {
    const tick = tickOf(client)
    if (tick === undefined) return
    const ending = this.#ending.get(tick) ?? new Set()
    this.#ending.set(tick, ending.add(client))
    this.#timer ??= repeat(() => this.#expire(), TICK_MS)
  }

  #unschedule(client: Entry): void {
    const tick = tickOf(client)
    if (tick === undefined) return
    const ending = this.#ending.get(tick)
    ending?.delete(client)
    if (ending?.size === 0) this.#ending.delete(tick)
  }

  /** Plans when to ask the application to extend the session that it admitted. */
  #planRefresh(client: Entry): void {
    const { identity, asker } = client
    const { kind } = identity
    const expiresAt = msOf(identity.expiresAt)
    const isSession = kind === 'hook' || kind === 'anonymous'
    const refreshes = isSession && asker !== undefined && this.#access.asking?.refreshes === true
    const now = Date.now()
    client.refreshAt =
      refreshes && expiresAt !== undefined
        ? Math.max(expiresAt - REFRESH_AHEAD_MS, now + (expiresAt - now) / 2)
        : undefined
  }

  /** Asks the application to extend the session, which otherwise ends at its time. Does not raise. */
  async #refresh(client: Entry): Promise<void> {
    const { identity, asker = bareAsker(client.id, client.held.wire) } = client
    client.refreshAt = undefined
    this.#schedule(client)
    try {
      const longer = await this.#access.asking?.refresh(identity, asker)
      if (longer !== undefined && client.identity === identity) this.renew(client, longer)
    } catch (error) {
      if (!this.#clients.has(client)) return
      if (error instanceof Disconnected) return this.#end(client, error.close)
      if (!(error instanceof FanwireError) || !error.retryable || client.identity !== identity) return
      this.#unschedule(client)
      client.refreshAt = Date.now() + REFRESH_AGAIN_MS
      this.#schedule(client)
    }
  }

  async #expire(): Promise<void> {
    const now = Math.floor(Date.now() / TICK_MS)
    const due: Set<Entry>[] = []
    for (const [tick, clients] of this.#ending) {
      if (tick > now) continue
      this.#ending.delete(tick)
      due.push(clients)
    }
    await visitInSlices(
      due.flatMap(clients => [...clients]),
      client => {
        if (this.#clients.has(client)) this.#expireOne(client, now * TICK_MS)
      },
    )
    if (this.#ending.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  /** `now`: ms. */
  #expireOne(client: Entry, now: number): void {
    const { connectionEndsAt = Infinity } = client.identity
    if (connectionEndsAt * 1000 <= now) this.#end(client, lapsedReason(client.identity.kind, 'expired'))
    else if (client.refreshAt !== undefined && client.refreshAt <= now) void this.#refresh(client)
    else this.#judge(client, now)
  }
}
