// Tokens: users' JWTs (RFC 7519), verified with keys that are each bound to one algorithm. The token never chooses it.

import { isObject } from '../event/json-values.ts'
import { ownCopy } from '../event/names.ts'
import type { Grants } from './grants.ts'
import { ANONYMOUS, type Identity } from './identity.ts'
import type { TokenKey, TokenKeys } from './jwks.ts'
import {
  bindingFault,
  type ChannelGrant,
  channelGrant,
  type Claims,
  claimsFault,
  followedBy,
  followGrants,
  grantsOfCaps,
  identityOfClaims,
  kindFault,
  listFault,
  type Refused,
  refused,
  timesFault,
} from './claims.ts'
import { type Opened, VerifiedTokens } from './verified-tokens.ts'

export type { ChannelGrant, Claims, Refused, RefusalReason } from './claims.ts'
export { CLOCK_LEEWAY_MS, REFUSALS } from './claims.ts'

/** The maximum length of a token. Longer ones are rejected unread. */
export const LONGEST_TOKEN = 8 * 1024

export interface Accepted {
  readonly ok: true
  readonly identity: Identity
  /** The claims, which a ticket keeps: `accept` rebuilds the identity from them. */
  readonly claims: Claims
}

export type TokenResult = Accepted | Refused

/** A source of keys: a file (`refresh` finds nothing new) or a URL. */
export interface KeySource {
  /** A different object after each change. */
  readonly keys: TokenKeys
  /** False until keys have been read for the first time. Until then, an unknown key may be valid. */
  readonly known: boolean
  /** Queries the source again, unless it was queried just now. Returns whether the keys changed. */
  refresh(): Promise<boolean>
}

export interface TokensOptions {
  readonly source: KeySource
  /** Whether a user's tokens of that age have been revoked (revocation.ts). */
  readonly revoked?: (user: string, issuedAt: number | undefined) => boolean
  /** The maximum characters of cached verified tokens, so that a polling client is verified once. 0: no cache. */
  readonly keepCharacters?: number
  /** Reads Mercure's claims. */
  readonly topics?: TopicClaims | undefined
}

/** The interface of topic-grants.ts, which is loaded on demand. */
export interface TopicClaims {
  topicClaimsOf(claims: Claims): unknown
  topicGrants(said: unknown): Grants | Refused
}

/** A value, or a promise of it, so that the check of each connection need not wait for a microtask. */
export type Soon<T> = T | Promise<T>

export interface Takes {
  /** Whether the wire follows the channels that a token lists. The token grants them. */
  readonly lists?: boolean
}

export interface Tokens {
  /**
   * Verifies a connection's token. Never waits: the result for a key that has not been read yet is `unknown_key`. `now` is
   * in ms since 1970.
   */
  verify(token: string, now?: number, takes?: Takes): TokenResult
  /** Like `verify`, but fetches an unknown key from the source. Returns a promise only then. */
  authenticate(token: string, now?: () => number, takes?: Takes): Soon<TokenResult>
  /** Verifies a channel token for a connection of `user`. */
  verifyChannel(token: string, user: string, now?: number): ChannelGrant | Refused
  authenticateChannel(token: string, user: string, now?: () => number): Soon<ChannelGrant | Refused>
  /** Accepts a ticket's claims, which were verified before. Checks everything again except the signature. */
  accept(claims: Claims, now?: number): TokenResult
  /** Whether the key that signed a token is still valid (`Claims.signer`). */
  knows(signer: string): boolean
}

/** Header members with which a token could choose its key, or which the node would have to support. */
const REFUSED_HEADERS = ['jku', 'jwk', 'x5u', 'x5c', 'crit', 'b64', 'zip', 'enc'] as const
const TYPES = /^(?:application\/)?(?:at\+)?jwt$/i
const COMPACT = /^[\w-]+\.[\w-]+\.[\w-]*$/
const KEYS_AWAY = refused('keys_away', 'the token keys cannot be read at the moment: try again later')
const KEPT_CHARACTERS = 2 ** 22
const MOST_KNOWN_HEADERS = 100
const LONGEST_KNOWN_HEADER = 500
const MOST_KNOWN_CAPS = 1000
const LONGEST_KNOWN_CAPS = 1000

export function createTokens(options: TokensOptions): Tokens {
  const { source, revoked, keepCharacters = KEPT_CHARACTERS, topics } = options
  const verified = new VerifiedTokens(keepCharacters)
  const keyOf = createKeyFinder(source)
  const grantsOf = createGrantsReader(topics)

  const opened = (token: string): Opened | Refused => {
    if (token.length > LONGEST_TOKEN)
      return refused('too_large', `the token is longer than ${LONGEST_TOKEN} bytes`)
    return verified.get(token, source.keys, () => {
      const key = keyOf(token)
      return 'reason' in key ? key : open(token, key, grantsOf)
    })
  }

  const accept = (
    { claims, grants }: Omit<Opened, 'ok'>,
    now: number,
    { lists = false }: Takes = {},
  ): TokenResult => {
    const { signer } = claims
    if (signer !== undefined && !source.keys.has(signer)) {
      return source.known ? refused('unknown_key', 'the key that signed the token was removed') : KEYS_AWAY
    }
    const late = timesFault(claims, now)
    if (late !== undefined) return late
    if ('ok' in grants) return grants
    const followed = lists ? followedBy(claims) : (listFault(claims) ?? [])
    if ('ok' in followed) return followed
    const identity = identityOfClaims(
      claims,
      followed.length === 0 ? grants : [...grants, followGrants(followed)],
    )
    if (revoked?.(identity.user, identity.issuedAt) === true) {
      return refused('revoked', 'the token has been revoked')
    }
    return { ok: true, identity, claims }
  }

  const verify = (token: string, now = Date.now(), takes?: Takes): TokenResult => {
    const result = opened(token)
    return result.ok ? accept(result, now, takes) : result
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

  /** If the token's key is unknown, refreshes the source, and verifies again if the keys changed. */
  const again = <T extends { ok: boolean }>(attempt: () => T | Refused): Soon<T | Refused> => {
    const first = attempt()
    const missing = 'reason' in first && (first.reason === 'unknown_key' || first.reason === 'keys_away')
    return missing ? source.refresh().then(changed => (changed ? attempt() : first)) : first
  }

  return {
    verify,
    verifyChannel,
    accept: (claims, now = Date.now()) => accept({ claims, grants: grantsOf(claims) }, now),
    knows: signer => source.keys.has(signer),
    authenticate: (token, now = Date.now, takes) => again<Accepted>(() => verify(token, now(), takes)),
    authenticateChannel: (token, user, now = Date.now) =>
      again<ChannelGrant>(() => verifyChannel(token, user, now())),
  }
}

/** Finds the key of a token's header. Tokens of one application share their header, so it is parsed once. */
function createKeyFinder(source: KeySource): (token: string) => TokenKey | Refused {
  const known = new Map<string, TokenKey>()
  let knownOf: TokenKeys | undefined
  return token => {
    if (!COMPACT.test(token)) return refused('malformed', 'the token is not a JWT: three parts in base64url')
    if (source.keys !== knownOf) known.clear()
    knownOf = source.keys
    const header = token.slice(0, token.indexOf('.'))
    const found = known.get(header)
    if (found !== undefined) return found
    const key = keyOf(header, source)
    if ('reason' in key || header.length > LONGEST_KNOWN_HEADER) return key
    if (known.size >= MOST_KNOWN_HEADERS) known.clear()
    known.set(ownCopy(header), key)
    return key
  }
}

function keyOf(text: string, { keys, known }: KeySource): TokenKey | Refused {
  const header = objectOf(text)
  if (header === undefined) return refused('malformed', "the token's header is not a JSON object")
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
    if (!known) return KEYS_AWAY
    return kid === undefined
      ? refused('algorithm', 'the token names no key (kid), and its algorithm has no key or several')
      : refused('unknown_key', 'the key that the token names (kid) is unknown')
  }
  if (key.algorithm !== alg) return refused('algorithm', "the token's algorithm is not that of its key")
  return key
}

/** Parses a part of a token, which is a JSON object. */
function objectOf(part: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, 'base64url').toString())
    return isObject(value) ? value : undefined
  } catch {
    return undefined
  }
}

/** Checks everything that does not change over time: the signature, the types of the claims, and their key. */
function open(
  token: string,
  key: TokenKey,
  grantsOf: (claims: Claims) => readonly Grants[] | Refused,
): Opened | Refused {
  const end = token.lastIndexOf('.')
  if (!key.verify(token.slice(0, end), Buffer.from(token.slice(end + 1), 'base64url'))) {
    return refused('signature', "the token's signature is not that of its key")
  }
  const payload = objectOf(token.slice(token.indexOf('.') + 1, end))
  if (payload === undefined) return refused('malformed', "the token's claims are not a JSON object")
  const fault = claimsFault(payload)
  if (fault !== undefined) return refused('claims', fault)
  payload.signer = key.id
  const claims: Claims = payload
  return bindingFault(key, claims) ?? { ok: true, claims, grants: grantsOf(claims) }
}

/** Most tokens of an application have the same grants, which are parsed once and shared by their connections. */
function createGrantsReader(topics?: TopicClaims): (claims: Claims) => readonly Grants[] | Refused {
  const known = new Map<string, readonly Grants[]>()
  return claims => {
    const fault = kindFault(claims)
    if (fault !== undefined) return fault
    const { caps } = claims
    const said = topics?.topicClaimsOf(claims)
    if (caps === undefined && said === undefined) return ANONYMOUS.grants
    const text = JSON.stringify([caps, said])
    const found = known.get(text)
    if (found !== undefined) return found
    const list: Grants[] = []
    for (const grants of [
      caps === undefined ? undefined : grantsOfCaps(caps),
      said === undefined ? undefined : topics?.topicGrants(said),
    ]) {
      if (grants === undefined) continue
      if ('ok' in grants) return grants
      list.push(grants)
    }
    if (text.length > LONGEST_KNOWN_CAPS) return list
    if (known.size >= MOST_KNOWN_CAPS) known.clear()
    known.set(text, list)
    return list
  }
}
