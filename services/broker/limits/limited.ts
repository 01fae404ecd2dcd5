// The error for a limit that is reached, and the scopes of limits.

import { FanwireError } from '../../errors.ts'
import type { Identity } from '../access/identity.ts'
import type { Allowance, Bucket } from './buckets.ts'

/** `rule` counts each user, or address, of each rule. */
export type Scope = 'address' | 'user' | 'key' | 'connection' | 'rule'
/** Scopes that hold connections. */
export type Holder = 'address' | 'user' | 'key'
/** Quantities that are limited per second. */
export type Rate = 'requests' | 'publishes' | 'bytes'
/** Quantities that are limited at any one time. */
export type Count = 'connections' | 'subscriptions'
export type Limit = Rate | Count

/** The settings of limits. 0, or a rate of 0, means no limit. */
export type LimitSettings = {
  readonly [K in `${Holder | 'connection'}${Capitalize<Rate>}`]: Allowance
} & { readonly [K in `${Holder}${Capitalize<Count>}`]: number }

/** The parties for which an action is counted. Omitted ones are not counted. */
export interface Party {
  readonly identity?: Identity
  /** Identifies the client's address. */
  readonly address?: string
  /** The buckets of a long-lived connection. */
  readonly connection?: ConnectionBuckets
}

/** Buckets are created on first use. */
export type ConnectionBuckets = { [K in Rate]?: Bucket }

/** The name under which a scope counts a party; undefined if it is not counted. */
export function nameOf(scope: Holder, { identity, address }: Party): string | undefined {
  if (scope === 'address') return address
  if (identity === undefined) return undefined
  const { kind, key, user } = identity
  if (scope === 'key') return kind === 'key' ? key : undefined
  return kind === 'key' || user === '' ? undefined : user
}

const WORDS: Readonly<Record<Limit, string>> = {
  requests: 'too many requests',
  publishes: 'too many publishes',
  bytes: 'too much published',
  connections: 'too many connections',
  subscriptions: 'too many subscriptions',
}

const OWNERS: Readonly<Record<Scope, string>> = {
  address: 'from this address',
  user: 'of this user',
  key: 'with this key',
  connection: 'on this connection',
  rule: 'to channels of this rule',
}

/** A limit is reached. `retry`: ms until a retry can succeed. */
export class Limited extends FanwireError {
  constructor(limit: Limit, scope: Scope, retry: number) {
    super('FW_TOO_MANY_REQUESTS', `${WORDS[limit]} ${OWNERS[scope]}: try again later`, { retry })
  }
}

/** How often limits were reached, by limit and scope, for metrics. */
export class Hits {
  readonly #counts = new Map<string, { readonly limit: Limit; readonly scope: Scope; count: number }>()

  /** Counts a hit, and creates the error. */
  hit(limit: Limit, scope: Scope, retry: number): Limited {
    const name = `${limit} ${scope}`
    const known = this.#counts.get(name) ?? { limit, scope, count: 0 }
    known.count++
    this.#counts.set(name, known)
    return new Limited(limit, scope, retry)
  }

  [Symbol.iterator]() {
    return this.#counts.values()
  }
}
