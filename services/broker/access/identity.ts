// Identities: who makes a request, with which grants, and until when.

import { containsGrant, type Grants, isGranted } from './grants.ts'

export type { Right } from './grants.ts'

/** Every member is always present, so that all identities share one hidden class. Times are ms unless noted. */
export interface Identity {
  readonly kind: 'key' | 'token' | 'hook' | 'anonymous'
  /** `""` if anonymous. */
  readonly user: string
  /** The API key's id, never the key. */
  readonly key: string | undefined
  /** The key that signed its token (`TokenKey.id`), or a hash of its API key's entry. */
  readonly signer: string | undefined
  /** The scope of idempotency keys if neither `key` nor `user` identifies their owner permanently. Not secret. */
  readonly scope: string | undefined
  /** The token's `iat`, in seconds, for revocations. */
  readonly issuedAt: number | undefined
  /** When its credentials expire, without the leeway; seconds. */
  readonly expiresAt: number | undefined
  /** When its connections end, with the leeway; seconds; undefined: never. */
  readonly connectionEndsAt: number | undefined
  /** Shown to others in presence. */
  readonly info: unknown
  /** Sent to hooks, and never shown. */
  readonly meta: unknown
  /** Its grants, by source. */
  readonly grants: readonly Grants[]
}

/** The identity of requests without credentials. */
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

/** Whether it has no credentials that grant anything. */
export function isStranger({ kind, grants }: Identity): boolean {
  return kind === 'anonymous' && grants.length === 0
}

/** The identity with additional channel tokens. Each replaces earlier ones that it fully contains, so that renewals do not pile up. */
export function withChannelTokens(identity: Identity, tokens: readonly Grants[]): Identity {
  if (tokens.length === 0) return identity
  const kept = identity.grants.filter(earlier => !tokens.some(token => contains(token, earlier)))
  return { ...identity, grants: [...kept, ...tokens] }
}

/** Whether a channel token grants all that an earlier one of the same source grants, for at least as long. */
function contains(token: Grants, earlier: Grants): boolean {
  if (token.channelToken === undefined || earlier.channelToken === undefined) return false
  if (token.source !== earlier.source) return false
  const { endsAt = Infinity } = token.channelToken
  if (endsAt < (earlier.channelToken.endsAt ?? Infinity)) return false
  return earlier.list.every(part => token.list.some(whole => containsGrant(whole, part)))
}

/**
 * The identity with at most `most` channel tokens: without the oldest ones of channels that it does not read, or, if that
 * does not suffice, without the oldest ones.
 */
export function withFewerTokens(identity: Identity, most: number, read: readonly string[]): Identity {
  const tokens = channelTokensOf(identity)
  if (tokens.length <= most) return identity
  const unread = tokens.filter(token => !read.some(channel => isGranted([token], 'subscribe', channel)))
  const byUse = [...new Set([...unread, ...tokens])]
  const dropped = new Set(byUse.slice(0, tokens.length - most))
  return { ...identity, grants: identity.grants.filter(grants => !dropped.has(grants)) }
}

/** The grants of its channel tokens. */
export function channelTokensOf({ grants }: Identity): Grants[] {
  return grants.filter(({ channelToken }) => channelToken !== undefined)
}

/**
 * A time of an identity: whole seconds, rounded up, so that nothing ends early. V8 keeps them without an object on the
 * heap, unlike ms.
 */
export function secondsOf(ms: number | undefined): number | undefined {
  return ms === undefined ? undefined : Math.ceil(ms / 1000)
}

/** A time of an identity in ms since 1970. */
export function msOf(seconds: number | undefined): number | undefined {
  return seconds === undefined ? undefined : seconds * 1000
}

/** The next time when it or one of its channel tokens ends, ms; undefined: never. */
export function nextEndOf({ connectionEndsAt, grants }: Identity): number | undefined {
  let next = msOf(connectionEndsAt)
  for (const { channelToken } of grants) {
    const endsAt = channelToken?.endsAt
    if (endsAt !== undefined && (next === undefined || endsAt < next)) next = endsAt
  }
  return next
}
