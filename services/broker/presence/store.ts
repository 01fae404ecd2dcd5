// Where it is kept who is in which channel: the interface of all engines. `memory.ts` and `redis.ts` implement it;
// `test/contract/members.ts` is what stands here as a suite that both must pass.

import type { Position } from '../event/position.ts'

/**
 * What one node says of one user in one channel. A node's entries lie under a tag, `<lease>/<number>`; a member is in
 * the channel as long as an entry is.
 */
export interface Change {
  /** `""`: all anonymous clients, which are only counted. */
  readonly user: string
  /** Clients of the user on the node; 0 while it lingers, -1: it is gone. */
  readonly clients: number
  /** Members of a JSON object: `"user":"ann","info":{…}`. */
  readonly who: string
  /** `who` is newer than what others said. */
  readonly updated: boolean
}

/** What has to go to the log of lives, in the order in which it happened in the channel. */
export interface Life {
  /** Its own, so that it can be appended twice and be there once. */
  readonly key: string
  readonly kind: 'occupied' | 'vacated' | 'joined' | 'left'
  /** As in `Change`; empty where it is about the channel. */
  readonly who: string
}

/** What is kept for the log of lives: all that was not acknowledged, the oldest first. */
export type Outbox = readonly Life[]

export interface Put {
  readonly tag: string
  /** The lease holds up to here by the store's clock: later nothing is done. */
  readonly until: number
  /** Counts up: `version` finds out by it whether the store has lost something. */
  readonly version: number
  /** Each of another user. */
  readonly changes: readonly Change[]
  /** Keep what goes to the log of lives. */
  readonly lives: boolean
}

export interface Renewal {
  /** False: the lease has ended or was lost, and holds nothing any more. */
  readonly held: boolean
  /** The store's clock, ms. */
  readonly now: number
  /** All leases that hold. */
  readonly leases: readonly string[]
  /** Leases that have ended, and whose entries have to go. */
  readonly ended: readonly string[]
}

export interface Count {
  /** Users. */
  readonly users: number
  /** Their clients and the anonymous ones. */
  readonly clients: number
  /** Tags under which there are entries. */
  readonly tags: readonly string[]
}

export interface MemberPage extends Count {
  /** JSON objects, by user in the order of their UTF-8. */
  readonly members: readonly string[]
  /** The user behind which the next page begins; undefined: this was the last. */
  readonly next: string | undefined
  /** Where the log of joins and leaves stands: what comes after it is not in this page. */
  readonly cursor: Position
}

/**
 * Joins and leaves are appended to `presenceOf(channel)` in the same step that changes the members. All calls raise
 * LogUnavailable where it is not known whether they took effect; each may be made again.
 */
export interface MemberStore {
  /** `begin`: the lease is new. */
  renew(lease: string, begin: boolean): Promise<Renewal>
  /** The lease ends in so many ms by itself. */
  end(lease: string, within: number): Promise<void>
  /** The lease has entries in the channel, or soon; one that is not known ends unless it is renewed. */
  attach(lease: string, channel: string): Promise<void>
  /** It has none any more. A lease that has ended is forgotten with its last channel. */
  detach(lease: string, channels: readonly string[]): Promise<void>
  /** Some channels of a lease. */
  attached(lease: string, most: number): Promise<string[]>

  /** Undefined: it was too late. */
  put(channel: string, put: Put): Promise<Outbox | undefined>
  /** Takes entries of a tag away, a bounded number a call. */
  expel(
    channel: string,
    tag: string,
    lives: boolean,
  ): Promise<{ readonly outbox: Outbox; readonly more: boolean }>
  /** What the last put of the tag said; undefined where the store has nothing of it. */
  version(
    channel: string,
    tag: string,
  ): Promise<{ readonly version: number | undefined; readonly outbox: Outbox }>
  /** The log of lives has everything up to that key. Returns what is left. */
  acknowledge(channel: string, key: string): Promise<Outbox>

  count(channel: string): Promise<Count>
  page(channel: string, after: string, limit: number): Promise<MemberPage>
}

/** How long a lease holds, ms, and how long nobody can have renewed one for the store to have been away. */
export const LEASE_MS = 15_000
export const OUTAGE_MS = 8000

/** The lease of a tag. */
export function leaseOf(tag: string): string {
  return tag.slice(0, tag.indexOf('/'))
}
