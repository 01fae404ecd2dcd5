// The channels through which nodes communicate, and their retention. Names that begin with `fanwire:` are reserved:
// clients can neither publish to them nor read them.

import type { Retention } from '../log/log.ts'

/** Commands for all nodes. A node that starts reads the stored ones. */
export const CONTROL = 'fanwire:control'
/** Questions to all nodes, in a separate channel so that a busy console cannot push out revocations. */
export const QUESTIONS = 'fanwire:questions'
/** Each node's usage of the users' and keys' limits. */
export const USAGE = 'fanwire:usage'
/** The node that sends webhooks, and the cursor of each webhook. */
export const HOOKS = 'fanwire:hooks'
/** Announcements of nodes. */
export const NODES = 'fanwire:nodes'

const ANSWERS = 'fanwire:answers:'
const INBOX = 'fanwire:inbox:'
const TICKETS = 'fanwire:tickets:'
const PRESENCE = 'fanwire:presence:'
const LIVES = 'fanwire:lives:'

/** The times of reads of Durable Streams, whose life reads extend. */
export const STREAMS = 'fanwire:streams:'

/** The longest life of a ticket, ms: enough for a page that reloads itself once an hour. */
export const LONGEST_TICKET_MS = 3_700_000

/** The number of channels that tickets are spread over. */
export const TICKET_SHARDS = 16

/** The channel on which a node receives the answers to its questions. */
export function answersOf(node: string): string {
  return ANSWERS + node
}

/** The channel on which a node receives transient messages. */
export function inboxOf(node: string): string {
  return INBOX + node
}

export function ticketsOf(shard: number): string {
  return TICKETS + shard
}

const SECOND = 1000
const MINUTE = 60 * SECOND
const MIB = 1024 * 1024

/** The default for the longest life of a token, ms. */
export const TOKEN_LIFE_MS = 24 * 60 * MINUTE

const QUESTIONS_KEPT: Retention = { events: 1000, age: 10 * SECOND, bytes: 4 * MIB }
const ANSWERS_KEPT: Retention = { events: 10_000, age: 10 * SECOND, bytes: 64 * MIB }
const NODES_KEPT: Retention = { events: 20_000, age: 30 * SECOND, bytes: 8 * MIB }
const USAGE_KEPT: Retention = { events: 10_000, age: 10 * SECOND, bytes: 16 * MIB }
/** The retention of joins and leaves. A reader that was away for longer requests the members again. */
const PRESENCE_KEPT: Retention = { events: 10_000, age: 60 * MINUTE, bytes: 8 * MIB }
/** The retention of the log of lives: how far webhooks can be behind. */
const LIVES_KEPT: Retention = { events: 500_000, age: 24 * 60 * MINUTE, bytes: 128 * MIB }
const HOOKS_KEPT: Retention = { events: 100_000, age: 30 * 24 * 60 * MINUTE, bytes: 64 * MIB }
/** Only the last entry counts. */
const STREAMS_KEPT: Retention = { events: 1, age: 24 * 60 * MINUTE, bytes: 1024 }
/** Nothing is appended to inboxes. */
const INBOX_KEPT: Retention = { events: 1, age: 10 * SECOND, bytes: 1024 }
/** Two events per ticket: issued and used. */
const TICKETS_KEPT = { events: 50_000, bytes: 32 * MIB }

/** Options for the retention of reserved channels. */
export interface ReservedOptions {
  /**
   * How long a token can live, ms. Commands are kept for as long, since a node that starts later has to reject tokens
   * that were revoked before.
   */
  readonly tokenLife?: number
  /** How long a ticket can live, ms. */
  readonly ticketLife?: number
}

/** The retention of reserved channels; undefined for every other channel. */
export function reservedRetention({ tokenLife = TOKEN_LIFE_MS, ticketLife = MINUTE }: ReservedOptions = {}): (
  channel: string,
) => Retention | undefined {
  const control: Retention = { events: 100_000, age: tokenLife, bytes: 64 * MIB }
  const tickets: Retention = { ...TICKETS_KEPT, age: Math.max(MINUTE, ticketLife) }
  return channel => {
    if (!channel.startsWith('fanwire:')) return undefined
    if (channel === CONTROL) return control
    if (channel === QUESTIONS) return QUESTIONS_KEPT
    if (channel === HOOKS) return HOOKS_KEPT
    if (channel === NODES) return NODES_KEPT
    if (channel === USAGE) return USAGE_KEPT
    if (channel.startsWith(ANSWERS)) return ANSWERS_KEPT
    if (channel.startsWith(INBOX)) return INBOX_KEPT
    if (channel.startsWith(STREAMS)) return STREAMS_KEPT
    if (channel.startsWith(LIVES)) return LIVES_KEPT
    if (channel.startsWith(PRESENCE)) return PRESENCE_KEPT
    return channel.startsWith(TICKETS) ? tickets : undefined
  }
}
