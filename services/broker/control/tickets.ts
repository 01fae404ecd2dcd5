// Tickets in the log: any node exchanges a ticket for its record, once and for a short time.

import { hash, randomBytes, randomInt, timingSafeEqual } from 'node:crypto'
import { parsePosition, type Position, printPosition } from '../event/position.ts'
import type { ChannelLog } from '../log/log.ts'
import { LONGEST_TICKET_MS, TICKET_SHARDS, ticketsOf } from './channels.ts'
import { draftOf, valueOf } from './tail.ts'

/** The default life of a ticket, ms. */
const TICKET_MS = 30_000

/** Why a ticket is rejected, which clients do not learn. `unknown`: it was never issued, or trimmed meanwhile. */
export type TicketRefusal = 'malformed' | 'unknown' | 'expired' | 'used'

export interface Issued {
  readonly ticket: string
  /** By the log's clock, ms since 1970. */
  readonly expires: number
}

export type Taken<T> =
  | { readonly record: T; readonly refused?: undefined }
  | { readonly refused: TicketRefusal }

/** How long a ticket is valid: until the earlier of both times. */
export interface TicketLife {
  /** Ms. Default: 30 s. */
  readonly life?: number | undefined
  /** When the token behind it expires, ms since 1970. */
  readonly until?: number | undefined
}

export interface LogTicketsOptions {
  readonly log: ChannelLog
  /** How long the log remembers an idempotency key, ms: the maximum life of a ticket. */
  readonly idempotencyWindow: number
}

/** A ticket's entry in the log, without the secret, so that reading the log yields no tickets. */
interface Stub<T> {
  readonly hash: string
  /** Ms from the time of this event. */
  readonly life: number
  readonly record: T
}

/** A ticket contains the position of its stub in the log: `<shard>.<position>.<secret>`. */
const TICKET = /^([0-9a-f])\.([a-z0-9]{1,16}-[1-9][0-9]{0,15})\.([A-Za-z0-9_-]{43})$/

/** `T` is JSON. */
export class LogTickets<T> {
  readonly #log: ChannelLog
  /** The longest life of a ticket, ms: after that the log might have forgotten that it was used. */
  readonly longest: number

  constructor({ log, idempotencyWindow }: LogTicketsOptions) {
    this.#log = log
    this.longest = Math.min(LONGEST_TICKET_MS, idempotencyWindow)
  }

  /** Raises LogUnavailable. */
  async issue(record: T, { life: wanted = TICKET_MS, until = Infinity }: TicketLife = {}): Promise<Issued> {
    const secret = randomBytes(32).toString('base64url')
    const shard = randomInt(TICKET_SHARDS)
    const life = Math.max(0, Math.min(wanted, this.longest, until - Date.now()))
    const stub: Stub<T> = { hash: hashOf(secret).toString('base64url'), life, record }
    const [receipt] = await this.#log.append(ticketsOf(shard), [draftOf('ticket', stub)])
    if (receipt === undefined) throw new Error('the log returned no receipt')
    const ticket = `${shard.toString(16)}.${printPosition(receipt.position)}.${secret}`
    return { ticket, expires: Math.min(receipt.time + life, until) }
  }

  /**
   * Exchanges the ticket for its record. Of all callers on all nodes, one receives it. If the log can't confirm which one,
   * the ticket is lost. Raises LogUnavailable.
   */
  async take(ticket: string): Promise<Taken<T>> {
    const [, shard = '', at = '', secret = ''] = TICKET.exec(ticket) ?? []
    const position = parsePosition(at)
    if (position === undefined) return { refused: 'malformed' }
    const channel = ticketsOf(Number.parseInt(shard, 16))
    const found = await this.#find(channel, position)
    if (found === undefined || !isHashOf(secret, found.stub.hash)) return { refused: 'unknown' }
    const { stub, time } = found
    // The log remembers the key of the first use for longer than any ticket lives, and the time of that use.
    const used = { ...draftOf('used', null), idempotencyKey: stub.hash }
    const [use] = await this.#log.append(channel, [used])
    if (use === undefined || use.replayed) return { refused: 'used' }
    return use.time < time + stub.life ? { record: stub.record } : { refused: 'expired' }
  }

  async #find(channel: string, { epoch, offset }: Position): Promise<Found<T> | undefined> {
    const { events, gap } = await this.#log.read(
      channel,
      { epoch, offset: offset - 1 },
      { events: 1, bytes: 1 },
    )
    const [event] = events
    if (gap !== undefined || event?.epoch !== epoch || event.offset !== offset) return undefined
    return event.type === 'ticket' ? { stub: valueOf(event) as Stub<T>, time: event.time } : undefined
  }
}

interface Found<T> {
  readonly stub: Stub<T>
  readonly time: number
}

function hashOf(secret: string): Buffer {
  return hash('sha256', secret, 'buffer')
}

function isHashOf(secret: string, known: string): boolean {
  const [a, b] = [hashOf(secret), Buffer.from(known, 'base64url')]
  return a.length === b.length && timingSafeEqual(a, b)
}
