// Mercure's grants in tokens: the claim `mercure` of 0.x, and `authorization_details` of 1.0 (RFC 9396).

import { type MatchType, topicMatcher, type TopicMatcher } from '../event/topics.ts'
import { isObject } from '../event/json-values.ts'
import { FanwireError } from '../../errors.ts'
import { type Claims, refused, type Refused } from './claims.ts'
import { type Grant, grant, type Grants, type Right } from './grants.ts'

const DETAIL = 'https://mercure.rocks/authorization-detail'
const NAMESPACED = 'https://mercure.rocks/'
/** The maximum number of details in a token, and of topics in a list. */
const MOST = 100
const RIGHTS: Readonly<Record<string, readonly Right[]>> = {
  publish: ['publish'],
  subscribe: ['subscribe', 'history'],
}
const PATTERNS: ReadonlySet<unknown> = new Set(['exact', 'urlpattern'])

/** A claim is malformed. */
class BadClaim extends Error {}

/** Mercure's claims; undefined if a token has none of them. */
export function topicClaimsOf(claims: Claims): unknown {
  const {
    mercure,
    [NAMESPACED]: namespaced,
    authorization_details: details,
    exp,
  } = claims as Claims & {
    readonly [NAMESPACED]?: unknown
  }
  const said = mercure ?? namespaced
  return said === undefined && details === undefined ? undefined : [said, details, exp !== undefined]
}

/** The grants of these claims, or their fault, for which the token is rejected. */
export function topicGrants(said: unknown): Grants | Refused {
  const [mercure, details, expires] = said as [unknown, unknown, boolean]
  try {
    return { source: 'token', list: [...grantsOfClaim(mercure), ...grantsOfDetails(details, expires)] }
  } catch (error) {
    if (error instanceof BadClaim) return refused('claims', error.message)
    throw error
  }
}

function grantsOfClaim(claim: unknown): Grant[] {
  if (claim === undefined || claim === null) return []
  if (!isObject(claim)) throw new BadClaim('mercure is not an object')
  const { publish, subscribe, payload } = claim
  const of = (action: string, list: unknown, more: Partial<Grant> = {}) =>
    list === undefined || list === null
      ? []
      : [topicsGrant(`mercure.${action}`, action, list, 'template', more)]
  const listed = of('subscribe', subscribe, { payload, olderForm: true })
  // The payload applies to everything that the connection follows, independently of the grants.
  const shown =
    listed.length === 0 && payload !== undefined ? of('subscribe', [], { payload, olderForm: true }) : []
  return [...of('publish', publish, { olderForm: true }), ...listed, ...shown]
}

function grantsOfDetails(details: unknown, expires: boolean): Grant[] {
  if (details === undefined) return []
  if (!Array.isArray(details)) throw new BadClaim('authorization_details is not a list')
  if (details.length > MOST) throw new BadClaim(`authorization_details has more than ${MOST} entries`)
  const own = details.filter(isObject).filter(({ type }) => type === DETAIL)
  if (own.length > 0 && !expires) throw new BadClaim('a token with authorization_details needs exp')
  return own.flatMap((detail, i) => grantsOfDetail(`authorization_details[${i}]`, detail))
}

function grantsOfDetail(name: string, detail: Readonly<Record<string, unknown>>): Grant[] {
  const { actions, topics, payload } = detail
  if (!Array.isArray(actions) || actions.length === 0 || !actions.every(action => typeof action === 'string'))
    throw new BadClaim(`${name}.actions is not a list of texts`)
  if (!Array.isArray(topics) || topics.length === 0)
    throw new BadClaim(`${name}.topics is not a list of topics`)
  if (payload !== undefined && !isObject(payload)) throw new BadClaim(`${name}.payload is not an object`)
  return ['publish', 'subscribe']
    .filter(action => actions.includes(action))
    .map(action =>
      topicsGrant(`${name}.${action}`, action, topics, undefined, action === 'subscribe' ? { payload } : {}),
    )
}

/** `text` is the match type of topics that are plain texts; undefined if these are not allowed. */
function topicsGrant(
  name: string,
  action: string,
  list: unknown,
  text: MatchType | undefined,
  more: Partial<Grant>,
): Grant {
  if (!Array.isArray(list)) throw new BadClaim(`${name} is not a list of topics`)
  if (list.length > MOST) throw new BadClaim(`${name} has more than ${MOST} topics`)
  const topics = list.map((entry, i) => matcherIn(`${name}[${i}]`, entry, text))
  // The grant is for explanations: `topics` do the matching.
  return { ...grant(name, [], RIGHTS[action] as readonly Right[]), topics, ...more }
}

function matcherIn(name: string, entry: unknown, text: MatchType | undefined): TopicMatcher {
  if (typeof entry === 'string' && text !== undefined) return checked(name, text, entry)
  if (!isObject(entry)) throw new BadClaim(`${name} is not an object with match`)
  const { match, match_type: type = 'exact' } = entry
  if (!PATTERNS.has(type)) throw new BadClaim(`${name}.match_type is neither exact nor urlpattern`)
  return checked(name, type as MatchType, match)
}

function checked(name: string, type: MatchType, text: unknown): TopicMatcher {
  try {
    return topicMatcher(type, text)
  } catch (error) {
    if (error instanceof FanwireError) throw new BadClaim(`${name}: ${error.message}`)
    throw error
  }
}
