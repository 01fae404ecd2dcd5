// A node's follower of one reserved channel: first the stored entries, then new ones, each exactly once.

import { setTimeout as wait } from 'node:timers/promises'
import { delay } from '../../backoff.ts'
import { type Draft, dataOf, type LogEvent } from '../event/event.ts'
import type { Gap, Position } from '../event/position.ts'
import type { Logger } from '../logger.ts'
import type { ChannelLog, Feed, Follower, PageLimit } from '../log/log.ts'

const PAGE: PageLimit = { events: 1000, bytes: 1024 * 1024 }

const FIRST_RETRY_MS = 100
const LAST_RETRY_MS = 10_000

/** Waits before the next attempt after that many failures, or until `signal`. */
export async function pause(failures: number, signal: AbortSignal): Promise<void> {
  const ms = delay(failures, FIRST_RETRY_MS, LAST_RETRY_MS)
  await wait(ms, undefined, { ref: false, signal }).catch(() => {})
}

/** One entry of a reserved channel. */
export interface Entry {
  readonly type: string
  readonly data: unknown
  /** The log's clock, ms since 1970. */
  readonly time: number
  /** Whether it was stored before this node listened. */
  readonly past: boolean
}

export interface TailOptions {
  readonly log: ChannelLog
  readonly channel: string
  /** `latest`: only entries from now on. */
  readonly from: 'earliest' | 'latest'
  readonly logger: Logger
  entry(entry: Entry): void
  /** Called with an entry that is not stored. */
  transient?(entry: Entry): void
  /** Called if the log may have lost entries, or trimmed them before they could be read. */
  missed?(gap: Gap): void
}

/** The draft of an entry. `data` must be JSON. */
export function draftOf(type: string, data: unknown): Draft {
  return { type, data: Buffer.from(JSON.stringify(data)) }
}

/** The data that `draftOf` was called with. */
export function valueOf(event: LogEvent): unknown {
  return JSON.parse(dataOf(event).toString())
}

function entryOf(event: LogEvent, past: boolean): Entry {
  const { type = '', time } = event
  return { type, data: valueOf(event), time, past }
}

export class Tail {
  readonly #options: TailOptions
  #feed: Feed | undefined
  /** All entries up to here were delivered. */
  #at: Position | undefined
  /** Whether the stored entries were read: now the feed delivers. */
  #live = false
  /** The feed's last reported position since the last read began. */
  #reported: Position | undefined
  readonly #closing = new AbortController()

  constructor(options: TailOptions) {
    this.#options = options
  }

  /**
   * Returns whether all stored entries were delivered, after `within` ms at the latest. Keeps trying after that. Does not
   * raise.
   */
  async open(within: number): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<void>(resolve => {
      timer = setTimeout(resolve, within)
    })
    await Promise.race([this.#run(), late])
    clearTimeout(timer)
    return this.#live
  }

  close(): void {
    this.#closing.abort()
    this.#feed?.close()
  }

  get #closed(): boolean {
    return this.#closing.signal.aborted
  }

  async #run(): Promise<void> {
    for (let failures = 1; !this.#closed; failures++) {
      try {
        await this.#follow()
        return
      } catch (error) {
        if (this.#closed) return
        const { channel, logger } = this.#options
        logger.warn(
          { channel, reason: String(error) },
          'the node cannot follow the other nodes; it will retry',
        )
        this.#feed?.close()
        this.#feed = undefined
        await pause(failures, this.#closing.signal)
      }
    }
  }

  async #follow(): Promise<void> {
    const { log, channel } = this.#options
    const feed = await log.follow(channel, this.#follower)
    if (this.#closed) return feed.close()
    this.#feed = feed
    await feed.unbegun?.begin()
    while (!this.#live && !this.#closed) await this.#read()
  }

  async #read(): Promise<void> {
    const { log, channel } = this.#options
    this.#reported = undefined
    const page = await log.read(channel, this.#at ?? 'earliest', PAGE)
    if (this.#closed) return
    if (page.gap !== undefined) this.#miss(page.gap)
    for (const event of page.events) this.#hand(event, true)
    this.#at = page.cursor
    // The feed may have reported a newer position than this read has seen.
    this.#live = !page.more && (this.#reported === undefined || this.#has(this.#reported))
  }

  readonly #follower: Follower = {
    start: at => {
      if (this.#options.from !== 'latest') return
      this.#at = at
      this.#live = true
    },
    begun: at => {
      this.#reported = at
      if (this.#live && !this.#has(at)) this.#at = at
    },
    events: events => {
      this.#reported = events.at(-1)
      if (!this.#live) return
      for (const event of events) {
        if (this.#closed) return
        if (!this.#has(event)) this.#hand(event, false)
      }
    },
    gap: gap => {
      this.#reported = gap.to
      if (!this.#live || this.#has(gap.to)) return
      this.#at = gap.to
      this.#miss(gap)
    },
    // It caches nothing.
    forget() {},
    transient: events => {
      const { transient } = this.#options
      if (transient === undefined || this.#closed) return
      for (const event of events) this.#guard(() => transient(entryOf(event, false)))
    },
  }

  /** Whether an event was already delivered: the last read may have returned it before the feed reports it. */
  #has({ epoch, offset }: Position): boolean {
    return this.#at?.epoch === epoch && this.#at.offset >= offset
  }

  #hand(event: LogEvent, past: boolean): void {
    const { epoch, offset } = event
    this.#at = { epoch, offset }
    this.#guard(() => this.#options.entry(entryOf(event, past)))
  }

  #miss(gap: Gap): void {
    const { channel, logger, missed } = this.#options
    logger.warn({ channel, ...gap }, 'the node may have missed messages of other nodes')
    if (missed !== undefined) this.#guard(() => missed(gap))
  }

  /** Logs an error of a handler, so that the next entry is still delivered. */
  #guard(call: () => void): void {
    const { channel, logger } = this.#options
    try {
      call()
    } catch (err) {
      logger.warn({ err, channel }, 'an entry could not be handled')
    }
  }
}
