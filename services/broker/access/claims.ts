// The claims of a token whose signature is right: their forms, their times, and the identity that they make.

import { isObject } from '../event/json-values.ts'
import { quote } from '../../errors.ts'
import { isChannelName } from '../event/names.ts'
import { capsGrants, grant, type Grants, isStrings, readClaimRights, type Right } from './grants.ts'
import type { Identity } from './identity.ts'
import type { TokenKey } from './jwks.ts'

/** How far clocks may be apart: tokens are taken that much before `nbf` and after `exp`, connections end that much later. */
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

/** Few words, for metrics: never a user's or a channel's. */
export type RefusalReason = (typeof REFUSALS)[number]

/** Why a token is not accepted. The message is for its sender and has nothing secret in it. */
export interface Refused {
  readonly ok: false
  readonly reason: RefusalReason
  readonly message: string
}

/** Claims of which the forms have been checked; others that came along are not asked. */
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
  /** What a client of Centrifuge is to follow; of other wires refused. */
  readonly channels?: unknown
  readonly subs?: unknown
  /** What is granted in the words of Mercure: topic-grants.ts. */
  readonly mercure?: unknown
  readonly authorization_details?: unknown
  /** No claim, whatever the token says: the key that signed it (`TokenKey.id`). */
  readonly signer?: string
}

const LONGEST_USER = 200
/** Bytes of JSON that a user shows to others. */
const LARGEST_INFO = 4096

/** Most users' names are. */
const PLAIN = /^[\x20-\x7e]*$/

/** RFC 7519 section 2 NumericDate; beyond, arithmetic would not be exact. */
const LATEST = Number.MAX_SAFE_INTEGER
const TIMES = ['exp', 'nbf', 'iat', 'expire_at'] as const
const NOT_PERMISSIONS = 'lists channels to follow and would grant nothing: say what is granted in caps'

export function refused(reason: RefusalReason, message: string): Refused {
  return { ok: false, reason, message }
}

/** What is wrong with the forms of a payload's claims; undefined: nothing, and the payload is `Claims`. */
export function claimsFault(payload: Record<string, unknown>): string | undefined {
  const { sub, iss, jti, aud } = payload
  for (const name of TIMES) {
    const fault = payload[name] === undefined ? undefined : timeFault(payload[name])
    if (fault !== undefined) return `${name} ${fault}`
  }
  const fault = sub === undefined ? undefined : userFault(sub)
  if (fault !== undefined) return `sub ${fault}`
  const { info } = payload
  if (info !== undefined && Buffer.byteLength(JSON.stringify(info)) > LARGEST_INFO) {
    return 'info is larger than 4 KiB'
  }
  if (iss !== undefined && typeof iss !== 'string') return 'iss is not a string'
  if (jti !== undefined && typeof jti !== 'string') return 'jti is not a string'
  if (aud !== undefined && typeof aud !== 'string' && !isStrings(aud)) {
    return 'aud is neither a string nor a list of strings'
  }
  return undefined
}

/** What is wrong with the name of a user, as the end of a sentence; undefined: nothing. */
export function userFault(user: unknown): string | undefined {
  if (typeof user !== 'string') return 'is not a string'
  if (user.length > LONGEST_USER) return `is longer than ${LONGEST_USER} characters`
  if (PLAIN.test(user)) return undefined
  // Two forms of one text would be two users who look the same.
  return /[\p{Cc}\p{Cs}]/u.test(user) || user.normalize('NFC') !== user
    ? 'has control characters, or is not in the Unicode form NFC'
    : undefined
}

function timeFault(value: unknown): string | undefined {
  if (typeof value !== 'number') return 'is not a number'
  return value >= 0 && value <= LATEST ? undefined : 'is out of range: seconds since 1970'
}

/** Whether a key's issuer and audience are those of the token. */
export function bindingFault({ issuer, audiences }: TokenKey, { iss, aud }: Claims): Refused | undefined {
  if (issuer !== undefined && iss !== issuer) {
    return refused('issuer', 'the token is of another issuer than its key')
  }
  if (audiences === undefined) return undefined
  const named = typeof aud === 'string' ? [aud] : (aud ?? [])
  return named.some(audience => audiences.includes(audience))
    ? undefined
    : refused('audience', 'the token is for another audience')
}

/** `now`: ms since 1970. */
export function timesFault({ exp, nbf, expire_at: end }: Claims, now: number): Refused | undefined {
  if (exp !== undefined && now >= exp * 1000 + CLOCK_LEEWAY_MS) return refused('expired', 'the token expired')
  if (nbf !== undefined && now < nbf * 1000 - CLOCK_LEEWAY_MS) {
    return refused('not_yet', 'the token is not valid yet (nbf)')
  }
  if (end !== undefined && end !== 0 && now >= end * 1000 + CLOCK_LEEWAY_MS) {
    return refused('expired', 'the connection that the token is for is over (expire_at)')
  }
  return undefined
}

/** Why claims open no connection, whatever they grant. */
export function kindFault(claims: Claims): Refused | undefined {
  if (claims.channel !== undefined) {
    return refused('wrong_kind', "a channel token (claim channel) can't open a connection")
  }
  return undefined
}

/** Why claims that list channels to follow are not taken where nothing follows them. */
export function listFault(claims: Claims): Refused | undefined {
  const name = (['channels', 'subs'] as const).find(each => each in claims)
  return name === undefined ? undefined : refused('claims', `${name} ${NOT_PERMISSIONS}`)
}

/** The channels that a token has its connection follow (`channels`, and the names of `subs`), or what is wrong. */
export function followedBy({ channels = [], subs = {} }: Claims): readonly string[] | Refused {
  if (!isStrings(channels)) return refused('claims', 'channels is not a list of strings')
  if (!isObject(subs)) return refused('claims', 'subs is not an object')
  const names = [...new Set([...channels, ...Object.keys(subs)])]
  const malformed = names.find(name => !isChannelName(name))
  return malformed === undefined
    ? names
    : refused('claims', `${quote(malformed)} is no name of a channel to follow`)
}

/** What goes with it: the server would not have a client follow what it may not read. */
export function followGrants(channels: readonly string[]): Grants {
  return { source: 'token', list: [grant('channels to follow', channels, ['subscribe', 'history'])] }
}

/** What `caps` grant, or why they are refused. */
export function grantsOfCaps(caps: unknown): Grants | Refused {
  const grants = capsGrants('token', caps)
  return typeof grants === 'string' ? refused('claims', grants) : grants
}

/** The identity of a connection's claims. One literal: each connection has one, and its size counts. */
export function identityOfClaims(claims: Claims, grants: readonly Grants[]): Identity {
  const { sub = '', exp, iat, expire_at: end, info, meta, signer } = claims
  return {
    kind: 'token',
    user: sub,
    key: undefined,
    signer,
    scope: undefined,
    issuedAt: iat,
    expiresAt: exp === undefined ? undefined : exp * 1000,
    connectionEndsAt: endOf(end ?? exp ?? 0),
    info,
    meta,
    grants,
  }
}

/** ms, of `exp` or `expire_at`; 0: never. */
function endOf(seconds: number): number | undefined {
  return seconds === 0 ? undefined : seconds * 1000 + CLOCK_LEEWAY_MS
}

/** What a channel token grants. */
export interface ChannelGrant {
  readonly ok: true
  readonly channels: readonly string[]
  readonly grants: Grants
}

/** Channels and rights of a channel token, for a connection of `user`. */
export function channelGrant(claims: Claims, user: string): ChannelGrant | Refused {
  const { channel, allow = ['sub'], exp, expire_at: end, iat, sub = '', signer } = claims
  if (channel === undefined) {
    return refused('wrong_kind', 'a channel token has the claim channel; this is a token of a connection')
  }
  if ('caps' in claims) return refused('claims', 'a channel token has no caps: its rights are in allow')
  const channels = typeof channel === 'string' ? [channel] : channel
  if (!isStrings(channels) || channels.length === 0) {
    return refused('claims', 'channel is neither a name nor a list of names')
  }
  const malformed = channels.find(name => !isChannelName(name))
  if (malformed !== undefined)
    return refused('claims', `channel has ${quote(malformed)}, which is no name of a channel`)
  const rights = readClaimRights('allow', allow) as readonly Right[] | string
  if (typeof rights === 'string') return refused('claims', rights)
  if (sub !== user) return refused('wrong_user', "the channel token is of another user than the connection's")
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
