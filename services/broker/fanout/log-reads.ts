// Reads from the log for one channel: one read per page at a time, however many readers need it. Pages for streams that
// are far behind are cached briefly.

import { jitter } from '../../backoff.ts'
import { type Position, printPosition, printStart, type Start } from '../event/position.ts'
import type { Page, PageLimit } from '../log/log.ts'
import type { Framing } from './framing.ts'
import type { MemoryBudget } from './memory-budget.ts'
import { type Reach, selectedPage, type Selection } from './selection.ts'
import { STRETCH } from './stretches.ts'

/** The number of cached pages. */
const MAX_PAGES = 8
const KEEP_PAGES_MS = 1000
/** How long readers wait after the log has failed, ms, plus or minus half. */
const RETRY_MS = 1000

const UNLIMITED: PageLimit = { events: Number.POSITIVE_INFINITY, bytes: Number.POSITIVE_INFINITY }
/** How far one page of a selection reads. The client receives its position after each page. */
const PAGE_BY_PAGE: Reach = { limit: UNLIMITED, scanned: 1 }
const TO_THE_NEWEST: Reach = { limit: STRETCH, scanned: 100_000 }

/** A page with the bytes that readers on the same wire share. */
export class SharedPage {
  readonly page: Page
  readonly #encoded = new Map<Framing, Buffer>()

  constructor(page: Page) {
    this.page = page
  }

  /** The approximate bytes of memory: the events, and the same amount for their encodings. */
  get size(): number {
    return 2 * this.page.events.reduce((sum, event) => sum + event.json.length, 0)
  }

  /** Its events, encoded for a wire. */
  encoded(framing: Framing): Buffer {
    const known = this.#encoded.get(framing)
    if (known !== undefined) return known
    const { within } = framing
    const bytes =
      within === undefined
        ? framing.stretch(this.page.events, 0, this.page.events.length)
        : within.view(this.encoded(within.framing))
    this.#encoded.set(framing, bytes)
    return bytes
  }
}

export class LogReads {
  /** Bytes of memory held. */
  size = 0
  /** The number of calls of `outdate`. */
  outdated = 0
  readonly #read: (start: Start, limit: PageLimit) => Promise<Page>
  readonly #memory: MemoryBudget
  readonly #inFlight = new Map<string, Promise<SharedPage>>()
  /** Recently read pages, by their start. */
  readonly #pages = new Map<string, SharedPage>()
  #pagesTimer: NodeJS.Timeout | undefined
  /** Readers that wait after the log has failed. */
  readonly #retries: (() => void)[] = []
  #retryTimer: NodeJS.Timeout | undefined
  #closed = false

  /** `read` reads from the log. */
  constructor(read: (start: Start, limit: PageLimit) => Promise<Page>, memory: MemoryBudget) {
    this.#read = read
    this.#memory = memory
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#retryTimer)
    this.forget()
  }

  /** The page after `start`. Calls for the same page at the same time share one read. Raises LogUnavailable. */
  page(start: Start, limit: PageLimit): Promise<SharedPage> {
    const key = `${printStart(start)} ${limit.events} ${limit.bytes}`
    let read = this.#inFlight.get(key)
    if (read === undefined) {
      const begun = this.#read(start, limit)
        .then(page => new SharedPage(page))
        .finally(() => {
          if (this.#inFlight.get(key) === begun) this.#inFlight.delete(key)
        })
      this.#inFlight.set(key, begun)
      read = begun
    }
    return read
  }

  /**
   * The page after `start` for a reader of a stream. Readers that are equally far behind request it at different times,
   * since they wait for their sockets. So a page that can't change any more is cached for a while, with its encodings.
   * Raises LogUnavailable.
   */
  async stretch(start: Position): Promise<SharedPage> {
    const key = printPosition(start)
    const kept = this.#pages.get(key)
    if (kept !== undefined) return kept
    const outdated = this.outdated
    const read = await this.page(start, STRETCH)
    const { gap, events, more } = read.page
    const final = more && gap === undefined && events.length > 0 && outdated === this.outdated
    if (final && !this.#closed && !this.#pages.has(key)) this.#keep(key, read)
    return read
  }

  /**
   * A selection's part of the page after `start`, and, if it wants only the newest events, of the following pages.
   * Concurrent calls with the same arguments share one read. Raises LogUnavailable.
   */
  selected(start: Position, selection: Selection): Promise<SharedPage> {
    const key = `${printPosition(start)} ${selection.key}`
    let read = this.#inFlight.get(key)
    if (read === undefined) {
      const reach = selection.newest === undefined ? PAGE_BY_PAGE : TO_THE_NEWEST
      const { outdated } = this
      const page = async (at: Position) => (await this.stretch(at)).page
      const begun = page(start)
        .then(async first => {
          const selected = await selectedPage(selection, first, reach, page)
          return outdated === this.outdated ? new SharedPage(selected) : this.selected(start, selection)
        })
        .finally(() => {
          if (this.#inFlight.get(key) === begun) this.#inFlight.delete(key)
        })
      this.#inFlight.set(key, begun)
      read = begun
    }
    return read
  }

  /** Calls back a while after the log has failed, all callers at once, so that they share a read. */
  retryLater(retry: () => void): void {
    this.#retries.push(retry)
    this.#retryTimer ??= setTimeout(() => {
      this.#retryTimer = undefined
      for (const each of this.#retries.splice(0)) each()
    }, jitter(RETRY_MS)).unref()
  }

  /** Drops the cached pages. */
  forget(): void {
    clearTimeout(this.#pagesTimer)
    this.#pagesTimer = undefined
    this.#pages.clear()
    this.#count(-this.size)
  }

  /** Drops the cached pages and the reads in flight: the next reader reads from the log. */
  outdate(): void {
    this.outdated++
    this.#inFlight.clear()
    this.forget()
  }

  #keep(key: string, page: SharedPage): void {
    if (this.#pages.size >= MAX_PAGES) this.forget()
    this.#pages.set(key, page)
    this.#pagesTimer ??= setTimeout(() => this.forget(), KEEP_PAGES_MS).unref()
    this.#count(page.size)
  }

  #count(bytes: number): void {
    this.size += bytes
    this.#memory.add(bytes)
  }
}
