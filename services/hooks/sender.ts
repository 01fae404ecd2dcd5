// Sends the events of one webhook, in order and at least once. It is a reader of the log of lives, with a cursor.

import { setTimeout as wait } from 'node:timers/promises'
import { delay } from '../backoff.ts'
import { dataOf, type LogEvent } from '../broker/event/event.ts'
import { type Position, printCursor, printPosition, type Start } from '../broker/event/position.ts'
import type { Channel } from '../broker/fanout/channel.ts'
import { collect } from '../broker/fanout/collect.ts'
import type { Hub } from '../broker/fanout/hub.ts'
import { LongPoll } from '../broker/fanout/long-poll.ts'
import { LIVES_CHANNELS } from '../broker/lives/channels.ts'
import { covers } from '../broker/rules/life-kinds.ts'
import { matches } from '../broker/rules/patterns.ts'
import type { Webhook } from '../broker/rules/rules.ts'
import type { Answer as Reply, Post } from './post.ts'
import { type Form, formOf, type Message } from './forms.ts'
import type { HookState } from './ledger.ts'

const TIMEOUT_MS = 10_000
const HOLD_MS = 20_000
const FIRST_RETRY_MS = 500
const LAST_RETRY_MS = 60_000
/** The longest pause that an application can request. */
const LONGEST_PAUSE_MS = 3_600_000
const GONE = 410

export interface SenderParts {
  readonly webhook: Webhook
  readonly hub: Hub
  readonly starts: readonly Start[]
  post(post: Post): Promise<Reply>
  /** Called with the webhook's progress. */
  progress(state: HookState): void
}

export class Sender {
  readonly #parts: SenderParts
  readonly #form: Form
  readonly #closing = new AbortController()
  #poll: LongPoll | undefined
  readonly #running: Promise<void>

  constructor(parts: SenderParts) {
    this.#parts = parts
    this.#form = formOf(parts.webhook, parts.hub)
    this.#running = this.#run()
  }

  /** Stops. Returns when nothing is in flight. */
  async close(): Promise<void> {
    this.#closing.abort()
    this.#poll?.release()
    await this.#running
  }

  get #closed(): boolean {
    return this.#closing.signal.aborted
  }

  async #run(): Promise<void> {
    let starts = this.#parts.starts
    for (let failures = 0; !this.#closed;) {
      try {
        const { hub } = this.#parts
        await hub.using(LIVES_CHANNELS, async channels => {
          while (!this.#closed) {
            const next = await this.#sendNext(channels, starts)
            if (next === undefined) return this.#closing.abort()
            starts = next
            failures = 0
          }
        })
      } catch {
        // The log is unavailable, and reports that itself.
        await this.#pause(delay(++failures, FIRST_RETRY_MS, LAST_RETRY_MS))
      }
    }
  }

  /** Sends the next events. Returns the positions after them; undefined if the application wants no more. */
  async #sendNext(channels: Channel[], starts: readonly Start[]): Promise<readonly Position[] | undefined> {
    const { hub, webhook, progress } = this.#parts
    const { events: most, within } = webhook.batch
    this.#poll = new LongPoll(hub, channels)
    let found = await this.#poll.answer(starts, most, HOLD_MS)
    if (this.#closed) return found.starts
    if (found.events.length > 0 && found.events.length < most && within > 0) {
      await this.#pause(within)
      found = await collect(channels, starts, most)
    }
    const { events, gaps, cursors } = found
    const form = this.#form
    const lives = await Promise.all(
      events.filter(event => this.#wants(event)).map(event => form.messageOf(event)),
    )
    const batch = [
      ...gaps.map(({ channel, gap: { from, to } }) =>
        form.gap(channel, printPosition(from), printPosition(to)),
      ),
      ...lives.filter(each => each !== undefined),
    ]
    if (batch.length > 0) {
      const end = await this.#deliver(batch, printCursor(found.starts))
      if (end === 'gone') {
        progress({ cursor: printCursor(found.starts), stopped: 'the application answered 410' })
        return undefined
      }
      if (end === 'closed') return found.starts
    }
    if (batch.length > 0 || events.length > 0) progress({ cursor: printCursor(cursors) })
    return cursors
  }

  #wants(event: LogEvent): boolean {
    const { events, channels, app } = this.#parts.webhook
    if (!covers(events, event.type ?? '')) return false
    if (channels === undefined && app === undefined) return true
    const { channel } = JSON.parse(dataOf(event).toString()) as { channel?: string }
    if (channel === undefined) return false
    if (app !== undefined) return channel.startsWith(app.startsWith) && channel.endsWith(app.endsWith)
    return channels?.some(pattern => matches(pattern, channel)) ?? true
  }

  /** Retries until it is accepted. */
  async #deliver(batch: readonly Message[], cursor: string): Promise<'taken' | 'gone' | 'closed'> {
    const { webhook, post, progress } = this.#parts
    const body = this.#form.bodyOf(batch)
    for (let failures = 1; !this.#closed; failures++) {
      const headers = this.#form.headersOf(batch, body)
      const sent = { url: webhook.url, headers, body, timeout: TIMEOUT_MS, most: 0 }
      const answer = await post(sent).catch((error: Error) => error)
      if (!(answer instanceof Error)) {
        if (answer.status >= 200 && answer.status < 300) return 'taken'
        if (answer.status === GONE) return 'gone'
      }
      progress({ cursor, failing: answer instanceof Error ? answer.message : `${answer.status}` })
      await this.#pause(pauseOf(failures, answer instanceof Error ? undefined : answer.retryAfter))
    }
    return 'closed'
  }

  async #pause(ms: number): Promise<void> {
    await wait(ms, undefined, { ref: false, signal: this.#closing.signal }).catch(() => {})
  }
}

/** The pause after so many failures, ms: as the application asks, within bounds, or else growing. */
export function pauseOf(failures: number, asked: number | undefined): number {
  if (asked === undefined) return delay(failures, FIRST_RETRY_MS, LAST_RETRY_MS)
  return Math.min(Math.max(asked, FIRST_RETRY_MS), LONGEST_PAUSE_MS)
}
