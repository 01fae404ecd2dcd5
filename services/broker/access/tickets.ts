// Tickets: a random text that stands for a token, once and for a short while, where no header can be sent.

import { hash, randomBytes } from 'node:crypto'
import type { Claims } from './claims.ts'

export const TICKET_LIFE_MS = 30_000

/** What a ticket stands for. Plain JSON, for stores outside the process. */
export interface TicketRecord {
  /** Of the token, whose own expiry holds (`Tokens.accept`). */
  readonly claims: Claims
  /** ms since 1970. */
  readonly expires: number
}

/** Known on all nodes that share a store. Never has a ticket itself, only what `ticketKey` makes of it. */
export interface TicketStore {
  put(key: string, record: TicketRecord): Promise<void>
  /** The record, once; undefined: never put, taken before, or expired. */
  take(key: string): Promise<TicketRecord | undefined>
}

const TICKET = /^[A-Za-z0-9_-]{43}$/
const MOST_TICKETS = 100_000

/** A new ticket: 256 random bits. */
export function makeTicket(): string {
  return randomBytes(32).toString('base64url')
}

/** What a ticket is stored by, so that whoever sees the store has no tickets; undefined: it is no ticket. */
export function ticketKey(ticket: string): string | undefined {
  return TICKET.test(ticket) ? hash('sha256', ticket, 'base64url') : undefined
}

/** The store of a node alone. When it is full, the oldest tickets are dropped. */
export function createMemoryTickets({ most = MOST_TICKETS, clock = Date.now } = {}): TicketStore {
  /** All live equally long, so the first to be put is the first to expire. */
  const records = new Map<string, TicketRecord>()

  const sweep = () => {
    const now = clock()
    for (const [key, { expires }] of records) {
      if (expires > now && records.size <= most) break
      records.delete(key)
    }
  }

  return {
    put: async (key, record) => {
      records.set(key, record)
      sweep()
    },
    take: async key => {
      const record = records.get(key)
      records.delete(key)
      return record !== undefined && record.expires > clock() ? record : undefined
    },
  }
}
