// The store for the members of channels: the interface of its engines, `memory.ts` and `redis.ts`. Both must pass
// `test/contract/members.ts`, which tests this contract.

import type { Position } from '../event/position.ts'

/**
 * A node's statement about one user in one channel. A node's entries are stored under a tag, `<lease>/<number>`; a user
 * is a member of the channel as long as it has an entry.
 */
export interface Change {
  /** `""` for all anonymous clients, which are only counted. */
  readonly user: string
  /** The user's clients on the node; 0 during the grace period, -1 if the user is gone. */
  readonly clients: number
  /** The user's data as members of a JSON object: `"user":"ann","info":{…}`. */
  readonly who: string
  /** Whether `who` is newer than that of other nodes. */
  readonly updated: boolean
}

/** An entry for the log of lives. The entries of a channel are in order. */
export interface Life {
  /** A unique id, so that an entry is not duplicated. */
  readonly key: string
  readonly kind: 'occupied' | 'vacated' | 'joined' | 'left'
  /** As in `Change`; empty if the entry is about the channel. */
  readonly who: string
}

/** The unacknowledged entries for the log of lives, the oldest first. */
export type Outbox = readonly Life[]

export interface Put {
  readonly tag: string
  /** Until when the lease is valid, by the store's clock. Later calls do nothing. */
  readonly until: number
  /** Increases with each put. Compared with `version`, it shows whether the store has lost something. */
  readonly version: number
  /** At most one per user. */
  readonly changes: readonly Change[]
  /** Whether to store entries for the log of lives. */
  readonly lives: boolean
}

export interface Renewal {
  /** False if the lease has ended or was lost: its entries are void. */
  readonly held: boolean
  /** The store's clock, ms. */
  readonly now: number
  /** All valid leases. */
  readonly leases: readonly string[]
  /** Leases that have ended and whose entries must be removed. */
  readonly ended: readonly string[]
}

export interface Count {
  /** The number of users. */
  readonly users: number
  /** The number of their clients and of anonymous ones. */
  readonly clients: number
  /** The tags that have entries. */
  readonly tags: readonly string[]
}

export interface MemberPage extends Count {
  /** JSON objects, by user in the order of their UTF-8. */
  readonly members: readonly string[]
  /** The user after whom the next page begins; undefined if this was the last page. */
  readonly next: string | undefined
  /** The position in the log of joins and leaves: later events are not in this page. */
  readonly cursor: Position
}

/**
 * Joins and leaves are appended to `presenceOf(channel)` atomically with the change of the members. All calls raise
 * LogUnavailable if it is unknown whether they took effect. Each may be repeated.
 */
export interface MemberStore {
  /** Renews a lease. `begin`: the lease is new. */
  renew(lease: string, begin: boolean): Promise<Renewal>
  /** Lets the lease expire after that many ms. */
  end(lease: string, within: number): Promise<void>
  /** Notes that the lease has, or soon will have, entries in the channel. An unknown lease expires unless it is renewed. */
  attach(lease: string, channel: string): Promise<void>
  /** Notes that the lease has no more entries there. A lease that has ended is forgotten with its last channel. */
  detach(lease: string, channels: readonly string[]): Promise<void>
  /** At most `most` channels of a lease. */
  attached(lease: string, most: number): Promise<string[]>

  /** Stores changes. Returns undefined if it was too late. */
  put(channel: string, put: Put): Promise<Outbox | undefined>
  /** Removes entries of a tag, a bounded number per call. */
  expel(
    channel: string,
    tag: string,
    lives: boolean,
  ): Promise<{ readonly outbox: Outbox; readonly more: boolean }>
  /** The version of the tag's last put; undefined if the store has no entries of it. */
  version(
    channel: string,
    tag: string,
  ): Promise<{ readonly version: number | undefined; readonly outbox: Outbox }>
  /** Acknowledges the entries up to that key, which the log of lives now has. Returns the remaining ones. */
  acknowledge(channel: string, key: string): Promise<Outbox>

  count(channel: string): Promise<Count>
  page(channel: string, after: string, limit: number): Promise<MemberPage>
}

/** How long a lease is valid, ms, and after how long without any renewal the store counts as having been unavailable. */
export const LEASE_MS = 15_000
export const OUTAGE_MS = 8000

/** The lease of a tag. */
export function leaseOf(tag: string): string {
  return tag.slice(0, tag.indexOf('/'))
}
