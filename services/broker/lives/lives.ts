// The log of lives: which clients connect and disconnect, and which channels are in use. Entries about members are stored
// with the members until they are appended here. If a node stops in between, another one appends the rest.

import { setTimeout as wait } from 'node:timers/promises'
import { delay } from '../../backoff.ts'
import type { Draft } from '../event/event.ts'
import type { ChannelLog } from '../log/log.ts'
import type { Logger } from '../logger.ts'
import type { Life, MemberStore, Outbox } from '../presence/store.ts'
import { livesOf } from './channels.ts'
import type { LifeKind } from '../rules/life-kinds.ts'

/** The maximum events of one append. */
const PORTION = 100
/** The maximum events of clients that wait while the log is unavailable. Further ones are dropped. */
const MOST_WAITING = 10_000

const KINDS: Readonly<Record<Life['kind'], LifeKind>> = {
  occupied: 'channel.occupied',
  vacated: 'channel.vacated',
  joined: 'presence.joined',
  left: 'presence.left',
}

export interface LivesOptions {
  readonly log: ChannelLog
  readonly store: Pick<MemberStore, 'acknowledge'>
  readonly logger: Logger
  /** Whether events of that kind are recorded. */
  records(kind: LifeKind): boolean
}

/** A channel whose members have unsent entries. */
interface Unsent {
  newest: Outbox | undefined
  done: Promise<void>
}

export class Lives {
  /** The number of dropped events of clients. */
  lost = 0
  readonly #options: LivesOptions
  readonly #unsent = new Map<string, Unsent>()
  /** Events of clients, by the channel of the log. */
  readonly #waiting = new Map<string, Draft[]>()
  readonly #closing = new AbortController()

  constructor(options: LivesOptions) {
    this.#options = options
  }

  records(kind: LifeKind): boolean {
    return this.#options.records(kind)
  }

  /** Whether anything about channels with members is recorded. */
  wanted(): boolean {
    return Object.values(KINDS).some(kind => this.#options.records(kind))
  }

  /**
   * Appends entries of the members. Returns once the log holds all of them and the store was notified. Entries that are
   * already in the log are not duplicated.
   */
  take(channel: string, outbox: Outbox): Promise<void> {
    if (outbox.length === 0) return this.#unsent.get(channel)?.done ?? Promise.resolve()
    let unsent = this.#unsent.get(channel)
    if (unsent === undefined) {
      unsent = { newest: outbox, done: Promise.resolve() }
      this.#unsent.set(channel, unsent)
      unsent.done = this.#send(channel, unsent)
    } else unsent.newest = outbox
    return unsent.done
  }

  /** Records an event of a client. Does not wait. */
  record(kind: LifeKind, about: string, data: object): void {
    if (!this.#options.records(kind)) return
    const name = livesOf(about)
    const waiting = this.#waiting.get(name)
    const draft = { type: kind, data: Buffer.from(JSON.stringify(data)) }
    if (waiting === undefined) {
      this.#waiting.set(name, [draft])
      void this.#append(name)
    } else if (waiting.length < MOST_WAITING) waiting.push(draft)
    else if (this.lost++ % MOST_WAITING === 0) {
      this.#options.logger.warn(
        { lost: this.lost },
        'the log of lives is unavailable: events of clients are dropped',
      )
    }
  }

  close(): void {
    this.#closing.abort()
  }

  async #send(channel: string, unsent: Unsent): Promise<void> {
    for (let outbox = unsent.newest; outbox !== undefined; outbox = unsent.newest) {
      unsent.newest = undefined
      const last = outbox.at(-1)
      const drafts = outbox.flatMap(life => this.#draftOf(channel, life))
      await this.#insist(async () => {
        for (let at = 0; at < drafts.length; at += PORTION) {
          await this.#options.log.append(livesOf(channel), drafts.slice(at, at + PORTION))
        }
        if (last === undefined) return
        const rest = await this.#options.store.acknowledge(channel, last.key)
        if (rest.length > 0) unsent.newest ??= rest
      })
    }
    this.#unsent.delete(channel)
  }

  #draftOf(channel: string, { key, kind, who }: Life): Draft[] {
    const type = KINDS[kind]
    if (!this.#options.records(type)) return []
    const data = `{"channel":${JSON.stringify(channel)}${who === '' ? '' : `,${who}`}}`
    return [{ type, data: Buffer.from(data), idempotencyKey: key }]
  }

  async #append(name: string): Promise<void> {
    // Events of one turn of the event loop are appended together.
    await new Promise(resolve => setImmediate(resolve))
    for (let drafts = this.#waiting.get(name) ?? []; drafts.length > 0;) {
      const portion = drafts.slice(0, PORTION)
      await this.#insist(() => this.#options.log.append(name, portion))
      drafts.splice(0, portion.length)
      drafts = this.#waiting.get(name) ?? []
    }
    this.#waiting.delete(name)
  }

  /** Retries until `act` succeeds or recording has stopped. */
  async #insist(act: () => Promise<unknown>): Promise<void> {
    const { signal } = this.#closing
    for (let failures = 1; !signal.aborted; failures++) {
      try {
        return void (await act())
      } catch {
        // The log is unavailable, and reports that itself.
        await wait(delay(failures, 100, 2000), undefined, { ref: false, signal }).catch(() => {})
      }
    }
  }
}
