// Who may do what on this node: its keys, its tokens and its rules, read again when their files change.

import { EventEmitter } from 'node:events'
import { FanwireError } from '../../errors.ts'
import { BadFileError, problemLine } from '../files/bad-file.ts'
import { allOf, type Filter } from '../event/filter.ts'
import type { Retention, RetentionOf } from '../log/log.ts'
import type { Logger } from '../logger.ts'
import type { RulesFile } from '../rules/file.ts'
import { CLOSED_RULES, openRules } from '../rules/make.ts'
import { type LifeKind, tells } from '../rules/life-kinds.ts'
import type { Hooks, Rule, Rules, Webhook } from '../rules/rules.ts'
import { type WatchedFile, watchFile } from '../files/watched-file.ts'
import type { App } from './apps.ts'
import { type ApiKeyEntry, type ApiKeys, createApiKeys, parseKeysFile, publishKeyId } from './api-keys.ts'
import type { Asking } from './asking.ts'
import type { ChannelTokenTerms, Right } from './grants.ts'
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
  /** Apps of Pusher's protocol. */
  readonly pusherApps: string | undefined
  /** Tokens may grant in the words of Mercure. */
  readonly mercure?: boolean
  /** Without a rules file: everybody may read, and publish where there are no API keys. */
  readonly open: boolean
  /** Of channels whose rule names none. */
  readonly retention: Retention
  readonly logger: Logger
  /** Calls back on SIGHUP; returns what ends that. */
  hangUp?(listener: () => void): () => void
}

/** What decides on a credential; counted for metrics. */
export type Outcome =
  | 'accepted'
  | 'unknown_key'
  | 'expired_key'
  | `${'malformed' | 'unknown' | 'expired' | 'used'}_ticket`
  | Refused['reason']

/** Who presented a credential. */
export interface Presented {
  readonly identity: Identity
  /** Of its token, if it was one: what a ticket keeps. */
  readonly claims?: Accepted['claims']
}

interface AccessEvents {
  /** Other rules or keys hold: whoever is connected is judged again. */
  rules: []
  /** Tokens of the user that were issued before are refused from now on. */
  revoked: [user: string]
  /** Keys or rules could not be read; what held before goes on. */
  refused: []
}

/** Why a channel token does not hold any more. */
export type Lapse = 'expired' | 'revoked'

/** How often a right was missing; for metrics. */
export interface Refusal {
  readonly code: 'FW_UNAUTHORIZED' | 'FW_FORBIDDEN'
  readonly right: Right
  count: number
}

/** Why credentials are not accepted: the error's message has nothing secret in it. */
export class CredentialsRefused extends FanwireError {
  readonly outcome: Outcome

  constructor(message: string, outcome: Outcome) {
    super('FW_UNAUTHORIZED', message, { challenge: 'invalid_token' })
    this.outcome = outcome
  }
}

/** An identity has not the right. 401 where nothing came with the request, else 403. */
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
    throw new AccessRefused(`${setting} can not be used:\n${lines.join('\n')}`)
  }
}

const NO_WEBHOOKS: readonly Webhook[] = []

/** Which words of a rule leave something to the application, of which the file does not say where it is. */
function withoutHook({ subscribe, publish, hook }: Rule, hooks: Hooks): string[] {
  return Object.entries({ subscribe, publish }).flatMap(([name, words]) => {
    // What connect grants is of hooks as well.
    const asked = hook ?? hooks[name as 'subscribe' | 'publish'] ?? hooks.connect
    return asked === undefined && (words as readonly string[]).includes('hook') ? [`${name}: hook`] : []
  })
}

/** A file with keys of tokens, as a source. */
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
  /** Times that each outcome happened; for metrics. */
  readonly outcomes = new Map<Outcome, number>()
  readonly #refusals = new Map<string, Refusal>()
  readonly revocations = createRevocations()
  /** Asks the application; undefined while no rule says so. */
  asking: Asking | undefined

  readonly #options: AccessOptions
  #rulesFile: RulesFile | undefined
  #keysFile: WatchedFile<ApiKeyEntry[]> | undefined
  #tokenKeysFile: WatchedFile<TokenKeys> | undefined
  #appsFile: WatchedFile<App[]> | undefined
  #jwks: JwksUrl | undefined
  #keys: ApiKeys
  #keyIds: ReadonlySet<string> = new Set()
  #tokens: Tokens | undefined
  #withoutFile: Rules
  readonly #retentions = new WeakMap<Rule, Retention>()

  private constructor(options: AccessOptions) {
    super()
    this.#options = options
    this.#keys = createApiKeys([], options.publishKeys)
    this.#withoutFile = CLOSED_RULES
  }

  /** Raises AccessRefused for a file that can't be used. */
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

  /** The libraries for YAML and for tokens are loaded where they are used: a node starts without them. */
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

  /** Says which rules let nobody in for want of a hook. */
  #warn(): void {
    const { list, default: others, hooks } = this.rules
    for (const rule of [...list, others]) {
      const ignored = withoutHook(rule, hooks)
      if (ignored.length === 0) continue
      const about = { rule: rule.match, line: rule.line, ignored }
      this.#options.logger.warn(about, 'a rule leaves to a hook who may, and the file has no such hook')
    }
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
      logger.info({ setting }, `the file of ${setting} was read again`)
      changed()
    })
    file.on('refused', error => {
      logger.warn(
        { setting, reason: error.message },
        `the file of ${setting} can not be used: what it said before holds on`,
      )
      this.emit('refused')
    })
  }

  #readKeys(): void {
    const { publishKeys, open } = this.#options
    const entries = this.#keysFile?.current ?? []
    this.#keys = createApiKeys(entries, publishKeys)
    this.#keyIds = new Set([...publishKeys.map((_, i) => publishKeyId(i)), ...entries.map(({ id }) => id)])
    this.#withoutFile = open ? openRules({ keys: this.#keys.size > 0 }) : CLOSED_RULES
    // A connection whose key was taken away is judged again.
    this.emit('rules')
  }

  /** What holds now. */
  get rules(): Rules {
    return this.#rulesFile?.current ?? this.#withoutFile
  }

  /** Apps of Pusher's protocol; undefined: it is not spoken. */
  get apps(): readonly App[] | undefined {
    return this.#appsFile?.current
  }

  /** Whether the log of lives tells of that. */
  tellsOf(kind: LifeKind): boolean {
    return tells(this.rules.lives, kind) || this.#appWebhooks.some(({ events }) => tells(events, kind))
  }

  /** Those of the rules, and those of apps. */
  get webhooks(): readonly Webhook[] {
    const ofApps = this.#appWebhooks
    return ofApps.length === 0 ? this.rules.webhooks : [...this.rules.webhooks, ...ofApps]
  }

  get #appWebhooks(): readonly Webhook[] {
    return this.apps?.flatMap(({ webhooks }) => webhooks) ?? NO_WEBHOOKS
  }

  /** Whether members are kept of a channel: by its rule, or as Pusher has it. */
  keepsPresence(channel: string): boolean {
    return this.rules.of(channel).presence || (this.apps !== undefined && this.#appsKeep(channel))
  }

  #appsKeep(channel: string): boolean {
    return (
      channel.startsWith('presence-') ||
      this.#appWebhooks.some(
        ({ events }) => tells(events, 'channel.occupied') || tells(events, 'channel.vacated'),
      )
    )
  }

  /** Everybody may everything: there is nothing that could be taken away from a client. */
  get isOpen(): boolean {
    const { open } = this.rules
    return this.#rulesFile === undefined && open === 'all' && !this.#tokens && !this.#appsFile
  }

  /** Files that can't be used as they are now, by setting, and why. */
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

  /** What an identity that may follow a channel may have of it, also of its history if it `looksBack`; undefined: all. */
  filterOf(identity: Identity, channel: string, looksBack: boolean): Filter | undefined {
    const { filter } = this.may(identity, 'subscribe', channel)
    return looksBack ? allOf([filter, this.may(identity, 'history', channel).filter]) : filter
  }

  /** Raises NotAllowed. */
  require(identity: Identity, right: Right, channel?: string): void {
    const decision = may(identity, right, channel, this.rules)
    if (decision.allowed) return
    this.#countRefusal(decision)
    throw new NotAllowed(decision)
  }

  /** Who is in the channel is kept, and may be known. Raises NotAllowed, FW_NO_PRESENCE. */
  requireMembers(identity: Identity, channel: string): void {
    this.require(identity, 'presence', channel)
    if (this.rules.of(channel).presence) return
    throw new FanwireError(
      'FW_NO_PRESENCE',
      'no members are kept of this channel: its rule has to say presence: true',
    )
  }

  #countRefusal({ challenge, right }: Pick<Decision, 'challenge' | 'right'>): void {
    const code = challenge === 'authenticate' ? 'FW_UNAUTHORIZED' : 'FW_FORBIDDEN'
    const name = `${code} ${right}`
    const counted = this.#refusals.get(name) ?? { code, right, count: 0 }
    counted.count++
    this.#refusals.set(name, counted)
  }

  /** Refused requests and commands; for metrics. */
  get refusals(): Iterable<Readonly<Refusal>> {
    return this.#refusals.values()
  }

  /** Whether there is a channel that somebody without credentials may publish to. */
  get anyoneMayPublish(): boolean {
    const { open, list, default: others } = this.rules
    return (
      open === 'all' ||
      [...list, others].some(({ publish }) => publish.includes('anyone') || publish.includes('hook'))
    )
  }

  // Credentials -----------------------------------------------------------------------------------------------

  /** Whose a key or a token is; at once, unless keys of tokens are to be fetched. Raises CredentialsRefused. */
  bearer(text: string): Soon<Presented> {
    if (this.#asksNobody) return { identity: ANONYMOUS }
    // What may be a token seldom is a key; what is neither is told of as a token.
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
    throw this.#refuse('unknown_key', 'missing or invalid key: this is none of the keys of this node')
  }

  /** A token of a connection. Raises CredentialsRefused. */
  async token(text: string, takes?: Takes): Promise<Accepted> {
    if (this.#tokens === undefined) throw this.#refuse('unknown_key', 'this node takes no tokens')
    const result = await this.#tokens.authenticate(text, Date.now, takes)
    if (!result.ok) throw this.#refuse(result.reason, result.message)
    this.#count('accepted')
    return result
  }

  /** Of a client that says in a message who it is. Raises CredentialsRefused. */
  async credentials({ token, key }: { readonly token?: string; readonly key?: string }): Promise<Identity> {
    if (token === undefined) return (await this.bearer(key ?? '')).identity
    return this.#asksNobody ? ANONYMOUS : (await this.token(token)).identity
  }

  /** There are keys of tokens. */
  get takesTokens(): boolean {
    return this.#tokens !== undefined
  }

  /** There is nothing to compare credentials with: on loopback everybody is let in anyway. */
  get #asksNobody(): boolean {
    return this.#keys.size === 0 && this.#tokens === undefined && this.rules.open === 'all'
  }

  /** The identity, with what a channel token grants. Raises CredentialsRefused. */
  async withChannelToken(identity: Identity, text: string): Promise<Identity> {
    if (this.#tokens === undefined) throw this.#refuse('unknown_key', 'this node takes no tokens')
    const granted = await this.#tokens.authenticateChannel(text, identity.user)
    if (!granted.ok) throw this.#refuse(granted.reason, granted.message)
    this.#count('accepted')
    return withChannelTokens(identity, [granted.grants])
  }

  /** The identity of claims that were verified before, as a ticket keeps them. Raises CredentialsRefused. */
  accept(claims: Accepted['claims']): Accepted {
    const result = this.#tokens?.accept(claims)
    if (result?.ok) return result
    throw this.#refuse(result?.reason ?? 'unknown_key', result?.message ?? 'this node takes no tokens')
  }

  /** Why a ticket is not taken: its holder is told only that it is not. */
  refuseTicket(outcome: 'malformed' | 'unknown' | 'expired' | 'used'): CredentialsRefused {
    return this.#refuse(`${outcome}_ticket`, 'the ticket is unknown, used or expired: get another one')
  }

  /** Tokens of the user issued before that time (ms) are refused from now on; until when one could live, ms. */
  revoke(user: string, before: number, until?: number): void {
    this.revocations.revoke(user, before, until)
    this.emit('revoked', user)
  }

  /**
   * Whether what an identity came from does not hold any more: a key that was taken away, a token that was revoked or
   * whose key was taken away.
   */
  isRevoked({ kind, key = '', ...token }: Identity): boolean {
    if (kind === 'key') return !this.#keyIds.has(key)
    return (kind === 'token' || kind === 'hook') && this.#isTokenRevoked(token)
  }

  #isTokenRevoked({ user, issuedAt, signer }: Pick<Identity, 'user' | 'issuedAt' | 'signer'>): boolean {
    const unsigned = signer !== undefined && this.#tokens?.knows(signer) === false
    return unsigned || this.revocations.isRevoked(user, issuedAt)
  }

  /** The identity without channel tokens that do not hold any more, and why the last of those does not. */
  withoutLapsed(identity: Identity, now: number): { identity: Identity; lapsed?: Lapse } {
    let lapsed: Lapse | undefined
    const grants = identity.grants.filter(({ channelToken }) => {
      const lapse = channelToken && this.#lapseOf(identity.user, channelToken, now)
      lapsed = lapse ?? lapsed
      return lapse === undefined
    })
    return lapsed === undefined ? { identity } : { identity: { ...identity, grants }, lapsed }
  }

  #lapseOf(user: string, terms: ChannelTokenTerms, now: number): Lapse | undefined {
    if (terms.endsAt !== undefined && terms.endsAt <= now) return 'expired'
    return this.#isTokenRevoked({ user, ...terms }) ? 'revoked' : undefined
  }

  #refuse(outcome: Outcome, message: string): CredentialsRefused {
    this.#count(outcome)
    return new CredentialsRefused(message, outcome)
  }

  #count(outcome: Outcome): void {
    this.outcomes.set(outcome, (this.outcomes.get(outcome) ?? 0) + 1)
  }

  /** Whether somebody may publish to some channel at all: others need not be listened to for long. */
  mightPublish(identity: Identity): boolean {
    return !isStranger(identity) || this.anyoneMayPublish
  }

  /** Raises FW_UNAUTHORIZED unless somebody might publish; `how`: what to do about it. */
  requirePublisher(identity: Identity, how: string): void {
    if (this.mightPublish(identity)) return
    this.#countRefusal({ challenge: 'authenticate', right: 'publish' })
    throw new FanwireError('FW_UNAUTHORIZED', `publishing needs a token or a key: ${how}`)
  }

  // Rules of a channel ----------------------------------------------------------------------------------------

  /** What is kept of a channel: its rule's history, and the settings where that says nothing. */
  readonly retentionOf: RetentionOf = channel => {
    const rule = this.ruleOf(channel)
    let retention = this.#retentions.get(rule)
    if (retention === undefined) {
      retention = { ...this.#options.retention, ...rule.history }
      this.#retentions.set(rule, retention)
    }
    return retention
  }

  /** The rule that holds for a channel. */
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
