// The live feed of one channel: orders the events from pub/sub, and fills holes from the log.

import { delay } from '../../../backoff.ts'
import type { LogEvent } from '../../event/event.ts'
import type { Feed, Follower, Page, PageLimit, Unbegun } from '../log.ts'
import { LogUnavailable } from '../log.ts'
import type { Position, Start } from '../../event/position.ts'
import { parseErasure, parseRecords } from './records.ts'

const FILL: PageLimit = { events: 1000, bytes: 4 * 1024 * 1024 }
const HEAD: PageLimit = { events: 0, bytes: 0 }

/** The maximum bytes of data held while a read is in progress; further events are read from the log instead. */
const MAX_HELD_BYTES = 4 * 1024 * 1024

/** The first and the longest delay before a failed read is retried, ms. */
const FIRST_RETRY = 100
const LAST_RETRY = 2000

/** `idle`: not open yet. `held`: a read is in progress, and messages are held for its result. */
type Phase = 'idle' | 'held' | 'live' | 'closed'

/** A channel's head in the log: undefined if only a read can determine it, `absent` if the log has no record of it. */
export type Head = (Position & { readonly erasures?: number }) | 'absent' | undefined

/** A page with the number of erasures in the channel. */
export interface FeedPage extends Page {
  readonly erasures?: number
}

export interface FeedOptions {
  readonly channel: string
  readonly follower: Follower
  read(channel: string, after: Start, limit: PageLimit, stays: boolean): Promise<FeedPage>
  /** Called when a hole is found. */
  hole(): void
  closed(): void
}

/**
 * A script publishes a message atomically with its append. So a read covers every message that had arrived when the read
 * was sent: only later messages have to be held.
 */
export class RedisFeed implements Feed, Unbegun {
  readonly channel: string
  readonly #options: FeedOptions
  #phase: Phase = 'idle'
  /** Whether the log has no record of the channel: only this feed knows the epoch. */
  #unbegun = false
  #beginning: Promise<void> | undefined
  #epoch = ''
  #offset = 0
  /** The number of erasures when the follower was last notified. */
  #erasures = 0
  /** Events in order, not delivered yet. */
  #pending: LogEvent[] = []
  #held: LogEvent[] = []
  #heldBytes = 0
  /** Whether another read has to follow the one in progress. */
  #again = false
  #retry: { timer: NodeJS.Timeout; resolve: () => void } | undefined

  constructor(options: FeedOptions) {
    this.channel = options.channel
    this.#options = options
  }

  get live(): boolean {
    return this.#phase === 'live'
  }

  /** Opens the feed at the head. The channel has to be subscribed. Raises LogUnavailable. */
  async open(): Promise<void> {
    let page: FeedPage
    do {
      page = await this.#read('latest', HEAD, false)
      if (this.#phase === 'closed') throw new LogUnavailable('the feed was closed')
    } while (this.#again)
    this.#moveTo(page)
    this.#erasures = page.erasures ?? 0
    this.#options.follower.start(page.cursor, page.ended)
    this.#merge()
  }

  get unbegun(): Unbegun | undefined {
    return this.#unbegun ? this : undefined
  }

  begin(): Promise<void> {
    this.#beginning ??= this.#begin().finally(() => {
      this.#beginning = undefined
    })
    return this.#beginning
  }

  async #begin(): Promise<void> {
    try {
      const { cursor, unbegun } = await this.#options.read(this.channel, 'latest', HEAD, true)
      // If the channel already has events, their messages are in flight.
      if (unbegun === undefined && cursor.offset === 0) this.#adopt(cursor)
    } catch {
      // The log is unavailable: the feed continues as it is.
    }
  }

  heard({ epoch, offset }: Position): void {
    if (offset === 1) this.#adopt({ epoch, offset: 0 })
  }

  /**
   * Continues at the position where the channel has begun. The feed would have received everything that was published
   * since it was opened, so no event is missing.
   */
  #adopt(at: Position): void {
    if (!this.#unbegun || this.#phase !== 'live') return
    this.#unbegun = false
    this.#epoch = at.epoch
    this.#options.follower.begun(at)
  }

  /** Receives a message of the channel. Does not keep the buffer. */
  message(payload: Buffer): void {
    if (this.#phase === 'closed' || this.#phase === 'idle') return
    const erasures = parseErasure(payload)
    if (erasures !== undefined) return this.#erased(erasures)
    const events: LogEvent[] = []
    try {
      parseRecords(this.channel, payload, events)
    } catch {
      // The message can't be parsed: reads the log instead.
      this.fill()
      return
    }
    for (const event of events) this.#take(event)
  }

  /** Something was erased. The read in progress may be older than that: another read follows. */
  #erased(erasures: number): void {
    if (this.#phase === 'live') {
      this.#deliver()
      this.#forget(erasures)
    }
    this.fill()
  }

  /** Whether the feed is behind the log, whose head is, or was a moment ago, `head`. */
  isBehind(head: Head): boolean {
    if (head === 'absent') return !this.#unbegun
    if (head === undefined || head.epoch !== this.#epoch || head.offset > this.#offset) return true
    return head.erasures !== undefined && head.erasures !== this.#erasures
  }

  /** Reads from the log, since something may be missing. */
  fill(): void {
    if (this.#phase === 'live') this.#fill()
    else this.#again = true
  }

  close(): void {
    if (this.#phase === 'closed') return
    this.#phase = 'closed'
    this.#pending = []
    this.#held = []
    if (this.#retry) {
      clearTimeout(this.#retry.timer)
      this.#retry.resolve()
    }
    this.#options.closed()
  }

  #take(event: LogEvent): void {
    if (this.#phase === 'live') {
      if (event.kind === 'transient') {
        this.#deliver()
        this.#options.follower.transient([event])
        return
      }
      if (this.#unbegun) this.heard(event)
      const known = event.epoch === this.#epoch
      if (known && event.offset === this.#offset + 1) {
        this.#offset = event.offset
        // Messages that arrive in one chunk are delivered together.
        if (this.#pending.push(event) === 1) queueMicrotask(() => this.#deliver())
      } else if (!known || event.offset > this.#offset) {
        this.#options.hole()
        this.#fill()
      }
    } else if (this.#phase === 'held') {
      this.#heldBytes += event.bytes
      if (this.#heldBytes <= MAX_HELD_BYTES) this.#held.push(event)
      else this.#again = true
    }
  }

  #deliver(): void {
    const events = this.#pending
    if (events.length === 0) return
    this.#pending = []
    this.#options.follower.events(events)
  }

  async #fill(): Promise<void> {
    this.#deliver()
    // From here on, nothing else changes the position.
    if (this.#phase !== 'live') return
    this.#phase = 'idle'
    for (let failures = 0; ;) {
      let page: FeedPage
      try {
        page = await this.#read({ epoch: this.#epoch, offset: this.#offset }, FILL, true)
        failures = 0
      } catch {
        if (this.#closed) return
        this.#phase = 'idle'
        failures++
        await this.#wait(delay(failures, FIRST_RETRY, LAST_RETRY))
        if (this.#closed) return
        continue
      }
      if (this.#closed) return
      // Without a gap, the channel has begun at the start of the page.
      const begins = this.#unbegun && page.unbegun === undefined && page.gap === undefined
      this.#moveTo(page)
      if (begins) this.#options.follower.begun(page.start)
      this.#apply(page)
      if (this.#closed) return
      if (!page.more && !this.#again) break
    }
    this.#merge()
  }

  #apply({ gap, events, ended, erasures = this.#erasures }: FeedPage): void {
    const { follower } = this.#options
    if (gap) follower.gap(gap, ended && events.length === 0)
    if (this.#closed) return
    if (events.length > 0) follower.events(events)
    if (this.#closed) return
    this.#forget(erasures)
  }

  /** Notifies the follower if the channel's number of erasures has grown. */
  #forget(erasures: number): void {
    if (erasures === this.#erasures) return
    this.#erasures = erasures
    this.#options.follower.forget()
  }

  get #closed(): boolean {
    return this.#phase === 'closed'
  }

  #read(after: Start, limit: PageLimit, stays: boolean): Promise<FeedPage> {
    this.#phase = 'held'
    this.#held = []
    this.#heldBytes = 0
    this.#again = false
    return this.#options.read(this.channel, after, limit, stays)
  }

  /** Goes live with the messages that arrived during the last read. */
  #merge(): void {
    if (this.#closed) return
    const held = this.#held
    this.#held = []
    this.#phase = 'live'
    // Once one of them needs a read, that read covers the rest.
    for (const event of held) if (this.#phase === 'live') this.#take(event)
  }

  #moveTo({ cursor, unbegun }: Page): void {
    this.#unbegun = unbegun === true
    this.#epoch = cursor.epoch
    this.#offset = cursor.offset
  }

  #wait(ms: number): Promise<void> {
    return new Promise(resolve => {
      this.#retry = { timer: setTimeout(resolve, ms), resolve }
    })
  }
}
