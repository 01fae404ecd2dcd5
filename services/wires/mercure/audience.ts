// Selects the updates for a subscriber: those of its topics that it may read.

import type { Access } from '../../broker/access/access.ts'
import { isGranted } from '../../broker/access/grants.ts'
import type { Identity } from '../../broker/access/identity.ts'
import type { LogEvent } from '../../broker/event/event.ts'
import type { Gap, Position } from '../../broker/event/position.ts'
import { remembering, type TopicMatcher } from '../../broker/event/topics.ts'
import { updateOf } from '../../broker/event/update.ts'
import { letsThrough } from '../../broker/fanout/selection.ts'

/** A subscriber and its topics. */
export interface Subscriber {
  /** When it subscribed. */
  readonly identity: Identity
  readonly matchers: readonly TopicMatcher[]
  /** The head of the log when it subscribed: earlier updates are history. */
  readonly head: Position
}

/** The number of topics whose result is cached for a subscriber. */
const MAX_KNOWN = 200

export class Audience {
  /** The subscriber's present identity. */
  identity: Identity
  readonly #access: Access
  readonly #follows: (topic: string) => boolean
  /** Updates up to here are history. */
  #head: Position

  constructor(access: Access, { identity, matchers, head }: Subscriber) {
    this.#access = access
    this.identity = identity
    this.#head = head
    this.#follows = remembering(MAX_KNOWN, topic => matchers.some(matcher => matcher.matches(topic)))
  }

  /**
   * A subscriber receives an update if it follows one of its topics and may read that topic. For a private update it
   * must follow one of the topics, and one of them must be granted to it.
   */
  takes(event: LogEvent): boolean {
    const { topics, private: hidden } = updateOf(event)
    const followed = topics.filter(this.#follows)
    if (followed.length === 0) return false
    const { identity } = this
    const may = (topic: string) => this.#mayRead(topic, event)
    return hidden === true
      ? topics.some(topic => isGranted(identity.grants, 'subscribe', topic) && may(topic))
      : followed.some(may)
  }

  /** Called at each gap. All updates of an epoch that began after the subscription are new. */
  crosses({ from, to }: Gap): void {
    if (from.epoch === this.#head.epoch && to.epoch !== from.epoch) this.#head = to
  }

  #mayRead(topic: string, event: LogEvent): boolean {
    const { identity } = this
    const may = (right: 'subscribe' | 'history') => this.#access.may(identity, right, topic).allowed
    // A later epoch continues the offsets, unless events were lost, which a gap reports.
    const looksBack = event.kind !== 'transient' && event.offset <= this.#head.offset
    if (!may('subscribe') || (looksBack && !may('history'))) return false
    return letsThrough(this.#access.filterOf(identity, topic, looksBack), event)
  }
}
