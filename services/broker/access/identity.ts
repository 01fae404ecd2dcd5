// Identities: who asks, what is granted to it, and until when.

import type { Grants } from './grants.ts'

export type { Right } from './grants.ts'

/** Every member is always there, so that all identities have one shape in memory. Times are ms unless said otherwise. */
export interface Identity {
  readonly kind: 'key' | 'token' | 'hook' | 'anonymous'
  /** `""`: anonymous. */
  readonly user: string
  /** Id of the API key, never the key. */
  readonly key: string | undefined
  /** Which key signed its token (`TokenKey.id`). */
  readonly signer: string | undefined
  /** What idempotency keys are kept by where neither `key` nor `user` names their owner for good; not secret. */
  readonly scope: string | undefined
  /** The token's `iat`, in seconds: revocations compare it. */
  readonly issuedAt: number | undefined
  /** What came with it is refused from then on, leeway aside. */
  readonly expiresAt: number | undefined
  /** A connection is ended then, leeway included; undefined: never. */
  readonly connectionEndsAt: number | undefined
  /** Shown to others in presence. */
  readonly info: unknown
  /** Never shown; goes to hooks. */
  readonly meta: unknown
  /** What it was granted, by source. */
  readonly grants: readonly Grants[]
}

/** Nothing came with the request. */
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

/** Nothing came along that grants anything. */
export function isStranger({ kind, grants }: Identity): boolean {
  return kind === 'anonymous' && grants.length === 0
}

/** The same identity with what channel tokens grant. They take the place of earlier ones for the same channels. */
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

/** When it, or a channel token of it, ends next, ms; undefined: never. */
export function nextEndOf({ connectionEndsAt, grants }: Identity): number | undefined {
  let next = connectionEndsAt
  for (const { channelToken } of grants) {
    const endsAt = channelToken?.endsAt
    if (endsAt !== undefined && (next === undefined || endsAt < next)) next = endsAt
  }
  return next
}
