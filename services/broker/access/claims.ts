// The claims of a token with a valid signature: their types, their times, and the resulting identity.

import { isObject } from '../event/json-values.ts'
import { quote } from '../../errors.ts'
import { isChannelName } from '../event/names.ts'
import { capsGrants, grant, type Grants, isStrings, readClaimRights, type Right } from './grants.ts'
import { type Identity, secondsOf } from './identity.ts'
import type { TokenKey } from './jwks.ts'

/** The tolerated clock skew: tokens are accepted this long before `nbf` and after `exp`, and connections end later by it. */
export const CLOCK_LEEWAY_MS = 10_000

export const REFUSALS = [
  'too_large',
  'malformed',
  'header',
  'unknown_key',
  'keys_away',
  'algorithm',
  'signature',
  'issuer',
  'audience',
  'expired',
  'not_yet',
  'claims',
  'wrong_kind',
  'wrong_user',
  'revoked',
] as const

/** A short, fixed set for metrics labels: never a user's or a channel's name. */
export type RefusalReason = (typeof REFUSALS)[number]

/** Why a token is not accepted. The message is for the client and contains no secrets. */
export interface Refused {
  readonly ok: false
  readonly reason: RefusalReason
  readonly message: string
}

/** Claims whose types have been checked. Unknown claims are ignored. */
export interface Claims {
  readonly sub?: string
  readonly exp?: number
  readonly nbf?: number
  readonly iat?: number
  readonly iss?: string
  readonly aud?: string | readonly string[]
  readonly jti?: string
  readonly expire_at?: number
  readonly info?: unknown
  readonly meta?: unknown
  readonly caps?: unknown
  readonly channel?: string | readonly string[]
  readonly allow?: unknown
  /** Channels that a Centrifuge client follows; other wires reject the token. */
  readonly channels?: unknown
  readonly subs?: unknown
  /** Mercure's grants: see topic-grants.ts. */
  readonly mercure?: unknown
  readonly authorization_details?: unknown
  /** The key that signed the token (`TokenKey.id`). Not a claim: never read from the token. */
  readonly signer?: string
}

const LONGEST_USER = 200
/** The maximum bytes of `info`, as JSON. */
const LARGEST_INFO_BYTES = 4096

/** Printable ASCII, which needs no further checks. */
const PLAIN = /^[\x20-\x7e]*$/

/** The latest NumericDate (RFC 7519 section 2). Larger values would make the arithmetic inexact. */
const LATEST = Number.MAX_SAFE_INTEGER
const TIMES = ['exp', 'nbf', 'iat', 'expire_at'] as const
const NOT_PERMISSIONS = 'lists channels to follow and grants nothing here: list permissions in caps'

export function refused(reason: RefusalReason, message: string): Refused {
  return { ok: false, reason, message }
}

/** Why a payload's claims have wrong types; undefined if the payload is `Claims`. */
export function claimsFault(payload: Record<string, unknown>): string | undefined {
  const { sub, iss, jti, aud } = payload
  for (const name of TIMES) {
    const fault = payload[name] === undefined ? undefined : timeFault(payload[name])
    if (fault !== undefined) return `${name} ${fault}`
  }
  const fault = sub === undefined ? undefined : userFault(sub)
  if (fault !== undefined) return `sub ${fault}`
  const { info } = payload
  if (info !== undefined && Buffer.byteLength(JSON.stringify(info)) > LARGEST_INFO_BYTES) {
    return 'info is larger than 4 KiB'
  }
  if (iss !== undefined && typeof iss !== 'string') return 'iss is not a string'
  if (jti !== undefined && typeof jti !== 'string') return 'jti is not a string'
  if (aud !== undefined && typeof aud !== 'string' && !isStrings(aud)) {
    return 'aud is neither a string nor a list of strings'
  }
  return undefined
}

/** Why a user name is invalid, as the end of a sentence; undefined if it is valid. */
export function userFault(user: unknown): string | undefined {
  if (typeof user !== 'string') return 'is not a string'
  if (user.length > LONGEST_USER) return `is longer than ${LONGEST_USER} characters`
  if (PLAIN.test(user)) return undefined
  // Two Unicode forms of one text would be two users who look the same.
  return /[\p{Cc}\p{Cs}]/u.test(user) || user.normalize('NFC') !== user
    ? 'has control characters, or is not in the Unicode form NFC'
    : undefined
}

function timeFault(value: unknown): string | undefined {
  if (typeof value !== 'number') return 'is not a number'
  return value >= 0 && value <= LATEST ? undefined : 'is out of range: seconds since 1970'
}

/** Whether the token's issuer and audience match those of its key. */
export function bindingFault({ issuer, audiences }: TokenKey, { iss, aud }: Claims): Refused | undefined {
  if (issuer !== undefined && iss !== issuer) {
    return refused('issuer', "the token's issuer is not its key's")
  }
  if (audiences === undefined) return undefined
  const named = typeof aud === 'string' ? [aud] : (aud ?? [])
  return named.some(audience => audiences.includes(audience))
    ? undefined
    : refused('audience', 'the token is for another audience')
}

/** Why a token is not valid at `now`, ms since 1970. */
export function timesFault({ exp, nbf, expire_at: end }: Claims, now: number): Refused | undefined {
  if (exp !== undefined && now >= exp * 1000 + CLOCK_LEEWAY_MS) return refused('expired', 'the token expired')
  if (nbf !== undefined && now < nbf * 1000 - CLOCK_LEEWAY_MS) {
    return refused('not_yet', 'the token is not valid yet (nbf)')
  }
  if (end !== undefined && end !== 0 && now >= end * 1000 + CLOCK_LEEWAY_MS) {
    return refused('expired', "the token's connection has expired (expire_at)")
  }
  return undefined
}

/** Why claims can't open a connection, whatever they grant. */
export function kindFault(claims: Claims): Refused | undefined {
  if (claims.channel !== undefined) {
    return refused('wrong_kind', "a channel token (claim channel) can't open a connection")
  }
  return undefined
}

/** Why claims that list channels to follow are rejected on a wire that does not follow them. */
export function listFault(claims: Claims): Refused | undefined {
  const name = (['channels', 'subs'] as const).find(each => each in claims)
  return name === undefined ? undefined : refused('claims', `${name} ${NOT_PERMISSIONS}`)
}

/** The channels that a token makes its connection follow (`channels`, and the names of `subs`), or the fault. */
export function followedBy({ channels = [], subs = {} }: Claims): readonly string[] | Refused {
  if (!isStrings(channels)) return refused('claims', 'channels is not a list of strings')
  if (!isObject(subs)) return refused('claims', 'subs is not an object')
  const names = [...new Set([...channels, ...Object.keys(subs)])]
  const malformed = names.find(name => !isChannelName(name))
  return malformed === undefined
    ? names
    : refused('claims', `${quote(malformed)} is not a valid channel name to follow`)
}

/** The implied rights: a client may read the channels that the server makes it follow. */
export function followGrants(channels: readonly string[]): Grants {
  return { source: 'token', list: [grant('channels to follow', channels, ['subscribe', 'history'])] }
}

/** The grants of `caps`, or why they are rejected. */
export function grantsOfCaps(caps: unknown): Grants | Refused {
  const grants = capsGrants('token', caps)
  return typeof grants === 'string' ? refused('claims', grants) : grants
}

/** The identity of a connection's claims. One object literal, since each connection holds one and its size matters. */
export function identityOfClaims(claims: Claims, grants: readonly Grants[]): Identity {
  const { sub = '', exp, iat, expire_at: end, info, meta, signer } = claims
  return {
    kind: 'token',
    user: sub,
    key: undefined,
    signer,
    scope: undefined,
    issuedAt: iat,
    expiresAt: exp === undefined ? undefined : Math.ceil(exp),
    connectionEndsAt: secondsOf(endOf(end ?? exp ?? 0)),
    info,
    meta,
    grants,
  }
}

/** The time of `exp` or `expire_at`, ms; undefined for 0, which means never. */
function endOf(seconds: number): number | undefined {
  return seconds === 0 ? undefined : seconds * 1000 + CLOCK_LEEWAY_MS
}

/** The grants of a channel token. */
export interface ChannelGrant {
  readonly ok: true
  readonly channels: readonly string[]
  readonly grants: Grants
}

/** The grants of a channel token to a connection of `user`, or why it is rejected. */
export function channelGrant(claims: Claims, user: string): ChannelGrant | Refused {
  const { channel, allow = ['sub'], exp, expire_at: end, iat, sub = '', signer } = claims
  if (channel === undefined) {
    return refused('wrong_kind', 'a channel token has the claim channel; this is a connection token')
  }
  if ('caps' in claims) return refused('claims', 'a channel token has no caps: its rights are in allow')
  const channels = typeof channel === 'string' ? [channel] : channel
  if (!isStrings(channels) || channels.length === 0) {
    return refused('claims', 'channel is neither a name nor a list of names')
  }
  const malformed = channels.find(name => !isChannelName(name))
  if (malformed !== undefined)
    return refused('claims', `channel has ${quote(malformed)}, which is not a valid channel name`)
  const rights = readClaimRights('allow', allow) as readonly Right[] | string
  if (typeof rights === 'string') return refused('claims', rights)
  if (sub !== user)
    return refused('wrong_user', 'the channel token belongs to a different user than the connection')
  return {
    ok: true,
    channels,
    grants: {
      source: 'token',
      list: [grant('channel token', channels, rights)],
      channelToken: { endsAt: endOf(end ?? exp ?? 0), signer, issuedAt: iat },
    },
  }
}
