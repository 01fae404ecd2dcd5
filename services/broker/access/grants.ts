// Grants: which rights an identity has on which channels. Grants add up in any order, and none removes a right.

import { isObject } from '../event/json-values.ts'
import { FanwireError, quote } from '../../errors.ts'
import { type Filter, filterOf, oneOf } from '../event/filter.ts'
import { matches, patternFault } from '../rules/patterns.ts'

export const RIGHTS = ['publish', 'subscribe', 'history', 'presence', 'admin'] as const

export type Right = (typeof RIGHTS)[number]

/** Where a grant comes from: an API key's entry, a token's claims, or a response of the application. */
export type GrantSource = 'key' | 'token' | 'hook'

/** Rights on the channels of some patterns. */
export interface Grant {
  /** Where it was written, such as `caps[2]`, for explanations. */
  readonly origin: string
  readonly channels: readonly string[]
  readonly rights: number
  /** Matchers of further channels, besides the patterns. */
  readonly topics?: readonly { matches(channel: string): boolean }[]
  /** Restricts the events of those channels; undefined for all events. */
  readonly filter?: Filter | undefined
  /** Data about the subscriber of these topics, shown to others. */
  readonly payload?: unknown
  /** Set if it comes from Mercure 0.x's claim, whose payload applies to all that the connection follows. */
  readonly olderForm?: true
  /** Set if it comes from a Pusher signature, which grants presence even if the rule keeps none. */
  readonly signature?: true
}

/** The grants of one source. */
export interface Grants {
  readonly source: GrantSource
  readonly list: readonly Grant[]
  /** Set for a channel token, or the application's response about a channel. */
  readonly channelToken?: ChannelTokenTerms
}

/** The conditions for a channel token's validity, besides the life of its connection. */
export interface ChannelTokenTerms {
  /** When it ends, ms, with the leeway; undefined if it lasts as long as the connection. */
  readonly endsAt: number | undefined
  /** The key that signed it (`TokenKey.id`). */
  readonly signer: string | undefined
  /** Its `iat`, in seconds. */
  readonly issuedAt: number | undefined
}

const BIT: Readonly<Record<Right, number>> = { publish: 1, subscribe: 2, history: 4, presence: 8, admin: 16 }

/** The names of rights in tokens' claims, which are Centrifugo's. */
const CLAIM_WORDS: ReadonlyMap<string, Right> = new Map([
  ['sub', 'subscribe'],
  ['pub', 'publish'],
  ['hst', 'history'],
  ['prs', 'presence'],
])
const KEY_WORDS: ReadonlyMap<string, Right> = new Map(RIGHTS.map(right => [right, right]))

/** The first grant of `source` that has the right on the channel. */
export function findGrant(
  all: readonly Grants[],
  source: GrantSource,
  right: Right,
  channel: string,
): Grant | undefined {
  for (const grants of all) {
    if (grants.source !== source) continue
    const found = grants.list.find(grant => grantHas(grant, right, channel))
    if (found !== undefined) return found
  }
  return undefined
}

/** The combined filter of the grants of `source` that have the right on the channel; undefined for all events. */
export function grantedFilter(
  all: readonly Grants[],
  source: GrantSource,
  right: Right,
  channel: string,
): Filter | undefined {
  const filters: Filter[] = []
  for (const grants of all) {
    if (grants.source !== source) continue
    for (const grant of grants.list) {
      if (!grantHas(grant, right, channel)) continue
      if (grant.filter === undefined) return undefined
      filters.push(grant.filter)
    }
  }
  return filters.length === 0 ? undefined : oneOf(filters)
}

function grantHas({ rights, channels, topics }: Grant, right: Right, channel: string): boolean {
  if ((rights & BIT[right]) === 0) return false
  return (
    channels.some(pattern => matches(pattern, channel)) ||
    (topics !== undefined && topics.some(topic => topic.matches(channel)))
  )
}

/** Whether the request itself grants the right on the channel, independently of the rules. */
export function isGranted(all: readonly Grants[], right: Right, channel: string): boolean {
  return all.some(({ list }) => list.some(grant => grantHas(grant, right, channel)))
}

/** Whether a grant includes the channels, the rights and the events of another one. */
export function containsGrant(whole: Grant, part: Grant): boolean {
  return (
    part.topics === undefined &&
    (whole.rights & part.rights) === part.rights &&
    (whole.filter === undefined || whole.filter.key === part.filter?.key) &&
    part.channels.every(channel => whole.channels.includes(channel))
  )
}

/** A grant for the whole node: rights that concern no single channel must be granted on `*`. */
export function findWholeGrant(all: readonly Grants[], source: GrantSource, right: Right): Grant | undefined {
  return all
    .filter(grants => grants.source === source)
    .flatMap(grants => grants.list)
    .find(({ rights, channels }) => (rights & BIT[right]) !== 0 && channels.includes('*'))
}

/** The rights of a grant, in words. */
export function rightsOf({ rights }: Grant): Right[] {
  return RIGHTS.filter(right => (rights & BIT[right]) !== 0)
}

export function grant(origin: string, channels: readonly string[], rights: readonly Right[]): Grant {
  return { origin, channels, rights: rights.reduce((bits, right) => bits | BIT[right], 0) }
}

/**
 * The grants of `caps` in a token or the application's response,
 * `[{"channels":[…],"allow":["sub","pub","prs","hst"],"filter":{…}}]`, or the fault.
 */
export function capsGrants(source: GrantSource, caps: unknown): Grants | string {
  if (!Array.isArray(caps)) return 'caps is not a list'
  const list: Grant[] = []
  for (const [index, cap] of caps.entries()) {
    const read = capGrant(`caps[${index}]`, cap)
    if (typeof read === 'string') return read
    list.push(read)
  }
  return { source, list }
}

function capGrant(origin: string, cap: unknown): Grant | string {
  if (!isObject(cap)) return `${origin} is not an object`
  for (const member of Object.keys(cap)) {
    if (member !== 'channels' && member !== 'allow' && member !== 'filter') {
      return `${origin} has the member ${quote(member)}: a grant has channels, allow and filter`
    }
  }
  const { channels, allow, filter } = cap as { channels?: unknown; allow?: unknown; filter?: unknown }
  const patterns = readPatterns(`${origin}.channels`, channels)
  if (typeof patterns === 'string') return patterns
  const rights = readClaimRights(`${origin}.allow`, allow)
  if (typeof rights === 'string') return rights
  const read = filter === undefined ? undefined : readFilter(`${origin}.filter`, filter)
  return typeof read === 'string' ? read : { ...grant(origin, patterns, rights), filter: read }
}

/** Reads a filter; returns the fault as text. */
function readFilter(name: string, value: unknown): Filter | string {
  try {
    return filterOf(value)
  } catch (error) {
    if (error instanceof FanwireError) return `${name}: ${error.message}`
    throw error
  }
}

/** Reads a list of patterns; returns the fault as text. */
export function readPatterns(name: string, value: unknown): readonly string[] | string {
  if (!isStrings(value)) return `${name} is not a list of strings`
  for (const [index, pattern] of value.entries()) {
    const fault = patternFault(pattern)
    if (fault !== undefined) return `${name}[${index}] ${quote(pattern)} ${fault}`
  }
  return value
}

/** Reads the rights of a token, such as `["sub","pub"]`; returns the fault as text. */
export function readClaimRights(name: string, value: unknown): readonly Right[] | string {
  return readRights(name, value, CLAIM_WORDS)
}

/** Reads the rights of an API key, such as `["subscribe","publish"]`; returns the fault as text. */
export function readKeyRights(name: string, value: unknown): readonly Right[] | string {
  return readRights(name, value, KEY_WORDS)
}

function readRights(
  name: string,
  value: unknown,
  words: ReadonlyMap<string, Right>,
): readonly Right[] | string {
  if (!isStrings(value)) return `${name} is not a list of strings`
  const rights: Right[] = []
  for (const word of value) {
    const right = words.get(word)
    if (right === undefined) return `${name} has ${quote(word)}: a right is ${[...words.keys()].join(', ')}`
    rights.push(right)
  }
  return rights
}

export function isStrings(value: unknown): value is string[] {
  return Array.isArray(value) && value.every(item => typeof item === 'string')
}
