// Tokens: JWTs (RFC 7519) of users, verified with keys of which each is bound to one algorithm. The token never says how.

import { TokenError } from 'fast-jwt'
import type { Grants } from './grants.ts'
import { ANONYMOUS, type Identity } from './identity.ts'
import { isObject, type TokenKey, type TokenKeys } from './jwks.ts'
import {
  bindingFault,
  type ChannelGrant,
  channelGrant,
  type Claims,
  claimsFault,
  connectionGrants,
  identityOfClaims,
  type Refused,
  refused,
  timesFault,
} from './claims.ts'
import { createVerifiedTokens, type Opened } from './verified-tokens.ts'

export type { ChannelGrant, Claims, Refused, RefusalReason } from './claims.ts'
export { CLOCK_LEEWAY_MS, REFUSALS } from './claims.ts'

/** Longer ones are refused unread. */
export const LONGEST_TOKEN = 8 * 1024

export interface Accepted {
  readonly ok: true
  readonly identity: Identity
  /** What a ticket keeps of the token: `accept` makes the identity of them again. */
  readonly claims: Claims
}

export type TokenResult = Accepted | Refused

/** Where keys come from: a file (`refresh` finds nothing new) or a URL. */
export interface KeySource {
  /** Another object after each change. */
  readonly keys: TokenKeys
  /** False as long as keys have never been read: the token may be right. */
  readonly known: boolean
  /** Asks the source anew, if it was not asked just now; whether the keys are others then. */
  refresh(): Promise<boolean>
}

export interface TokensOptions {
  readonly source: KeySource
  /** Whether a user's tokens of that age have been revoked (revocation.ts). */
  readonly revoked?: (user: string, issuedAt: number | undefined) => boolean
  /** Characters of verified tokens whose claims are kept, so that a client that polls is verified once. 0: none. */
  readonly keepCharacters?: number
}

export interface Tokens {
  /** A connection's token. Never waits: a key that is not there yet is `unknown_key`. `now`: ms since 1970. */
  verify(token: string, now?: number): TokenResult
  /** The same, having asked the source for a key that is not there yet. */
  authenticate(token: string, now?: () => number): Promise<TokenResult>
  /** A channel token, for a connection of `user`. */
  verifyChannel(token: string, user: string, now?: number): ChannelGrant | Refused
  authenticateChannel(token: string, user: string, now?: () => number): Promise<ChannelGrant | Refused>
  /** Claims that were verified before, as a ticket keeps them: all but the signature is checked again. */
  accept(claims: Claims, now?: number): TokenResult
  /** Whether the key that signed a token still holds (`Claims.signer`). */
  knows(signer: string): boolean
}

/** Members of a header that would have the token choose its key, or that we would have to understand. */
const REFUSED_HEADERS = ['jku', 'jwk', 'x5u', 'x5c', 'crit', 'b64', 'zip', 'enc'] as const
const SIGNATURE_FAULTS: ReadonlySet<string> = new Set([
  TokenError.codes.invalidSignature,
  TokenError.codes.missingSignature,
  TokenError.codes.verifyError,
])
const TYPES = /^(?:application\/)?(?:at\+)?jwt$/i
const COMPACT = /^[\w-]+\.[\w-]+\.[\w-]*$/
const KEPT_CHARACTERS = 2 ** 22
const MOST_SHARED_GRANTS = 1000
const LONGEST_SHARED_GRANTS = 1000

export function createTokens({ source, revoked, keepCharacters = KEPT_CHARACTERS }: TokensOptions): Tokens {
  const verified = createVerifiedTokens(keepCharacters)
  const share = createSharedGrants()

  const opened = (token: string): Opened | Refused => {
    if (token.length > LONGEST_TOKEN)
      return refused('too_large', `the token is longer than ${LONGEST_TOKEN} bytes`)
    const { keys } = source
    const kept = verified.get(token, keys)
    if (kept !== undefined) return kept
    const key = keyOf(token, source)
    if ('reason' in key) return key
    const result = open(token, key)
    if (result.ok) verified.set(token, keys, result)
    return result
  }

  const accept = (claims: Claims, now: number): TokenResult => {
    const { signer } = claims
    if (signer !== undefined && !source.keys.has(signer)) {
      return refused('unknown_key', 'the key that signed the token was taken away')
    }
    const late = timesFault(claims, now)
    if (late !== undefined) return late
    const grants = connectionGrants(claims)
    if ('ok' in grants) return grants
    const identity = identityOfClaims(claims, share(grants))
    if (revoked?.(identity.user, identity.issuedAt) === true) {
      return refused('revoked', 'the token has been revoked')
    }
    return { ok: true, identity, claims }
  }

  const verify = (token: string, now = Date.now()): TokenResult => {
    const result = opened(token)
    return result.ok ? accept(result.claims, now) : result
  }

  const verifyChannel = (token: string, user: string, now = Date.now()): ChannelGrant | Refused => {
    const result = opened(token)
    if (!result.ok) return result
    const { claims } = result
    const late = timesFault(claims, now)
    if (late !== undefined) return late
    const granted = channelGrant(claims, user)
    if (granted.ok && revoked?.(user, claims.iat) === true) {
      return refused('revoked', 'the channel token has been revoked')
    }
    return granted
  }

  /** Once more, if the source has other keys than when it did not know the token's. */
  const again = async <T extends { ok: boolean }>(attempt: () => T | Refused): Promise<T | Refused> => {
    const first = attempt()
    const missing = 'reason' in first && (first.reason === 'unknown_key' || first.reason === 'keys_away')
    return missing && (await source.refresh()) ? attempt() : first
  }

  return {
    verify,
    verifyChannel,
    accept: (claims, now = Date.now()) => accept(claims, now),
    knows: signer => source.keys.has(signer),
    authenticate: (token, now = Date.now) => again<Accepted>(() => verify(token, now())),
    authenticateChannel: (token, user, now = Date.now) =>
      again<ChannelGrant>(() => verifyChannel(token, user, now())),
  }
}

function keyOf(token: string, { keys, known }: KeySource): TokenKey | Refused {
  const header = COMPACT.test(token) ? headerOf(token) : undefined
  if (header === undefined) return refused('malformed', 'the token is not a JWT')
  const { alg, kid, typ } = header
  const member = REFUSED_HEADERS.find(name => Object.hasOwn(header, name))
  if (member !== undefined)
    return refused('header', `the token's header has ${member}, which is not accepted`)
  if (typ !== undefined && !(typeof typ === 'string' && TYPES.test(typ))) {
    return refused('header', "the token's typ is not JWT")
  }
  if (kid !== undefined && typeof kid !== 'string')
    return refused('header', "the token's kid is not a string")
  if (typeof alg !== 'string' || alg === 'none') return refused('algorithm', 'the token is not signed (alg)')
  const key = keys.find(kid, alg)
  if (key === undefined) {
    if (!known) return refused('keys_away', 'the keys of tokens can not be read at the moment')
    return kid === undefined
      ? refused('algorithm', 'the token names no key (kid), and no single key is of its algorithm')
      : refused('unknown_key', 'the key that the token names (kid) is unknown')
  }
  if (key.algorithm !== alg) return refused('algorithm', "the token's algorithm is not that of its key")
  return key
}

function headerOf(token: string): Record<string, unknown> | undefined {
  try {
    const header: unknown = JSON.parse(
      Buffer.from(token.slice(0, token.indexOf('.')), 'base64url').toString(),
    )
    return isObject(header) ? header : undefined
  } catch {
    return undefined
  }
}

/** Signature, the forms of the claims, and whether they are the key's: all that time does not change. */
function open(token: string, key: TokenKey): Opened | Refused {
  const payload = payloadOf(token, key)
  if (payload instanceof Error) return unopened(payload)
  const fault = claimsFault(payload)
  if (fault !== undefined) return refused('claims', fault)
  return bindingFault(key, payload) ?? { ok: true, claims: { ...payload, signer: key.id } }
}

function payloadOf(token: string, key: TokenKey): Record<string, unknown> | Error {
  try {
    const payload = key.open(token)
    return isObject(payload) ? payload : new Error('the payload is not an object')
  } catch (error) {
    return error instanceof Error ? error : new Error('unknown')
  }
}

function unopened(error: Error): Refused {
  return error instanceof TokenError && SIGNATURE_FAULTS.has(error.code)
    ? refused('signature', "the token's signature is not that of its key")
    : refused('malformed', 'the token is not a JWT')
}

/** Most tokens of an application grant the same, so that connections can have one list for it. */
function createSharedGrants(): (grants: Grants) => readonly Grants[] {
  const shared = new Map<string, readonly Grants[]>()
  return grants => {
    if (grants.list.length === 0) return ANONYMOUS.grants
    const text = JSON.stringify(grants.list)
    const known = shared.get(text)
    if (known !== undefined) return known
    const list = [grants]
    if (text.length > LONGEST_SHARED_GRANTS) return list
    if (shared.size >= MOST_SHARED_GRANTS) shared.clear()
    shared.set(text, list)
    return list
  }
}
