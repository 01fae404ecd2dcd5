// A channel that this node follows: its recent events, its readers, and the stretches that they share.

import type { LogEvent } from '../event/event.ts'
import type { ChannelLog, Feed, Follower, Page, PageLimit } from '../log/log.ts'
import { type Gap, type Position, printPosition, type Start } from '../event/position.ts'
import { jitter } from '../../backoff.ts'
import type { Framing } from './framing.ts'
import type { Hub } from './hub.ts'
import type { Reader } from './reader.ts'
import { Recent } from './recent.ts'

/** A stretch is capped so that one reader that is far behind can't hold the loop. */
export const STRETCH: PageLimit = { events: 1024, bytes: 256 * 1024 }

/** Stretches that a channel keeps for one wire. */
const MAX_STRETCHES = 64

/** Pages that a channel keeps for readers that are far behind, and for how long, ms. */
const MAX_PAGES = 8
const KEEP_PAGES = 1000

/** What low-priority events gather to before they wake anyone: ARCHITECTURE.md#fan-out. */
export interface Gather {
  readonly events: number
  readonly bytes: number
  /** Of the oldest, ms; 0: they do not gather. */
  readonly age: number
}

/** Events of one channel, encoded for one wire. */
export interface Stretch {
  readonly bytes: Buffer
  readonly count: number
  /** Offset of its last event. */
  readonly to: number
}

/** A page read from the log, with the bytes that readers on the same wire share. */
export class Fetched {
  readonly page: Page
  readonly #frames = new Map<Framing, Buffer>()

  constructor(page: Page) {
    this.page = page
  }

  /** Bytes of memory, about: the events, and as much again encoded. */
  get size(): number {
    return 2 * this.page.events.reduce((sum, event) => sum + event.json.length, 0)
  }

  frames(framing: Framing): Buffer {
    const known = this.#frames.get(framing)
    if (known !== undefined) return known
    const { within } = framing
    const bytes =
      within === undefined
        ? framing.stretch(this.page.events, 0, this.page.events.length)
        : within.view(this.frames(within.framing))
    this.#frames.set(framing, bytes)
    return bytes
  }
}

export class Channel implements Follower {
  readonly name: string
  readonly recent: Recent
  readonly readers: Reader[] = []
  /** Readers and requests that keep the channel open. */
  holds = 0
  /** When the last hold was released, ms since 1970. */
  idleSince = 0
  /** When somebody was last answered from memory, ms since 1970: who shrinks first is decided by it. */
  lastRead = 0
  /** Grows with every change that the feed brings. */
  version = 0
  readonly #hub: Hub
  readonly #log: ChannelLog
  #feed: Feed | undefined
  /** It has a feed, or soon will have. Else it has no memory, and only gives pages from the log. */
  #followed = false
  #closed = false
  /** The epoch in which it stood before the log had written anything down; the same as the beginning of `now`. */
  #unbegun = { epoch: '', now: '' }
  /** The newest position that this node acknowledged to a writer; the feed may still be behind it. */
  #acknowledged: Position | undefined
  readonly #stretches = new Map<Framing, Map<number, Stretch>>()
  /** Bytes of the stretches. */
  #encoded = 0
  readonly #flights = new Map<string, Promise<Fetched>>()
  /** Pages that were read a moment ago, by their start. */
  readonly #pages = new Map<string, Fetched>()
  /** Bytes of these pages. */
  #kept = 0
  #pagesTimer: NodeJS.Timeout | undefined
  /** Who waits for a log that failed, and will ask it again. */
  readonly #waiting: (() => void)[] = []
  #retryTimer: NodeJS.Timeout | undefined
  /** The next reader that the running pass visits is the one before this slot; 0 when no pass is running. */
  #pass = 0
  #news = false
  /** Low-priority events that have not woken anyone yet. */
  #gathered = { events: 0, bytes: 0 }
  #gatherTimer: NodeJS.Timeout | undefined

  constructor(name: string, hub: Hub, log: ChannelLog) {
    this.name = name
    this.recent = new Recent(() => hub.options.retentionOf(name))
    this.#hub = hub
    this.#log = log
  }

  // The feed ------------------------------------------------------------------------------------------------

  /** Opens the feed. Raises LogUnavailable. */
  async open(): Promise<void> {
    this.#followed = true
    const feed = await this.#log.follow(this.name, this)
    if (this.#closed) feed.close()
    else this.#feed = feed
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#gatherTimer)
    clearTimeout(this.#retryTimer)
    this.#feed?.close()
    this.#remember(() => {
      this.#forgetStretches()
      this.#forgetPages()
      this.recent.reset({ epoch: '', offset: 0 })
    })
  }

  start(at: Position): void {
    this.recent.reset(at)
  }

  begun(at: Position): void {
    const { epoch } = this.recent
    this.#remember(() => {
      this.#forgetPages()
      this.recent.reset(at)
    })
    this.#unbegun = { epoch, now: at.epoch }
    for (const reader of this.readers) reader.moveTo(this.#present(reader))
  }

  /** What a position has become where it stood in a channel before that began. */
  #present(at: Position): Position {
    const { epoch, now } = this.#unbegun
    return at.offset === 0 && at.epoch === epoch ? { epoch: now, offset: 0 } : at
  }

  /** The position that `start` stands for, for a reader that stays. Raises LogUnavailable. */
  async settle(start: Start): Promise<Position> {
    await this.begin()
    return this.resolve(start)
  }

  /** A reader stays: its position has to mean something on other nodes. */
  async begin(): Promise<void> {
    await this.#feed?.unbegun?.begin()
  }

  events(events: readonly LogEvent[]): void {
    this.#remember(() => {
      this.#forgetStretches()
      this.recent.push(events)
      this.recent.trim(Date.now())
    })
    this.version++
    if (this.#urgent(events)) this.#wake()
  }

  gap(gap: Gap): void {
    this.#remember(() => {
      this.#forgetStretches()
      this.#forgetPages()
      this.recent.reset(gap.to)
    })
    this.version++
    // What was acknowledged in an epoch that is over will not come any more.
    if (this.#acknowledged?.epoch === gap.from.epoch) this.#acknowledged = undefined
    this.#wake()
  }

  /** Notes what this node told a writer, so that whoever asks it next sees it. */
  acknowledged(position: Position): void {
    this.#feed?.unbegun?.heard(position)
    const known = this.#acknowledged
    if (known === undefined || known.epoch !== position.epoch || known.offset < position.offset)
      this.#acknowledged = position
  }

  /** Whether these events wake readers now. Low ones first gather. */
  #urgent(events: readonly LogEvent[]): boolean {
    for (const event of events) {
      if (!event.low) return true
      this.#gathered.events++
      this.#gathered.bytes += event.bytes
    }
    const { low } = this.#hub.options
    const enough = this.#gathered.events >= low.events || this.#gathered.bytes >= low.bytes
    if (enough || low.age === 0) return true
    this.#gatherTimer ??= setTimeout(() => this.#wake(), low.age)
    return false
  }

  #wake(): void {
    clearTimeout(this.#gatherTimer)
    this.#gatherTimer = undefined
    this.#gathered.events = 0
    this.#gathered.bytes = 0
    this.#news = true
    this.#hub.flushSoon(this)
  }

  // Memory --------------------------------------------------------------------------------------------------

  /** Bytes of memory held, about. */
  get size(): number {
    return this.recent.size + this.#encoded + this.#kept
  }

  /** Lets go of memory until at most `size` bytes are held: what was made for readers first, then the oldest events. */
  shrink(size: number): void {
    if (this.size <= size) return
    this.#forgetStretches()
    this.#forgetPages()
    this.recent.shrink(size)
  }

  #remember(change: () => void): void {
    const before = this.size
    change()
    this.#hub.remembered(this.size - before)
  }

  #forgetStretches(): void {
    this.#stretches.clear()
    this.#encoded = 0
  }

  #forgetPages(): void {
    clearTimeout(this.#pagesTimer)
    this.#pagesTimer = undefined
    this.#pages.clear()
    this.#kept = 0
  }

  // Readers -------------------------------------------------------------------------------------------------

  join(reader: Reader): void {
    reader.slot = this.readers.length
    this.readers.push(reader)
    this.hold()
  }

  leave(reader: Reader): void {
    if (reader.slot === -1) return
    // The last reader takes the free slot. A pass goes downwards, so whoever moves has been visited already.
    const last = this.readers.pop() as Reader
    if (last !== reader) {
      this.readers[reader.slot] = last
      last.slot = reader.slot
    }
    reader.slot = -1
    this.release()
  }

  hold(): void {
    if (this.holds++ === 0) this.#hub.busy(this)
  }

  release(): void {
    if (--this.holds > 0) return
    this.idleSince = Date.now()
    this.#hub.idle(this)
  }

  /**
   * Visits readers until `deadline` (performance.now()). True when every reader has been visited since the last
   * news. What arrives between two slices joins the stretch.
   */
  flush(deadline: number): boolean {
    if (this.#pass === 0) {
      this.#pass = this.readers.length
      this.#news = false
      const now = Date.now()
      if (this.readers.length > 0) this.lastRead = now
      this.#remember(() => this.recent.trim(now))
    }
    while (this.#pass > 0) {
      const reader = this.readers[--this.#pass]
      if (reader !== undefined) reader.target.wake(reader)
      if ((this.#pass & 15) === 0 && performance.now() > deadline) break
    }
    return this.#pass === 0 && !this.#news
  }

  /** The capped stretch after `offset`, which must lie in memory and before the head. Shared by wire. */
  stretch(framing: Framing, offset: number): Stretch {
    const known = this.#stretches.get(framing)?.get(offset)
    if (known !== undefined) return known
    const stretch = this.#encode(framing, offset)
    this.#remember(() => {
      if ((this.#stretches.get(framing)?.size ?? 0) >= MAX_STRETCHES) this.#forgetStretches()
      const byOffset = this.#stretches.get(framing)
      if (byOffset === undefined) this.#stretches.set(framing, new Map([[offset, stretch]]))
      else byOffset.set(offset, stretch)
      if (framing.within === undefined) this.#encoded += stretch.bytes.length
    })
    return stretch
  }

  #encode(framing: Framing, offset: number): Stretch {
    const { within } = framing
    if (within !== undefined) {
      const stretch = this.stretch(within.framing, offset)
      return { ...stretch, bytes: within.view(stretch.bytes) }
    }
    const { from, to } = this.extent(offset)
    const bytes = framing.stretch(this.recent.list, from, to)
    return { bytes, count: to - from, to: offset + to - from }
  }

  /** Where the capped stretch after `offset` begins and ends in `recent.list`. */
  extent(offset: number, limit: PageLimit = STRETCH): { from: number; to: number } {
    const { list } = this.recent
    const from = this.recent.indexAfter(offset)
    const end = Math.min(list.length, from + limit.events)
    let bytes = 0
    let to = from
    while (to < end) {
      bytes += (list[to] as LogEvent).json.length
      if (bytes > limit.bytes && to > from) break
      to++
    }
    return { from, to }
  }

  // Reading -------------------------------------------------------------------------------------------------

  /** The page after `start` if memory can answer for it; undefined where the log has to be asked. */
  peek(start: Start, limit: PageLimit): Page | undefined {
    if (start === 'earliest' || this.#behindAcknowledged()) return undefined
    const now = Date.now()
    this.lastRead = now
    this.#remember(() => this.recent.trim(now))
    const { epoch, head } = this.recent
    const at = start === 'latest' ? { epoch, offset: head } : start
    if (!this.recent.holds(at)) return undefined
    const { from, to } = this.extent(at.offset, limit)
    const cursor = { epoch, offset: at.offset + to - from }
    const events = this.recent.list.slice(from, to)
    return { gap: undefined, start: at, events, cursor, more: cursor.offset < head }
  }

  /** The position that a start stands for. Raises LogUnavailable. */
  async resolve(start: Start): Promise<Position> {
    if (typeof start === 'object') return this.#present(start)
    return (await this.page(start, { events: 1, bytes: 1 })).start
  }

  /**
   * The page after `start`, from memory or else from the log, with whatever this node knew of when it was asked.
   * Raises LogUnavailable.
   */
  async page(asked: Start, limit: PageLimit): Promise<Page> {
    if (!this.#followed) return (await this.fetch(asked, limit)).page
    // Who comes back stays.
    if (typeof asked === 'object' && this.#feed?.unbegun) await this.begin()
    const start = typeof asked === 'object' ? this.#present(asked) : asked
    const held = this.peek(start, limit)
    if (held !== undefined) return held
    const known = this.#newestKnown()
    const { page } = await this.fetch(start, limit)
    const { cursor, more } = page
    if (more || (cursor.epoch === known.epoch && cursor.offset >= known.offset)) return page
    // It may have joined a read that had looked before; one that begins now has not.
    return (await this.fetch(start, limit)).page
  }

  /** A page from the log. However many ask for the same page at a time, the log is asked once. */
  fetch(start: Start, limit: PageLimit = STRETCH): Promise<Fetched> {
    const key = `${typeof start === 'string' ? start : printPosition(start)} ${limit.events} ${limit.bytes}`
    let flight = this.#flights.get(key)
    if (flight === undefined) {
      flight = this.#read(start, limit).finally(() => this.#flights.delete(key))
      this.#flights.set(key, flight)
    }
    return flight
  }

  /**
   * The page after `start` for a reader that stays. Those that are behind alike do not come at the same moment, since
   * they take turns at their sockets: so what can't change any more is kept for a while, with its bytes.
   */
  async share(start: Position): Promise<Fetched> {
    const key = printPosition(start)
    const kept = this.#pages.get(key)
    if (kept !== undefined) return kept
    const fetched = await this.fetch(start)
    const { gap, events, more } = fetched.page
    const past = more && gap === undefined && events.length > 0
    if (past && !this.#closed && !this.#pages.has(key)) this.#keep(key, fetched)
    return fetched
  }

  #keep(key: string, fetched: Fetched): void {
    this.#remember(() => {
      if (this.#pages.size >= MAX_PAGES) this.#forgetPages()
      this.#pages.set(key, fetched)
      this.#kept += fetched.size
    })
    this.#pagesTimer ??= setTimeout(() => this.#remember(() => this.#forgetPages()), KEEP_PAGES).unref()
  }

  /** Calls back a while after the log has failed: all that wait at the same time, so that they ask it together. */
  askLater(again: () => void): void {
    this.#waiting.push(again)
    this.#retryTimer ??= setTimeout(() => {
      this.#retryTimer = undefined
      for (const each of this.#waiting.splice(0)) each()
    }, jitter(1000)).unref()
  }

  async #read(start: Start, limit: PageLimit): Promise<Fetched> {
    let acknowledged: Position | undefined
    const page = await this.#hub.reading.through(async () => {
      this.#hub.logReads++
      acknowledged = this.#acknowledged
      return this.#own(await this.#log.read(this.name, start, limit, typeof start === 'object'))
    })
    this.#remember(() => {
      this.recent.prepend(page.events)
      this.recent.trim(Date.now())
    })
    const { epoch } = this.recent
    if (!page.more && page.cursor.epoch === epoch && this.#acknowledged === acknowledged) {
      // The log is in the epoch that the node is in: what was acknowledged in another is old, such as a replay.
      if (acknowledged?.epoch !== epoch) this.#acknowledged = undefined
    }
    return new Fetched(page)
  }

  /** Where the channel has not begun, its epoch changes from time to time: this node gives that of its feed. */
  #own(page: Page): Page {
    if (page.unbegun === undefined || this.#feed?.unbegun === undefined) return page
    const { epoch, head } = this.recent
    const at = { epoch, offset: head }
    return { ...page, start: at, cursor: at, gap: page.gap && { from: page.gap.from, to: at } }
  }

  /** The newest position that this node can vouch for. */
  #newestKnown(): Position {
    const { epoch, head } = this.recent
    return this.#behindAcknowledged() ? (this.#acknowledged as Position) : { epoch, offset: head }
  }

  #behindAcknowledged(): boolean {
    const acknowledged = this.#acknowledged
    if (acknowledged === undefined) return false
    if (acknowledged.epoch === this.recent.epoch && acknowledged.offset <= this.recent.head) {
      this.#acknowledged = undefined
      return false
    }
    return true
  }
}
