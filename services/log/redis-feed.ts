// The live feed of one channel: what pub/sub brings, put in order, and filled in from the log where it leaves a hole.

import { delay } from '../delay.ts'
import type { LogEvent } from './event.ts'
import type { Feed, Follower, Page, PageLimit } from './log.ts'
import { LogUnavailable } from './log.ts'
import type { Position, Start } from './position.ts'
import { parseRecords } from './redis-records.ts'

const FILL: PageLimit = { events: 1000, bytes: 4 * 1024 * 1024 }
const HEAD: PageLimit = { events: 0, bytes: 0 }

/** Bytes of data held while a read is under way; beyond it they are read from the log instead. */
const HELD = 4 * 1024 * 1024

const FIRST_RETRY = 100
const LAST_RETRY = 2000

/** `idle`: nothing is expected yet. `held`: a read is under way, which what comes now may follow. */
type Phase = 'idle' | 'held' | 'live' | 'closed'

export interface FeedOptions {
  readonly channel: string
  readonly follower: Follower
  read(channel: string, after: Start, limit: PageLimit): Promise<Page>
  /** A hole was found. */
  hole(): void
  closed(): void
}

/**
 * A message is published in the same instant in which its events enter the log. So a read covers every message
 * that had arrived when it was sent, whatever that said: only what arrives later has to be kept for its answer.
 */
export class RedisFeed implements Feed {
  readonly channel: string
  readonly #options: FeedOptions
  #phase: Phase = 'idle'
  #epoch = ''
  #offset = 0
  /** In order, not handed over yet. */
  #pending: LogEvent[] = []
  #held: LogEvent[] = []
  #heldBytes = 0
  /** What the read under way says is not enough: one more follows. */
  #again = false
  #retry: { timer: NodeJS.Timeout; resolve: () => void } | undefined

  constructor(options: FeedOptions) {
    this.channel = options.channel
    this.#options = options
  }

  get live(): boolean {
    return this.#phase === 'live'
  }

  /** Begins at the head. The channel has to be subscribed. Raises LogUnavailable. */
  async begin(): Promise<void> {
    let head: Position
    do {
      const page = await this.#read('latest', HEAD)
      if (this.#phase === 'closed') throw new LogUnavailable('the feed was closed')
      head = page.cursor
    } while (this.#again)
    this.#moveTo(head)
    this.#options.follower.start(head)
    this.#merge()
  }

  /** A message of the channel's. The buffer is not kept. */
  message(payload: Buffer): void {
    if (this.#phase === 'closed' || this.#phase === 'idle') return
    const events: LogEvent[] = []
    try {
      parseRecords(this.channel, payload, events)
    } catch {
      // Not ours to read: what the log says counts.
      this.fill()
      return
    }
    for (const event of events) this.#take(event)
  }

  /** The log's head is, or was a moment ago, `head`; undefined: only a read can tell. */
  isBehind(head: Position | undefined): boolean {
    return head === undefined || head.epoch !== this.#epoch || head.offset > this.#offset
  }

  /** Reads on from the log: something may be missing. */
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
      const known = event.epoch === this.#epoch
      if (known && event.offset === this.#offset + 1) {
        this.#offset = event.offset
        // What one chunk of the connection brings is handed over together.
        if (this.#pending.push(event) === 1) queueMicrotask(() => this.#deliver())
      } else if (!known || event.offset > this.#offset) {
        this.#options.hole()
        this.#fill()
      }
    } else if (this.#phase === 'held') {
      this.#heldBytes += event.bytes
      if (this.#heldBytes <= HELD) this.#held.push(event)
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
    // From here on nobody else moves the position.
    if (this.#phase !== 'live') return
    this.#phase = 'idle'
    for (let failures = 0; ;) {
      let page: Page
      try {
        page = await this.#read({ epoch: this.#epoch, offset: this.#offset }, FILL)
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
      this.#moveTo(page.cursor)
      if (page.gap) this.#options.follower.gap(page.gap)
      if (this.#closed) return
      if (page.events.length > 0) this.#options.follower.events(page.events)
      if (this.#closed) return
      if (!page.more && !this.#again) break
    }
    this.#merge()
  }

  get #closed(): boolean {
    return this.#phase === 'closed'
  }

  #read(after: Start, limit: PageLimit): Promise<Page> {
    this.#phase = 'held'
    this.#held = []
    this.#heldBytes = 0
    this.#again = false
    return this.#options.read(this.channel, after, limit)
  }

  /** Goes live with what came during the last read. */
  #merge(): void {
    if (this.#closed) return
    const held = this.#held
    this.#held = []
    this.#phase = 'live'
    // Once one of them needs a read, that read covers the rest.
    for (const event of held) if (this.#phase === 'live') this.#take(event)
  }

  #moveTo(position: Position): void {
    this.#epoch = position.epoch
    this.#offset = position.offset
  }

  #wait(ms: number): Promise<void> {
    return new Promise(resolve => {
      this.#retry = { timer: setTimeout(resolve, ms), resolve }
    })
  }
}
