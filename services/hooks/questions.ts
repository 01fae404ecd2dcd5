// Requests to the application, and their responses: signed, bounded in time, size and number, and behind a circuit breaker.

import { randomBytes } from 'node:crypto'
import type { Logger } from '../broker/logger.ts'
import type { Hook, HookName } from '../broker/rules/rules.ts'
import { FanwireError } from '../errors.ts'
import { type Answer, BadAnswer, endOf, readAnswer } from './answer.ts'
import { Breaker } from './breaker.ts'
import { LATE, type Post, type Answer as Reply } from './post.ts'
import { signatureFault, signedHeaders } from './signature.ts'

/** The maximum number of concurrent requests. */
const MOST_ASKED = 512
/** The maximum bytes of a response, besides the data that it may replace. */
const LARGEST_ANSWER_BYTES = 64 * 1024
const RETRY_MS = 1000

export const OUTCOMES = [
  'allowed',
  'refused',
  'disconnected',
  'kept',
  'late',
  'failed',
  'malformed',
  'open',
  'full',
] as const
/** The outcome of a question, for metrics. `kept`: the answer was cached. */
export type Outcome = (typeof OUTCOMES)[number]

export interface HookCount {
  readonly hook: HookName
  readonly outcome: Outcome
  count: number
}

/** An invalid response, with the reason. */
class Failure extends Error {
  override readonly name = 'Failure'
  readonly outcome: Outcome

  constructor(outcome: Outcome, reason: string) {
    super(reason)
    this.outcome = outcome
  }
}

export interface QuestionsParts {
  readonly logger: Logger
  /** Raises an Error with a short reason if there is no response. */
  post(post: Post): Promise<Reply>
}

export class Questions {
  readonly #parts: QuestionsParts
  readonly #breakers = new Map<string, Breaker>()
  readonly #counts = new Map<string, HookCount>()
  #asked = 0

  constructor(parts: QuestionsParts) {
    this.#parts = parts
  }

  /** For metrics. */
  get counts(): Iterable<Readonly<HookCount>> {
    return this.#counts.values()
  }

  count(hook: HookName, outcome: Outcome): void {
    const name = `${hook} ${outcome}`
    const counted = this.#counts.get(name) ?? { hook, outcome, count: 0 }
    counted.count++
    this.#counts.set(name, counted)
  }

  /** Sends a request. `data` is the size of the data that the response may replace, bytes. Raises FW_HOOK_FAILED. */
  async ask(name: HookName, hook: Hook, body: string, data: number): Promise<Answer> {
    if (this.#asked >= MOST_ASKED) {
      this.count(name, 'full')
      throw unavailable('too many requests to the application are in flight', RETRY_MS)
    }
    const breaker = this.#breakerOf(hook)
    const pause = breaker.take()
    if (pause !== undefined) {
      this.count(name, 'open')
      throw unavailable('the application does not answer, and is not called for a moment', pause)
    }
    this.#asked++
    try {
      const answer = await this.#answerTo(hook, body, LARGEST_ANSWER_BYTES + data)
      if (breaker.failures > 0) this.#parts.logger.info({ hook: name }, 'the application answers again')
      breaker.succeeded()
      this.count(name, outcomeOf(answer))
      return answer
    } catch (error) {
      const { outcome, message } = error instanceof Failure ? error : new Failure('failed', String(error))
      this.count(name, outcome)
      if (breaker.failures === 0)
        this.#parts.logger.warn({ hook: name, reason: message }, 'the application gave no answer')
      breaker.failed()
      throw unavailable('the application did not give a usable answer', RETRY_MS)
    } finally {
      this.#asked--
    }
  }

  async #answerTo(hook: Hook, body: string, most: number): Promise<Answer> {
    const { url, timeout, secrets, signedAnswers } = hook
    const id = `msg_${randomBytes(18).toString('base64url')}`
    const headers = signedHeaders(secrets, id, body)
    const reply = await this.#parts.post({ url, headers, body, timeout, most }).catch((error: Error) => {
      throw new Failure(error.message === LATE ? 'late' : 'failed', error.message)
    })
    if (reply.status !== 200) throw new Failure('failed', `${reply.status}`)
    const fault = signedAnswers ? signatureFault(secrets, id, reply.headers, reply.body) : undefined
    if (fault !== undefined) throw new Failure('malformed', fault)
    try {
      return requireTimely(readAnswer(reply.body))
    } catch (error) {
      if (error instanceof BadAnswer) throw new Failure('malformed', error.message)
      throw error
    }
  }

  #breakerOf({ url }: Hook): Breaker {
    const known = this.#breakers.get(url)
    if (known !== undefined) return known
    const made = new Breaker()
    this.#breakers.set(url, made)
    return made
  }

  /** Forgets applications that no hook uses any more. */
  keep(hooks: readonly Hook[]): void {
    const urls = new Set(hooks.map(({ url }) => url))
    for (const url of this.#breakers.keys()) if (!urls.has(url)) this.#breakers.delete(url)
  }
}

/** Raises BadAnswer. */
function requireTimely(answer: Answer): Answer {
  const ends = 'result' in answer ? endOf(answer.result.expiresAt) : undefined
  if (ends !== undefined && ends <= Date.now()) throw new BadAnswer('the answer has expired already')
  return answer
}

function outcomeOf(answer: Answer): Outcome {
  if ('result' in answer) return 'allowed'
  return 'error' in answer ? 'refused' : 'disconnected'
}

function unavailable(message: string, retry: number): FanwireError {
  return new FanwireError('FW_HOOK_FAILED', message, { retry: Math.ceil(retry) })
}
