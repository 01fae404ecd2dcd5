// What is told of a limit that is reached, and whose limits there are.

import { FanwireError } from '../../errors.ts'
import type { Identity } from '../access/identity.ts'
import type { Allowance, Bucket } from './buckets.ts'

/** `rule`: of a user, or an address, in one rule. */
export type Scope = 'address' | 'user' | 'key' | 'connection' | 'rule'
/** Those that hold connections. */
export type Holder = 'address' | 'user' | 'key'
/** What is counted while it flows. */
export type Rate = 'requests' | 'publishes' | 'bytes'
/** What is counted as long as it lasts. */
export type Count = 'connections' | 'subscriptions'
export type Limit = Rate | Count

/** Names of settings: 0, or a rate of 0, is no limit. */
export type LimitSettings = {
  readonly [K in `${Holder | 'connection'}${Capitalize<Rate>}`]: Allowance
} & { readonly [K in `${Holder}${Capitalize<Count>}`]: number }

/** Who does something, as far as limits have to know. What is left out is not counted. */
export interface Party {
  readonly identity?: Identity
  /** What stands for the client's address. */
  readonly address?: string
  /** What a connection that stays has left. */
  readonly connection?: ConnectionBuckets
}

/** Made when they are first needed. */
export type ConnectionBuckets = { [K in Rate]?: Bucket }

/** By what a scope counts a party; undefined: not at all. */
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

/** A limit is reached; `retry`: ms until it may be tried again. */
export class Limited extends FanwireError {
  constructor(limit: Limit, scope: Scope, retry: number) {
    super('FW_TOO_MANY_REQUESTS', `${WORDS[limit]} ${OWNERS[scope]}: try again later`, { retry })
  }
}

/** Times that limits were hit, by limit and scope and nothing else: for metrics. */
export class Hits {
  readonly #counts = new Map<string, { readonly limit: Limit; readonly scope: Scope; count: number }>()

  /** Counts it, and makes the error. */
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
