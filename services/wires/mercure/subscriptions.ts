// Subscriptions: each node publishes those of its own clients as private updates, and lists those of all nodes.

import { randomUUID } from 'node:crypto'
import { rightsOf } from '../../broker/access/grants.ts'
import { ANONYMOUS, type Identity } from '../../broker/access/identity.ts'
import type { Answers } from '../../broker/control/questions.ts'
import type { TopicMatcher } from '../../broker/event/topics.ts'
import { updateData } from '../../broker/event/update.ts'
import type { Logger } from '../../broker/logger.ts'
import type { Context } from '../../http/context.ts'
import { HUB } from './form.ts'

export const SUBSCRIPTIONS = `${HUB}/subscriptions`
const TYPE = 'mercure'
const PAGE = 1000
/** The maximum subscriptions of one answer. */
const MOST = 10_000

/** A published subscription. Subscriptions by `topic` have the form of 0.x. */
export interface Subscription {
  readonly id: string
  readonly match_type?: string
  readonly match?: string
  readonly topic?: string
  readonly subscriber: string
  readonly active: boolean
  readonly [member: string]: unknown
}

/** The topic of its updates, and the path of its listing. */
export function pathOf(...names: readonly string[]): string {
  return [SUBSCRIPTIONS, ...names.map(encodeURIComponent)].join('/')
}

/** The payload that the subscriber's token adds to its subscription. */
function payloadOf({ grants }: Identity, { text }: TopicMatcher): unknown {
  return grants
    .flatMap(({ list }) => list)
    .filter(grant => rightsOf(grant).includes('subscribe'))
    .find(({ olderForm, topics }) => olderForm || topics?.some(topic => topic.matches(text)))?.payload
}

function subscriptionOf(matcher: TopicMatcher, subscriber: string, identity: Identity): Subscription {
  const { type, text } = matcher
  const payload = payloadOf(identity, matcher)
  const more = { subscriber, active: true, ...(payload === undefined ? {} : { payload }) }
  return type === 'template'
    ? {
        '@context': 'https://mercure.rocks/',
        id: pathOf(text, subscriber),
        type: 'Subscription',
        topic: text,
        ...more,
      }
    : { id: pathOf(type, text, subscriber), type: 'subscription', match_type: type, match: text, ...more }
}

export class Subscriptions {
  readonly #context: Context
  readonly #logger: Logger
  readonly #here = new Set<Subscription>()

  constructor(context: Context, logger: Logger) {
    this.#context = context
    this.#logger = logger
    context.questions.answer('subscriptions', () => this.#listed())
  }

  *#listed(): Iterable<readonly [string, () => Subscription]> {
    for (const each of this.#here) yield [each.id, () => each]
  }

  /** Adds a client's subscriptions. Returns a function to call when the client is gone. */
  add(matchers: readonly TopicMatcher[], identity: Identity): () => void {
    const subscriber = `urn:uuid:${randomUUID()}`
    const own = matchers.map(matcher => subscriptionOf(matcher, subscriber, identity))
    for (const each of own) this.#here.add(each)
    void this.#publish(own)
    return () => {
      for (const each of own) this.#here.delete(each)
      void this.#publish(own.map(each => ({ ...each, active: false })))
    }
  }

  /** Publishes updates about subscriptions. Does not raise: the list is correct even without them. */
  async #publish(all: readonly Subscription[]): Promise<void> {
    const drafts = all.map(each => ({
      data: updateData(
        { topics: [each.id], private: true },
        Buffer.from(JSON.stringify(JSON.stringify(each))),
      ),
      ...(each.topic === undefined ? { type: TYPE } : {}),
    }))
    try {
      await this.#context.publisher.update(drafts, ANONYMOUS)
    } catch (err) {
      this.#logger.warn(
        { err },
        'updates about Mercure subscriptions could not be published: their followers have to list them again',
      )
    }
  }

  /** The subscriptions of all nodes, in the order of their ids. Raises LogUnavailable. */
  async list(): Promise<Subscription[]> {
    const found: Subscription[] = []
    let after: string | undefined = ''
    while (after !== undefined && found.length < MOST) {
      const page: Answers<'subscriptions'> = await this.#ask(after)
      found.push(...page.entries.flatMap(({ items }) => items.map(({ item }) => item as Subscription)))
      after = page.next
    }
    return found
  }

  #ask(after: string) {
    return this.#context.questions.ask('subscriptions', {}, { limit: PAGE, after })
  }
}
