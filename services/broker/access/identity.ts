// Identities: who makes a request, what is granted to them, and until when.

import type { Grants } from './grants.ts'

export type { Right } from './grants.ts'

/**
 * Every member is always present, so that all identities share one hidden class. Times are ms unless said otherwise.
 */
export interface Identity {
  readonly kind: 'key' | 'token' | 'hook' | 'anonymous'
  /** `""`: anonymous. */
  readonly user: string
  /** Id of the API key, never the key. */
  readonly key: string | undefined
  /** The key that signed its token (`TokenKey.id`). */
  readonly signer: string | undefined
  /** Scope of idempotency keys where neither `key` nor `user` identifies their owner permanently; not secret. */
  readonly scope: string | undefined
  /** The token's `iat`, in seconds: revocations compare it. */
  readonly issuedAt: number | undefined
  /** Its credentials are rejected from then on, leeway aside. */
  readonly expiresAt: number | undefined
  /** A connection ends then, leeway included; undefined: never. */
  readonly connectionEndsAt: number | undefined
  /** Others see it in presence. */
  readonly info: unknown
  /** Never shown; sent to hooks. */
  readonly meta: unknown
  /** What it was granted, by source. */
  readonly grants: readonly Grants[]
}

/** The request had no credentials. */
export const ANONYMOUS: Identity = Object.freeze({
  kind: 'anonymous',
  user: '',
  key: undefined,
  signer: undefined,
  scope: undefined,
  issuedAt: undefined,
  expiresAt: undefined,
  connectionEndsAt: undefined,
  info: undefined,
  meta: undefined,
  grants: [],
})

/** It has no credentials that grant anything. */
export function isStranger({ kind, grants }: Identity): boolean {
  return kind === 'anonymous' && grants.length === 0
}

/** The same identity with what channel tokens grant. They replace earlier ones for the same channels. */
export function withChannelTokens(identity: Identity, tokens: readonly Grants[]): Identity {
  if (tokens.length === 0) return identity
  const kept = identity.grants.filter(earlier => !tokens.some(token => replaces(token, earlier)))
  return { ...identity, grants: [...kept, ...tokens] }
}

function replaces(token: Grants, earlier: Grants): boolean {
  if (token.channelToken === undefined || earlier.channelToken === undefined) return false
  const channels = token.list.flatMap(grant => grant.channels)
  return earlier.list.every(grant => grant.channels.every(channel => channels.includes(channel)))
}

/** What channel tokens granted to it. */
export function channelTokensOf({ grants }: Identity): Grants[] {
  return grants.filter(({ channelToken }) => channelToken !== undefined)
}

/** When it or one of its channel tokens ends next, ms; undefined: never. */
export function nextEndOf({ connectionEndsAt, grants }: Identity): number | undefined {
  let next = connectionEndsAt
  for (const { channelToken } of grants) {
    const endsAt = channelToken?.endsAt
    if (endsAt !== undefined && (next === undefined || endsAt < next)) next = endsAt
  }
  return next
}
