// Permissions on this node: its keys, its tokens and its rules, reloaded when their files change.

import { EventEmitter } from 'node:events'
import { FanwireError } from '../../errors.ts'
import { BadFileError, problemLine } from '../files/bad-file.ts'
import { allOf, type Filter } from '../event/filter.ts'
import type { Retention, RetentionOf } from '../log/log.ts'
import type { Logger } from '../logger.ts'
import type { RulesFile } from '../rules/file.ts'
import { CLOSED_RULES, openRules } from '../rules/make.ts'
import { type LifeKind, covers } from '../rules/life-kinds.ts'
import type { Hooks, Rule, Rules, Webhook } from '../rules/rules.ts'
import { type WatchedFile, watchFile } from '../files/watched-file.ts'
import type { App } from './apps.ts'
import { type ApiKeyEntry, type ApiKeys, createApiKeys, parseKeysFile } from './api-keys.ts'
import type { Asking } from './asking.ts'
import type { ChannelTokenTerms, GrantSource, Right } from './grants.ts'
import { ANONYMOUS, type Identity, isStranger, withChannelTokens } from './identity.ts'
import type { TokenKeys } from './jwks.ts'
import type { JwksUrl } from './jwks-url.ts'
import { type Decision, may } from './may.ts'
import { createRevocations } from './revocation.ts'
import type { Accepted, KeySource, Refused, Soon, Takes, TokenResult, Tokens } from './tokens.ts'

export interface AccessOptions {
  readonly publishKeys: readonly string[]
  readonly keysFile: string | undefined
  readonly jwtKeysFile: string | undefined
  readonly jwksUrl: string | undefined
  readonly jwtAudience: readonly string[]
  readonly jwtIssuer: string | undefined
  readonly rulesFile: string | undefined
  /** The file with the apps of Pusher's protocol. */
  readonly pusherApps: string | undefined
  /** Whether tokens may have Mercure's claims. */
  readonly mercure?: boolean
  /** Whether, without a rules file, everybody may read, and publish if there are no API keys. */
  readonly open: boolean
  /** The retention of channels whose rule sets none. */
  readonly retention: Retention
  readonly logger: Logger
  /** Calls back on SIGHUP; returns a function that stops it. */
  hangUp?(listener: () => void): () => void
}

/** The result for a credential, counted in metrics. */
export type Outcome =
  | 'accepted'
  | 'unknown_key'
  | 'expired_key'
  | `${'malformed' | 'unknown' | 'expired' | 'used'}_ticket`
  | Refused['reason']

/** The owner of a credential. */
export interface Presented {
  readonly identity: Identity
  /** The claims of its token, if it was one, which a ticket keeps. */
  readonly claims?: Accepted['claims']
}

interface AccessEvents {
  /** Rules or keys changed: all connections' rights have to be checked again. */
  rules: []
  /** Earlier tokens of this user are rejected from now on. */
  revoked: [user: string]
  /** Keys or rules could not be read, and the previous ones stay in force. */
  refused: []
}

/** The message for credentials that ended during a request. */
export const LAPSED = 'the credentials have expired or were revoked'

/** Why something is no longer valid. */
export type Lapse = 'expired' | 'revoked'

/** A channel token, or the application's response about a channel, that is no longer valid. */
export interface LapsedGrant {
  readonly source: GrantSource
  readonly lapse: Lapse
}

/** The number of refusals because a right was missing, for metrics. */
export interface Refusal {
  readonly code: 'FW_UNAUTHORIZED' | 'FW_FORBIDDEN'
  readonly right: Right
  count: number
}

/** Credentials are not accepted. The message contains no secrets. */
export class CredentialsRefused extends FanwireError {
  readonly outcome: Outcome

  constructor(message: string, outcome: Outcome) {
    super('FW_UNAUTHORIZED', message, { challenge: 'invalid_token' })
    this.outcome = outcome
  }
}

/** An identity lacks a right. 401 if the request had no credentials, otherwise 403. */
export class NotAllowed extends FanwireError {
  readonly right: Right

  constructor({ challenge, why, right }: Decision) {
    if (challenge === 'authenticate') super('FW_UNAUTHORIZED', why, { challenge: undefined })
    else super('FW_FORBIDDEN', why, { challenge })
    this.right = right
  }
}

/** A file that a setting names can't be used. */
export class AccessRefused extends Error {
  override readonly name = 'AccessRefused'
}

function refuse(setting: string, path: string): (error: unknown) => never {
  return error => {
    if (!(error instanceof BadFileError)) throw error
    const lines = error.problems.map(problem => problemLine(problem, path))
    throw new AccessRefused(`${setting} cannot be used:\n${lines.join('\n')}`)
  }
}

const NO_WEBHOOKS: readonly Webhook[] = []

/** The actions that a rule leaves to the application, although the rules file has no hook for them. */
function withoutHook({ subscribe, publish, hook }: Rule, hooks: Hooks): string[] {
  const ignored: string[] = []
  // Grants from connect also count as granted by a hook.
  const any = hook ?? hooks.connect
  if (subscribe.includes('hook') && (any ?? hooks.subscribe) === undefined) ignored.push('subscribe: hook')
  if (publish.includes('hook') && (any ?? hooks.publish) === undefined) ignored.push('publish: hook')
  return ignored
}

/** When a client tries again whose token cannot be verified, since its keys were never read; ms. */
const KEYS_AGAIN_MS = 2000

/** The maximum number of rules that are logged one by one. */
const MOST_WARNINGS = 10

/** A file of token keys, as a KeySource. */
class FileKeys implements KeySource {
  readonly known = true
  readonly #file: WatchedFile<TokenKeys>

  constructor(file: WatchedFile<TokenKeys>) {
    this.#file = file
  }

  get keys(): TokenKeys {
    return this.#file.current
  }

  async refresh(): Promise<boolean> {
    return false
  }
}

export class Access extends EventEmitter<AccessEvents> {
  /** The count of each outcome, for metrics. */
  readonly outcomes = new Map<Outcome, number>()
  readonly #refusals = new Map<string, Refusal>()
  readonly revocations = createRevocations()
  /** Sends requests to the application; undefined while no rule needs it. */
  asking: Asking | undefined

  readonly #options: AccessOptions
  #rulesFile: RulesFile | undefined
  #keysFile: WatchedFile<ApiKeyEntry[]> | undefined
  #tokenKeysFile: WatchedFile<TokenKeys> | undefined
  #appsFile: WatchedFile<App[]> | undefined
  #jwks: JwksUrl | undefined
  #keys: ApiKeys
  #tokens: Tokens | undefined
  #withoutFile: Rules
  readonly #retentions = new WeakMap<Rule, Retention>()

  private constructor(options: AccessOptions) {
    super()
    this.#options = options
    this.#keys = createApiKeys([], options.publishKeys)
    this.#withoutFile = CLOSED_RULES
  }

  /** Reads the files. Raises AccessRefused if one can't be used. */
  static async open(options: AccessOptions): Promise<Access> {
    const access = new Access(options)
    try {
      await access.#open()
    } catch (error) {
      access.close()
      throw error
    }
    return access
  }

  /** Loads the libraries for YAML and tokens only if they are needed, so that other nodes start faster. */
  async #open(): Promise<void> {
    const { rulesFile, keysFile, jwtKeysFile, jwksUrl, jwtAudience, jwtIssuer, pusherApps, logger, hangUp } =
      this.#options
    if (rulesFile !== undefined) {
      const { openRulesFile } = await import('../rules/file.ts')
      const opened = openRulesFile(rulesFile, hangUp === undefined ? {} : { hangUp })
      this.#rulesFile = await opened.catch(refuse('FANWIRE_RULES', rulesFile))
      this.#follow(this.#rulesFile, 'FANWIRE_RULES', () => {
        this.#warn()
        this.emit('rules')
      })
      this.#warn()
    }
    if (keysFile !== undefined) {
      const opened = watchFile({ path: keysFile, parse: parseKeysFile })
      this.#keysFile = await opened.catch(refuse('FANWIRE_KEYS_FILE', keysFile))
      this.#follow(this.#keysFile, 'FANWIRE_KEYS_FILE', () => this.#readKeys())
    }
    if (pusherApps !== undefined) {
      const { parseApps } = await import('./apps.ts')
      const opened = watchFile({ path: pusherApps, parse: parseApps })
      this.#appsFile = await opened.catch(refuse('FANWIRE_PUSHER_APPS', pusherApps))
      this.#follow(this.#appsFile, 'FANWIRE_PUSHER_APPS', () => this.emit('rules'))
    }
    if (jwtKeysFile !== undefined) {
      const { parseJwks } = await import('./jwks.ts')
      const opened = watchFile({ path: jwtKeysFile, parse: text => parseJwks(text) })
      this.#tokenKeysFile = await opened.catch(refuse('FANWIRE_JWT_KEYS_FILE', jwtKeysFile))
      this.#follow(this.#tokenKeysFile, 'FANWIRE_JWT_KEYS_FILE', () => this.emit('rules'))
      this.#tokens = await this.#createTokens(new FileKeys(this.#tokenKeysFile))
    } else if (jwksUrl !== undefined) {
      const { createJwksUrl } = await import('./jwks-url.ts')
      this.#jwks = createJwksUrl({
        url: jwksUrl,
        audiences: jwtAudience,
        ...(jwtIssuer === undefined ? {} : { issuer: jwtIssuer }),
        onChange: () => this.emit('rules'),
        onFailure: reason => logger.warn({ reason }, 'the keys of FANWIRE_JWKS_URL could not be read'),
      })
      this.#tokens = await this.#createTokens(this.#jwks)
      await this.#jwks.refresh()
    }
    this.#readKeys()
  }

  /** Logs the rules that allow nobody, since their hook is missing. */
  #warn(): void {
    const { list, default: others, hooks } = this.rules
    const { logger } = this.#options
    let found = 0
    for (const rule of [...list, others]) {
      const ignored = withoutHook(rule, hooks)
      if (ignored.length === 0 || ++found > MOST_WARNINGS) continue
      const about = { rule: rule.match, line: rule.line, ignored }
      logger.warn(about, 'a rule names a hook that the file does not define: nobody is let in')
    }
    if (found > MOST_WARNINGS)
      logger.warn({ rules: found - MOST_WARNINGS }, 'more rules name a hook that the file does not define')
  }

  async #createTokens(source: KeySource): Promise<Tokens> {
    const { createTokens } = await import('./tokens.ts')
    return createTokens({
      source,
      revoked: (user, issuedAt) => this.revocations.isRevoked(user, issuedAt),
      topics: this.#options.mercure === true ? await import('./topic-grants.ts') : undefined,
    })
  }

  #follow<T>(file: WatchedFile<T>, setting: string, changed: () => void): void {
    const { logger } = this.#options
    file.on('changed', () => {
      logger.info({ setting }, `the file of ${setting} was reloaded`)
      changed()
    })
    file.on('refused', error => {
      logger.warn(
        { setting, reason: error.message },
        `the file of ${setting} cannot be used: its previous content stays in force`,
      )
      this.emit('refused')
    })
  }

  #readKeys(): void {
    const { publishKeys, open } = this.#options
    const entries = this.#keysFile?.current ?? []
    this.#keys = createApiKeys(entries, publishKeys)
    this.#withoutFile = open ? openRules({ keys: this.#keys.size > 0 }) : CLOSED_RULES
    // Connections whose key was removed or changed are checked again.
    this.emit('rules')
  }

  /** The rules in force. */
  get rules(): Rules {
    return this.#rulesFile?.current ?? this.#withoutFile
  }

  /** The apps of Pusher's protocol; undefined if the protocol is off. */
  get apps(): readonly App[] | undefined {
    return this.#appsFile?.current
  }

  /** Whether the log of lives records events of that kind. */
  recordsLives(kind: LifeKind): boolean {
    return covers(this.rules.lives, kind) || this.#appWebhooks.some(({ events }) => covers(events, kind))
  }

  /** The hooks of the rules and of the apps. */
  get webhooks(): readonly Webhook[] {
    const ofApps = this.#appWebhooks
    return ofApps.length === 0 ? this.rules.webhooks : [...this.rules.webhooks, ...ofApps]
  }

  get #appWebhooks(): readonly Webhook[] {
    return this.apps?.flatMap(({ webhooks }) => webhooks) ?? NO_WEBHOOKS
  }

  /** Whether the node keeps a channel's members: by its rule, or as Pusher's protocol requires. */
  keepsPresence(channel: string): boolean {
    return this.rules.of(channel).presence || (this.apps !== undefined && this.#appsKeep(channel))
  }

  #appsKeep(channel: string): boolean {
    return (
      channel.startsWith('presence-') ||
      this.#appWebhooks.some(
        ({ events }) => covers(events, 'channel.occupied') || covers(events, 'channel.vacated'),
      )
    )
  }

  /** Whether everybody may do everything, so that clients cannot lose a right. */
  get isOpen(): boolean {
    const { open } = this.rules
    return this.#rulesFile === undefined && open === 'all' && !this.#tokens && !this.#appsFile
  }

  /** The settings whose file can't be used in its current state, and why. */
  get problems(): { readonly setting: string; readonly problem: string }[] {
    const files = {
      FANWIRE_RULES: this.#rulesFile,
      FANWIRE_KEYS_FILE: this.#keysFile,
      FANWIRE_JWT_KEYS_FILE: this.#tokenKeysFile,
      FANWIRE_PUSHER_APPS: this.#appsFile,
    }
    return Object.entries(files).flatMap(([setting, file]) =>
      file?.problem === undefined ? [] : [{ setting, problem: file.problem.message }],
    )
  }

  may(identity: Identity, right: Right, channel?: string): Decision {
    return may(identity, right, channel, this.rules)
  }

  /** The filter of an identity that may follow a channel, and read its history if it `looksBack`; undefined: all events. */
  filterOf(identity: Identity, channel: string, looksBack: boolean): Filter | undefined {
    const { filter } = this.may(identity, 'subscribe', channel)
    return looksBack ? allOf([filter, this.may(identity, 'history', channel).filter]) : filter
  }

  /** Requires a right. Raises NotAllowed. */
  require(identity: Identity, right: Right, channel?: string): void {
    const decision = may(identity, right, channel, this.rules)
    if (decision.allowed) return
    this.#countRefusal(decision)
    throw new NotAllowed(decision)
  }

  /** Checks that the channel keeps members and that the identity may see them. Raises NotAllowed, FW_NO_PRESENCE. */
  requireMembers(identity: Identity, channel: string): void {
    this.require(identity, 'presence', channel)
    if (this.rules.of(channel).presence) return
    throw new FanwireError(
      'FW_NO_PRESENCE',
      'this channel keeps no members: its rule has to say presence: true',
    )
  }

  #countRefusal({ challenge, right }: Pick<Decision, 'challenge' | 'right'>): void {
    const code = challenge === 'authenticate' ? 'FW_UNAUTHORIZED' : 'FW_FORBIDDEN'
    const name = `${code} ${right}`
    const counted = this.#refusals.get(name) ?? { code, right, count: 0 }
    counted.count++
    this.#refusals.set(name, counted)
  }

  /** The counts of refused requests and commands, for metrics. */
  get refusals(): Iterable<Readonly<Refusal>> {
    return this.#refusals.values()
  }

  // Credentials -----------------------------------------------------------------------------------------------

  /** The owner of a key or a token. Returns a promise only if token keys are fetched. Raises CredentialsRefused, FW_NOT_READY. */
  bearer(text: string): Soon<Presented> {
    if (this.asksNobody) return { identity: ANONYMOUS }
    // A key rarely looks like a token. A text that is neither is reported as a token.
    const token = text.includes('.') ? this.#tokens?.authenticate(text) : undefined
    return token instanceof Promise
      ? token.then(found => this.#presented(text, found))
      : this.#presented(text, token)
  }

  #presented(text: string, token: TokenResult | undefined): Presented {
    const shown = token?.ok === true ? token : this.#keys.find(text)
    if (shown.ok) {
      this.#count('accepted')
      return shown
    }
    if (shown.reason === 'expired') throw this.#refuse('expired_key', 'the key has expired')
    if (token !== undefined && !token.ok) throw this.#refuse(token.reason, token.message)
    throw this.#refuse('unknown_key', 'missing or invalid key: this node does not know it')
  }

  /** Verifies a connection's token. Raises CredentialsRefused, FW_NOT_READY. */
  async token(text: string, takes?: Takes): Promise<Accepted> {
    if (this.#tokens === undefined) throw this.#refuse('unknown_key', 'this node accepts no tokens')
    const result = await this.#tokens.authenticate(text, Date.now, takes)
    if (!result.ok) throw this.#refuse(result.reason, result.message)
    this.#count('accepted')
    return result
  }

  /** The identity of a client that sends its credentials in a message. Raises CredentialsRefused, FW_NOT_READY. */
  async credentials({ token, key }: { readonly token?: string; readonly key?: string }): Promise<Identity> {
    if (token === undefined) return (await this.bearer(key ?? '')).identity
    return this.asksNobody ? ANONYMOUS : (await this.token(token)).identity
  }

  /** Whether there are token keys. */
  get takesTokens(): boolean {
    return this.#tokens !== undefined
  }

  /** Whether the node has no keys at all: then it is on loopback, and allows everybody. */
  get asksNobody(): boolean {
    return this.#keys.size === 0 && this.#tokens === undefined && this.rules.open === 'all'
  }

  /** Adds the grants of a channel token to the identity. Raises CredentialsRefused, FW_NOT_READY. */
  async withChannelToken(identity: Identity, text: string): Promise<Identity> {
    if (this.asksNobody) return identity
    if (this.#tokens === undefined) throw this.#refuse('unknown_key', 'this node accepts no tokens')
    const granted = await this.#tokens.authenticateChannel(text, identity.user)
    if (!granted.ok) throw this.#refuse(granted.reason, granted.message)
    this.#count('accepted')
    return withChannelTokens(identity, [granted.grants])
  }

  /** The identity of a ticket's claims, which were verified before. Raises CredentialsRefused, FW_NOT_READY. */
  accept(claims: Accepted['claims']): Accepted {
    const result = this.#tokens?.accept(claims)
    if (result?.ok) return result
    throw this.#refuse(result?.reason ?? 'unknown_key', result?.message ?? 'this node accepts no tokens')
  }

  /** The error for a rejected ticket. It does not reveal the reason to the client. */
  refuseTicket(outcome: 'malformed' | 'unknown' | 'expired' | 'used'): FanwireError {
    return this.#refuse(`${outcome}_ticket`, 'the ticket is unknown, used or expired: get another one')
  }

  /** Rejects the user's tokens that were issued before that time, ms, from now on. See Revocations.revoke. */
  revoke(user: string, before: number, until?: number): void {
    this.revocations.revoke(user, before, until)
    this.emit('revoked', user)
  }

  /**
   * Whether an identity's credentials are no longer valid: its key was removed or changed, or its token was revoked or
   * that token's key removed.
   */
  isRevoked(identity: Identity): boolean {
    const { kind, signer } = identity
    // The servers of a Pusher app have no entry in the list of keys.
    if (kind === 'key') return signer !== undefined && !this.#keys.has(signer)
    return (kind === 'token' || kind === 'hook') && this.#isTokenRevoked(identity)
  }

  /** Whether an identity's credentials and all its channel tokens are valid. `now`: ms. */
  isCurrent(identity: Identity, now = Date.now()): boolean {
    const { connectionEndsAt = Infinity } = identity
    if (connectionEndsAt * 1000 <= now || this.isRevoked(identity)) return false
    return identity.grants.every(
      ({ channelToken }) =>
        channelToken === undefined || this.#lapseOf(identity.user, channelToken, now) === undefined,
    )
  }

  /** Raises FW_UNAUTHORIZED if an identity that was accepted before is no longer valid. */
  requireCurrent(identity: Identity): void {
    if (this.isCurrent(identity)) return
    throw new FanwireError('FW_UNAUTHORIZED', LAPSED, { challenge: 'invalid_token' })
  }

  #isTokenRevoked({ user, issuedAt, signer }: Pick<Identity, 'user' | 'issuedAt' | 'signer'>): boolean {
    const unsigned = signer !== undefined && this.#tokens?.knows(signer) === false
    return unsigned || this.revocations.isRevoked(user, issuedAt)
  }

  /** The identity without its channel tokens that are no longer valid, and the last of those. */
  withoutLapsed(identity: Identity, now: number): { identity: Identity; lapsed?: LapsedGrant } {
    let lapsed: LapsedGrant | undefined
    const grants = identity.grants.filter(({ source, channelToken }) => {
      const lapse = channelToken && this.#lapseOf(identity.user, channelToken, now)
      if (lapse !== undefined) lapsed = { source, lapse }
      return lapse === undefined
    })
    return lapsed === undefined ? { identity } : { identity: { ...identity, grants }, lapsed }
  }

  #lapseOf(user: string, terms: ChannelTokenTerms, now: number): Lapse | undefined {
    if (terms.endsAt !== undefined && terms.endsAt <= now) return 'expired'
    return this.#isTokenRevoked({ user, ...terms }) ? 'revoked' : undefined
  }

  #refuse(outcome: Outcome, message: string): FanwireError {
    this.#count(outcome)
    // The token may be valid.
    if (outcome === 'keys_away') return new FanwireError('FW_NOT_READY', message, { retry: KEYS_AGAIN_MS })
    return new CredentialsRefused(message, outcome)
  }

  #count(outcome: Outcome): void {
    this.outcomes.set(outcome, (this.outcomes.get(outcome) ?? 0) + 1)
  }

  /** Whether an identity may publish to any channel. Otherwise the node need not read the request body. */
  mightPublish(identity: Identity): boolean {
    return !isStranger(identity) || this.rules.letAnyonePublish
  }

  /** Raises FW_UNAUTHORIZED unless the identity may publish to some channel. `how` says how to authenticate. */
  requirePublisher(identity: Identity, how: string): void {
    if (this.mightPublish(identity)) return
    this.#countRefusal({ challenge: 'authenticate', right: 'publish' })
    throw new FanwireError('FW_UNAUTHORIZED', `publishing needs a token or a key: ${how}`)
  }

  // Rules of a channel ----------------------------------------------------------------------------------------

  /** A channel's retention: its rule's history, completed by the settings. */
  readonly retentionOf: RetentionOf = channel => {
    const rule = this.ruleOf(channel)
    let retention = this.#retentions.get(rule)
    if (retention === undefined) {
      retention = { ...this.#options.retention, ...rule.history }
      this.#retentions.set(rule, retention)
    }
    return retention
  }

  /** The rule that applies to a channel. */
  ruleOf(channel: string): Rule {
    const { list, default: others } = this.rules
    return list.length === 0 ? others : this.rules.of(channel)
  }

  close(): void {
    this.#rulesFile?.close()
    this.#keysFile?.close()
    this.#tokenKeysFile?.close()
    this.#appsFile?.close()
    this.#jwks?.close()
    this.removeAllListeners()
  }
}
