// Decides whether an identity has a right on a channel. A pure function, which every entry point uses.

import { attendedIn } from '../event/names.ts'
import { UPDATES } from '../event/update.ts'
import { quote } from '../../errors.ts'
import { userMatches } from '../rules/match.ts'
import type { Hook, Rule, Rules } from '../rules/rules.ts'
import type { Filter } from '../event/filter.ts'
import {
  findGrant,
  findWholeGrant,
  type Grant,
  grantedFilter,
  type Grants,
  type Right,
  rightsOf,
} from './grants.ts'
import { type Identity, isStranger } from './identity.ts'

const OWN_PREFIX = 'fanwire:'

/** The cause of a decision. */
type Cause =
  | 'open'
  | 'key'
  | 'anyone'
  | 'user'
  | 'token'
  | 'hook'
  | 'by-topic'
  | 'no-key-grant'
  | 'admin-needs-key'
  | 'publish-needs-key'
  | 'own-channel'
  | 'other-user'
  | 'no-presence'
  | 'not-granted'
  | 'not-asked'

const ALLOWING: ReadonlySet<Cause> = new Set<Cause>([
  'open',
  'key',
  'anyone',
  'user',
  'token',
  'hook',
  'by-topic',
])

/** Yes, or why not. Texts are built only when they are needed. */
export class Decision {
  readonly allowed: boolean
  readonly right: Right
  /** Undefined for the whole node. */
  readonly channel: string | undefined
  private readonly identity: Identity
  private readonly cause: Cause
  /** The rule of the channel; undefined if none was consulted. */
  readonly rule: Rule | undefined
  /** The grant that decided, if one did. */
  readonly grant: Grant | undefined
  /** If it is denied, the hook that may still allow it. */
  readonly hook: Hook | undefined

  constructor(
    cause: Cause,
    identity: Identity,
    right: Right,
    channel: string | undefined,
    rule?: Rule,
    grant?: Grant,
    hook?: Hook,
  ) {
    this.allowed = ALLOWING.has(cause)
    this.right = right
    this.channel = channel
    this.identity = identity
    this.cause = cause
    this.rule = rule
    this.grant = grant
    this.hook = hook
  }

  /** Restricts the channel's events; undefined for all events. Other grants of the same source may allow more. */
  get filter(): Filter | undefined {
    const { cause, channel, grant, identity, right } = this
    if (grant?.filter === undefined || channel === undefined || right === 'presence') return undefined
    return cause === 'key' || cause === 'token' || cause === 'hook'
      ? grantedFilter(identity.grants, cause, right, channel)
      : undefined
  }

  /** If it is denied: `authenticate` (401) without credentials, otherwise `insufficient_scope` (403, RFC 6750). */
  get challenge(): 'authenticate' | 'insufficient_scope' {
    return isStranger(this.identity) ? 'authenticate' : 'insufficient_scope'
  }

  /** If it is denied, the missing right, for the client. It reveals neither the rules nor whether a channel exists. */
  get why(): string {
    const needed = `the right ${this.right} on ${this.place}`
    return isStranger(this.identity)
      ? `${needed} needs a token or a key`
      : `the ${CREDENTIAL[this.identity.kind]} lacks ${needed}`
  }

  /** The rule, claim or key that decided, in words, for the operator. */
  get explanation(): string {
    const { rule } = this
    return rule === undefined ? this.reason : `${ruleName(rule)}: ${this.reason}`
  }

  private get place(): string {
    return this.channel === undefined ? 'the node' : `channel ${quote(this.channel, 200)}`
  }

  private get reason(): string {
    const { identity, right, rule, grant } = this
    const words = right === 'publish' ? rule?.publish : rule?.subscribe
    const says = `${right === 'publish' ? 'publish' : 'subscribe'} is ${words?.join(', ')}`
    switch (this.cause) {
      case 'open':
        return 'there is no rules file, and on loopback everybody may do this'
      case 'key':
      case 'token':
      case 'hook':
        return grant === undefined ? says : `${grant.origin} grants ${right} on ${grant.channels.join(', ')}`
      case 'anyone':
        return says
      case 'user':
        return `${says}, and the user is ${quote(identity.user)}`
      case 'no-key-grant':
        return `key ${identity.key} does not grant ${right} on ${this.place}; ${granted(identity.grants)}`
      case 'admin-needs-key':
        return 'admin is a right of API keys only'
      case 'publish-needs-key':
        return 'there is no rules file, and publishing needs an API key'
      case 'by-topic':
        return 'a reader of updates receives only those whose topics it may read'
      case 'own-channel':
        return `channels that begin with ${OWN_PREFIX} are reserved for the node`
      case 'other-user':
        return `{user} is not the user ${quote(identity.user)} in ${this.place}`
      case 'no-presence':
        return `${says}, and the channel keeps no presence`
      case 'not-asked':
        return `${says}, and the application decides: the hook is ${this.hook && placeOf(this.hook)}`
      case 'not-granted':
        return `${says}; the user is ${quote(identity.user)}; ${granted(identity.grants)}`
    }
  }
}

const CREDENTIAL = { key: 'key', token: 'token', hook: 'session', anonymous: 'request' } as const

function ruleName({ match, line }: Rule): string {
  if (line > 0) return `rule ${quote(match)} (line ${line})`
  return match === 'default' ? 'the default rule' : `rule ${quote(match)}`
}

/** A hook's URL without the query, which may contain a secret. */
export function placeOf({ url }: Pick<Hook, 'url'>): string {
  const { origin, pathname } = new URL(url)
  return origin + pathname
}

function granted(all: readonly Grants[]): string {
  const list = all.flatMap(grants => grants.list)
  if (list.length === 0) return 'it has no grants'
  return `its grants are ${list
    .map(grant => `${rightsOf(grant).join(', ')} on ${grant.channels.join(', ')} (${grant.origin})`)
    .join('; ')}`
}

/**
 * Whether an identity has a right on a channel with a valid name, or, if `channel` is undefined, on the whole node.
 *
 * - API keys have the rights of their grants, independently of the rules. Only they can have `admin`.
 * - Other identities are judged by the channel's rule. If it says `anyone` or `user`, clients that may subscribe may also
 *   read history, and presence if the rule keeps it or a Pusher signature grants it. If it says `token` or `hook`, each right must be granted.
 * - Only Mercure's reader can open the log of updates, which it filters by topics. Clients can't name that log.
 * - Reading the node's own channels requires the right `presence` on the channel that they report on, or `admin`.
 */
export function may(identity: Identity, right: Right, channel: string | undefined, rules: Rules): Decision {
  if (right === 'admin' || channel === undefined) return mayAdmin(identity, right, channel, rules)
  if (channel.startsWith(OWN_PREFIX)) return mayReadOwn(identity, right, channel, rules)
  if (rules.open !== undefined && (rules.open === 'all' || right !== 'publish')) {
    return new Decision('open', identity, right, channel)
  }
  if (identity.kind === 'key') {
    const grant = findGrant(identity.grants, 'key', right, channel)
    return byKey(identity, right, channel, grant)
  }
  if (rules.open !== undefined) return new Decision('publish-needs-key', identity, right, channel)
  return mayByRule(identity, right, channel, rules)
}

function byKey(
  identity: Identity,
  right: Right,
  channel: string | undefined,
  grant: Grant | undefined,
): Decision {
  const cause = grant === undefined ? 'no-key-grant' : 'key'
  return new Decision(cause, identity, right, channel, undefined, grant)
}

function mayAdmin(identity: Identity, right: Right, channel: string | undefined, { open }: Rules): Decision {
  if (open === 'all') return new Decision('open', identity, right, channel)
  if (identity.kind !== 'key') return new Decision('admin-needs-key', identity, right, channel)
  const grant =
    channel === undefined
      ? findWholeGrant(identity.grants, 'key', right)
      : findGrant(identity.grants, 'key', right, channel)
  return byKey(identity, right, channel, grant)
}

function mayReadOwn(identity: Identity, right: Right, channel: string, rules: Rules): Decision {
  if (right !== 'subscribe' && right !== 'history')
    return new Decision('own-channel', identity, right, channel)
  if (channel === UPDATES) return new Decision('by-topic', identity, right, channel)
  const attended = attendedIn(channel)
  return attended === undefined
    ? may(identity, 'admin', undefined, rules)
    : may(identity, 'presence', attended, rules)
}

function mayByRule(identity: Identity, right: Right, channel: string, rules: Rules): Decision {
  const rule = rules.of(channel)
  if (!userMatches(rule.userSegments, channel, identity.user)) {
    return new Decision('other-user', identity, right, channel, rule)
  }
  const words: readonly string[] = right === 'publish' ? rule.publish : rule.subscribe
  let kept: 'no-presence' | undefined
  for (const word of words) {
    if (word === 'anyone' || (word === 'user' && identity.user !== '')) {
      if (right !== 'presence' || rule.presence) return new Decision(word, identity, right, channel, rule)
      // Nodes keep the members of Pusher's presence channels whatever the rule says.
      const grant = findGrant(identity.grants, 'token', right, channel)
      if (grant?.signature === true) return new Decision('token', identity, right, channel, rule, grant)
      kept = 'no-presence'
    } else if (word === 'token' || word === 'hook') {
      const grant = findGrant(identity.grants, word, right, channel)
      if (grant !== undefined) return new Decision(word, identity, right, channel, rule, grant)
    }
  }
  const hook = words.includes('hook') ? hookFor(right, rule, rules) : undefined
  if (hook !== undefined) return new Decision('not-asked', identity, right, channel, rule, undefined, hook)
  return new Decision(kept ?? 'not-granted', identity, right, channel, rule)
}

function hookFor(right: Right, { hook }: Rule, { hooks }: Rules): Hook | undefined {
  return hook ?? (right === 'publish' ? hooks.publish : hooks.subscribe)
}
