// Asks the application for identities and rights. Callers that need the same answer share one request, and answers are
// cached for a while.

import { hash } from 'node:crypto'
import type { Asker, Asking } from '../broker/access/asking.ts'
import { Disconnected } from '../broker/access/asking.ts'
import { grant, type Grants } from '../broker/access/grants.ts'
import { ANONYMOUS, type Identity, secondsOf } from '../broker/access/identity.ts'
import type { Hook, HookName, Hooks } from '../broker/rules/rules.ts'
import { FanwireError } from '../errors.ts'
import { type Answer, endOf, NOTHING_SAID, type Result } from './answer.ts'
import { Kept } from './kept.ts'
import type { Questions } from './questions.ts'

/** How long a decision without an expiry is cached, and a session continues after a failed refresh that allows. */
const KEPT_MS = 60_000
/** Refusals are cached briefly, so that the application can change its mind. */
const REFUSAL_KEPT_MS = 1000

/** The question, without the data. */
interface Question {
  readonly client: string
  readonly user: string
  readonly transport: string
  readonly channel?: string
  readonly meta?: unknown
  readonly headers: Readonly<Record<string, string>>
}

export class ApplicationAsking implements Asking {
  readonly headers: ReadonlySet<string>
  readonly #hooks: Hooks
  readonly #questions: Questions
  readonly #kept = new Kept<Answer>()

  /** `all` includes the hooks of rules. */
  constructor(hooks: Hooks, all: readonly Hook[], questions: Questions) {
    this.#hooks = hooks
    this.#questions = questions
    this.headers = new Set(all.flatMap(({ headers }) => headers))
  }

  get connects(): boolean {
    return this.#hooks.connect !== undefined
  }

  get refreshes(): boolean {
    return this.#hooks.refresh !== undefined
  }

  /** Drops cached decisions. */
  forget(): void {
    this.#kept.clear()
  }

  async connect(asker: Asker): Promise<Identity> {
    const { connect } = this.#hooks
    if (connect === undefined) return ANONYMOUS
    const result = await this.#decide('connect', connect, questionOf(connect, ANONYMOUS, asker))
    return identityOf(result, Date.now())
  }

  async refresh(identity: Identity, asker: Asker): Promise<Identity> {
    const { refresh } = this.#hooks
    if (refresh === undefined) return identity
    const answer = await this.#ask('refresh', refresh, questionOf(refresh, identity, asker))
    if (answer === ALLOWED) return { ...identity, ...timesOf(Date.now() + KEPT_MS) }
    const { user, info = identity.info, ...result } = resultOf(answer)
    if (user !== '' && user !== identity.user) {
      throw new FanwireError('FW_HOOK_FAILED', 'the application named a different user for this client')
    }
    const longer = identityOf({ ...result, user: identity.user, info }, Date.now())
    return result.caps === undefined ? { ...longer, grants: identity.grants } : longer
  }

  async subscribe(hook: Hook, identity: Identity, channel: string, asker: Asker): Promise<Grants> {
    const now = Date.now()
    const { caps, expiresAt } = await this.#decide('subscribe', hook, {
      ...questionOf(hook, identity, asker),
      channel,
    })
    const whole = () => [grant('the application', [channel], ['subscribe', 'history'])]
    return {
      source: 'hook',
      list: caps?.list ?? whole(),
      channelToken: { endsAt: endOf(expiresAt), signer: undefined, issuedAt: Math.floor(now / 1000) },
    }
  }

  async publish(
    hook: Hook,
    identity: Identity,
    channel: string,
    data: Buffer | undefined,
    asker: Asker,
  ): Promise<Buffer | undefined> {
    const question = { ...questionOf(hook, identity, asker), channel }
    return resultOf(await this.#ask('publish', hook, question, data)).data
  }

  /** A recent decision, or one in progress. */
  async #decide(name: HookName, hook: Hook, question: Question): Promise<Result> {
    const { client: _, ...same } = question
    const key = hash('sha256', JSON.stringify([name, hook.url, same]), 'base64url')
    const kept = this.#kept.get(key, Date.now())
    if (kept !== undefined) this.#questions.count(name, 'kept')
    const joined = kept ?? this.#kept.joined(key)
    return resultOf(await (joined ?? this.#kept.ask(key, () => this.#ask(name, hook, question), keptUntil)))
  }

  /** Asks the application. If that fails, allows if the hook says so, otherwise raises FW_HOOK_FAILED. */
  async #ask(name: HookName, hook: Hook, question: Question, data?: Buffer): Promise<Answer> {
    try {
      return await this.#questions.ask(name, hook, bodyOf(name, question, data), data?.length ?? 0)
    } catch (error) {
      if (hook.onFailure === 'allow' && error instanceof FanwireError) return ALLOWED
      throw error
    }
  }
}

/** The answer if a failed hook allows. It is not cached, so the next caller asks again. */
const ALLOWED: Answer = { result: NOTHING_SAID }

function questionOf({ headers: shown }: Hook, { user, meta }: Identity, asker: Asker): Question {
  const { client, transport, headers } = asker
  const named = shown.flatMap(name => (headers[name] === undefined ? [] : [[name, headers[name]]]))
  return {
    client,
    user,
    transport,
    ...(meta === undefined ? {} : { meta }),
    headers: Object.fromEntries(named),
  }
}

/** The body of a request. `data` is JSON. */
function bodyOf(hook: HookName, question: Question, data: Buffer | undefined): string {
  const json = JSON.stringify({ hook, ...question })
  return data === undefined ? json : `${json.slice(0, -1)},"data":${data}}`
}

function keptUntil(answer: Answer): number {
  if (answer === ALLOWED) return 0
  if (!('result' in answer)) return Date.now() + REFUSAL_KEPT_MS
  return answer.result.expiresAt ?? Date.now() + KEPT_MS
}

/** Raises FW_FORBIDDEN, Disconnected. */
function resultOf(answer: Answer): Result {
  if ('error' in answer) {
    const { message, code } = answer.error
    throw new FanwireError('FW_FORBIDDEN', message, { challenge: 'insufficient_scope', application: code })
  }
  if ('disconnect' in answer) throw new Disconnected(answer.disconnect.code, answer.disconnect.reason)
  return answer.result
}

function identityOf({ user, info, expiresAt, caps }: Omit<Result, 'data'>, now: number): Identity {
  if (user === '' && caps === undefined && expiresAt === undefined) return ANONYMOUS
  return {
    ...ANONYMOUS,
    kind: user === '' ? 'anonymous' : 'hook',
    user,
    info,
    issuedAt: Math.floor(now / 1000),
    ...timesOf(expiresAt),
    grants: caps === undefined ? [] : [caps],
  }
}

/** The times of a session that ends at `expiresAt`, ms. */
function timesOf(expiresAt: number | undefined): Pick<Identity, 'expiresAt' | 'connectionEndsAt'> {
  return { expiresAt: secondsOf(expiresAt), connectionEndsAt: secondsOf(endOf(expiresAt)) }
}
