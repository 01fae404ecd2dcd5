// Where the members of channels are stored: the interface of all engines. `memory.ts` and `redis.ts` implement it;
// `test/contract/members.ts` is this contract as a suite that both must pass.

import type { Position } from '../event/position.ts'

/**
 * A node's statement about one user in one channel. A node's entries are stored under a tag, `<lease>/<number>`; a user
 * is a member of the channel as long as it has an entry.
 */
export interface Change {
  /** `""`: all anonymous clients, which are only counted. */
  readonly user: string
  /** Clients of the user on the node; 0 while it lingers, -1: it is gone. */
  readonly clients: number
  /** Members of a JSON object: `"user":"ann","info":{…}`. */
  readonly who: string
  /** `who` is newer than what other nodes sent. */
  readonly updated: boolean
}

/** An entry for the log of lives, in the order in which things happened in the channel. */
export interface Life {
  /** A unique id, so that an entry that is appended twice appears once. */
  readonly key: string
  readonly kind: 'occupied' | 'vacated' | 'joined' | 'left'
  /** As in `Change`; empty if the entry is about the channel. */
  readonly who: string
}

/** The entries stored for the log of lives: all that were not acknowledged, the oldest first. */
export type Outbox = readonly Life[]

export interface Put {
  readonly tag: string
  /** The lease is valid until then by the store's clock: later the call does nothing. */
  readonly until: number
  /** Increases: `version` uses it to find out whether the store has lost something. */
  readonly version: number
  /** At most one per user. */
  readonly changes: readonly Change[]
  /** Store entries for the log of lives. */
  readonly lives: boolean
}

export interface Renewal {
  /** False: the lease has ended or was lost, and its entries are void. */
  readonly held: boolean
  /** The store's clock, ms. */
  readonly now: number
  /** All valid leases. */
  readonly leases: readonly string[]
  /** Leases that have ended and whose entries must be removed. */
  readonly ended: readonly string[]
}

export interface Count {
  /** Users. */
  readonly users: number
  /** Their clients and the anonymous ones. */
  readonly clients: number
  /** The number of tags that have entries. */
  readonly tags: readonly string[]
}

export interface MemberPage extends Count {
  /** JSON objects, by user in the order of their UTF-8. */
  readonly members: readonly string[]
  /** The user after which the next page begins; undefined: this was the last. */
  readonly next: string | undefined
  /** The position in the log of joins and leaves: later events are not in this page. */
  readonly cursor: Position
}

/**
 * Joins and leaves are appended to `presenceOf(channel)` in the same step that changes the members. All calls raise
 * LogUnavailable if it is unknown whether they took effect; each may be repeated.
 */
export interface MemberStore {
  /** `begin`: the lease is new. */
  renew(lease: string, begin: boolean): Promise<Renewal>
  /** The lease expires after that many ms. */
  end(lease: string, within: number): Promise<void>
  /** The lease has entries in the channel, or soon will; an unknown lease expires unless it is renewed. */
  attach(lease: string, channel: string): Promise<void>
  /** It has none any more. A lease that has ended is forgotten with its last channel. */
  detach(lease: string, channels: readonly string[]): Promise<void>
  /** Some channels of a lease. */
  attached(lease: string, most: number): Promise<string[]>

  /** Undefined: it was too late. */
  put(channel: string, put: Put): Promise<Outbox | undefined>
  /** Removes entries of a tag, a bounded number per call. */
  expel(
    channel: string,
    tag: string,
    lives: boolean,
  ): Promise<{ readonly outbox: Outbox; readonly more: boolean }>
  /** The version of the tag's last put; undefined if the store has nothing of it. */
  version(
    channel: string,
    tag: string,
  ): Promise<{ readonly version: number | undefined; readonly outbox: Outbox }>
  /** The log of lives has everything up to that key. Returns the remaining entries. */
  acknowledge(channel: string, key: string): Promise<Outbox>

  count(channel: string): Promise<Count>
  page(channel: string, after: string, limit: number): Promise<MemberPage>
}

/** How long a lease is valid, ms, and after how long without any renewal the store counts as having been down. */
export const LEASE_MS = 15_000
export const OUTAGE_MS = 8000

/** The lease of a tag. */
export function leaseOf(tag: string): string {
  return tag.slice(0, tag.indexOf('/'))
}
