// A channel that this node follows: its feed, its recent events, and the members that wait for news.

import { FanwireError } from '../../errors.ts'
import type { LogEvent } from '../event/event.ts'
import { type Gap, isPosition, isSince, type Last, type Position, type Start } from '../event/position.ts'
import type { ChannelLog, Feed, Follower, Page, PageLimit, RetentionOf } from '../log/log.ts'
import type { ConcurrencyLimit } from './concurrency-limit.ts'
import type { Flushable, FlushLoop } from './flush-loop.ts'
import type { Pages } from './glance.ts'
import { LogReads } from './log-reads.ts'
import { LowPriority, type LowPriorityLimits } from './low-priority.ts'
import type { MemoryBudget, Shrinkable } from './memory-budget.ts'
import { type Hears, Passage } from './passing.ts'
import { Recent } from './recent.ts'
import type { Selection } from './selection.ts'
import { chooseAll, Stretches } from './stretches.ts'
import { View } from './view.ts'

/** A reader, or a request that waits for news. */
export interface Member extends Hears {
  /** Its index among the channel's members, which the channel sets; -1 while it is not a member. */
  slot: number
  /** The channel has news. Called within a flush: synchronous, does not raise. */
  wake(): void
  /** Called when the channel's first event arrives: earlier positions are now in another epoch. */
  begun?(): void
}

/** Notified when a channel is held, and when its last hold is released. */
export interface ChannelHolds {
  held(channel: Channel): void
  released(channel: Channel): void
}

/** The objects that all channels of a node share. */
export interface ChannelEnvironment {
  readonly log: ChannelLog
  readonly retentionOf: RetentionOf
  readonly low: LowPriorityLimits
  readonly memory: MemoryBudget
  readonly flushLoop: FlushLoop
  readonly logReads: ConcurrencyLimit
  readonly holds: ChannelHolds
  /** The members of all channels together, since adding them up takes long on a node with many channels. */
  readonly members: { count: number }
}

/** The maximum number of views of one channel on one node. */
const MAX_VIEWS = 256

/** No provisional epoch was replaced. */
const NOT_REPLACED = { epoch: '', now: '' }

const NO_VIEWS: readonly View[] = []

/** Most channels are quiet, so objects that only news, reads or selections need are created lazily. */
export class Channel implements Follower, Flushable, Shrinkable, Pages {
  readonly name: string
  readonly recent: Recent
  readonly stretches: Stretches
  readonly members: Member[] = []
  #reads: LogReads | undefined
  #passage: Passage | undefined
  #lowPriority: LowPriority | undefined
  /** The views, by the keys of their selections. */
  #views: Map<string, View> | undefined
  /** Members and requests that keep the channel open. */
  holds = 0
  /** When the last hold was released, ms since 1970. */
  idleSince = 0
  /** When its memory was last read, ms since 1970. */
  lastRead = 0
  /** Grows with each change from the feed. */
  version = 0
  /** Whether the channel has ended: nothing can follow the head. */
  ended = false
  readonly #environment: ChannelEnvironment
  #feed: Feed | undefined
  #closed = false
  /** The provisional epoch that the channel had before its first event, and the epoch that replaced it. */
  #unbegun = NOT_REPLACED
  /** The newest position that this node acknowledged to a publisher. The feed may still be behind it. */
  #acknowledged: Position | undefined
  /** The current pass visits the member before this slot next; 0 if there is none. */
  #pass = 0
  #news = false

  constructor(name: string, environment: ChannelEnvironment) {
    const { retentionOf, memory } = environment
    this.name = name
    this.#environment = environment
    this.recent = new Recent(() => retentionOf(name))
    this.stretches = new Stretches(chooseAll(this.recent), memory)
  }

  // The feed ------------------------------------------------------------------------------------------------

  /** Opens the feed. Raises LogUnavailable. */
  async open(): Promise<void> {
    const feed = await this.#environment.log.follow(this.name, this)
    if (this.#closed) feed.close()
    else this.#feed = feed
  }

  close(): void {
    this.#closed = true
    this.#lowPriority?.reset()
    this.#passage?.close()
    this.#feed?.close()
    this.#forgetStretches()
    for (const view of this.#allViews()) view.close()
    this.#reads?.close()
    this.#remember(() => this.recent.reset({ epoch: '', offset: 0 }))
  }

  start(at: Position, ended = false): void {
    this.ended = ended
    this.recent.reset(at)
  }

  begun(at: Position): void {
    const { epoch } = this.recent
    this.#reads?.forget()
    this.#remember(() => this.recent.reset(at))
    this.#unbegun = { epoch, now: at.epoch }
    for (const member of this.members) member.begun?.()
  }

  /** Translates a position from before the channel's first event into the current epoch. */
  present(at: Position): Position {
    const { epoch, now } = this.#unbegun
    return at.offset === 0 && at.epoch === epoch ? { epoch: now, offset: 0 } : at
  }

  /** The position where a long-lived reader begins. Raises LogUnavailable. */
  async settle(start: Start): Promise<Position> {
    await this.begin()
    return this.resolve(start)
  }

  /** Makes a long-lived reader's positions in a channel without events valid on other nodes. */
  async begin(): Promise<void> {
    await this.#feed?.unbegun?.begin()
  }

  events(events: readonly LogEvent[]): void {
    this.#passage?.finish()
    this.#forgetStretches()
    this.#remember(() => {
      this.recent.push(events)
      this.recent.trim(Date.now())
    })
    this.version++
    if (events.at(-1)?.kind === 'end') this.ended = true
    if (!this.#holdBack(events)) this.#wake()
  }

  gap(gap: Gap, ended = false): void {
    this.#passage?.finish()
    this.#forgetStretches()
    this.#reads?.outdate()
    this.ended = ended
    this.#remember(() => this.recent.reset(gap.to))
    this.version++
    // An event that was acknowledged in an ended epoch may never arrive.
    if (this.#acknowledged?.epoch === gap.from.epoch) this.#acknowledged = undefined
    this.#wake()
  }

  forget(): void {
    const { epoch, head } = this.recent
    this.#forgetStretches()
    this.#reads?.outdate()
    this.#remember(() => this.recent.reset({ epoch, offset: head }))
  }

  transient(events: readonly LogEvent[]): void {
    if (this.ended) return
    this.#passage ??= new Passage(this.members, this.#environment.flushLoop)
    this.#passage.bring(events)
  }

  /** Notes that this node acknowledged an event, so that the next request on this node sees it. */
  acknowledged(position: Position): void {
    this.#feed?.unbegun?.heard(position)
    const known = this.#acknowledged
    if (known === undefined || known.epoch !== position.epoch || known.offset < position.offset)
      this.#acknowledged = position
  }

  /** Whether these events do not wake readers yet. */
  #holdBack(events: readonly LogEvent[]): boolean {
    if (!events.every(event => event.low)) return false
    this.#lowPriority ??= new LowPriority(this.#environment.low, () => this.#wake())
    return this.#lowPriority.holdBack(events)
  }

  #wake(): void {
    this.#lowPriority?.reset()
    this.#news = true
    this.#environment.flushLoop.flushSoon(this)
  }

  // Memory --------------------------------------------------------------------------------------------------

  get size(): number {
    let size = this.recent.size + this.stretches.size + (this.#reads?.size ?? 0)
    for (const { stretches } of this.#allViews()) size += stretches.size
    return size
  }

  #forgetStretches(): void {
    this.stretches.forget()
    for (const { stretches } of this.#allViews()) stretches.forget()
  }

  /** Releases the encodings for readers first, then the oldest events. */
  shrink(size: number): void {
    if (this.size <= size) return
    this.#forgetStretches()
    this.#reads?.forget()
    this.#remember(() => this.recent.shrink(size))
  }

  /** Changes the recent events and counts the difference. */
  #remember(change: () => void): void {
    const before = this.recent.size
    change()
    this.#environment.memory.add(this.recent.size - before)
  }

  // Members -------------------------------------------------------------------------------------------------

  join(member: Member): void {
    member.slot = this.members.length
    this.members.push(member)
    this.#environment.members.count++
    this.hold()
  }

  leave(member: Member): void {
    if (member.slot === -1) return
    // The last member moves to the free slot. A pass goes downwards, so it has already visited that member.
    const last = this.members.pop() as Member
    if (last !== member) {
      this.members[member.slot] = last
      last.slot = member.slot
    }
    member.slot = -1
    this.#environment.members.count--
    this.release()
  }

  hasRoomFor(selection: Selection): boolean {
    return this.#views === undefined || this.#views.size < MAX_VIEWS || this.#views.has(selection.key)
  }

  /** Raises FW_TOO_MANY_FILTERS unless there is room for readers with these selections. */
  requireRoomFor(selection: Selection | undefined): void {
    if (selection === undefined || this.hasRoomFor(selection)) return
    throw new FanwireError(
      'FW_TOO_MANY_FILTERS',
      `this node has ${MAX_VIEWS} different filters of ${this.name}; try another node`,
    )
  }

  /** The view that readers with this selection share. The caller releases it. Raises FW_TOO_MANY_FILTERS. */
  view(selection: Selection): View {
    this.requireRoomFor(selection)
    this.#views ??= new Map()
    let view = this.#views.get(selection.key)
    if (view === undefined) {
      const { memory, flushLoop } = this.#environment
      view = new View(selection, this.recent, memory, flushLoop)
      this.#views.set(selection.key, view)
    }
    view.readers++
    return view
  }

  letGoOf(view: View): void {
    if (--view.readers > 0) return
    view.close()
    this.#views?.delete(view.selection.key)
  }

  #allViews(): Iterable<View> {
    return this.#views?.values() ?? NO_VIEWS
  }

  hold(): void {
    if (this.holds++ === 0) this.#environment.holds.held(this)
  }

  release(): void {
    if (--this.holds > 0) return
    this.idleSince = Date.now()
    this.#environment.holds.released(this)
  }

  /** See Flushable. Events that arrive between two slices join the stretch. */
  flush(deadline: number): boolean {
    if (this.#pass === 0) {
      this.#pass = this.members.length
      this.#news = false
      const now = Date.now()
      if (this.members.length > 0) this.lastRead = now
      this.#remember(() => this.recent.trim(now))
    }
    while (this.#pass > 0) {
      this.members[--this.#pass]?.wake()
      if ((this.#pass & 15) === 0 && performance.now() > deadline) break
    }
    return this.#pass === 0 && !this.#news
  }

  // Reading -------------------------------------------------------------------------------------------------

  get reads(): LogReads {
    if (this.#reads !== undefined) return this.#reads
    const reads = new LogReads((start, limit) => this.#read(start, limit), this.#environment.memory)
    if (this.#closed) reads.close()
    this.#reads = reads
    return reads
  }

  /** The page after `start` from memory; undefined if it has to be read from the log. */
  peek(start: Start, limit: PageLimit): Page | undefined {
    if (start === 'earliest' || isSince(start) || this.#isBehindAcknowledged()) return undefined
    const now = Date.now()
    this.lastRead = now
    this.#remember(() => this.recent.trim(now))
    const { epoch, head } = this.recent
    const at = isPosition(start) ? start : { epoch, offset: head - this.#recordsOf(start) }
    if (!this.recent.holds(at)) return undefined
    const { from, to } = this.recent.extent(at.offset, limit)
    const cursor = { epoch, offset: at.offset + to - from }
    const events = this.recent.list.slice(from, to)
    const page = { gap: undefined, start: at, events, cursor, more: cursor.offset < head }
    return this.ended && !page.more ? { ...page, ended: true } : page
  }

  /** The number of records from a start on: as in history.ts, the end is not one of the newest events. */
  #recordsOf(start: 'latest' | Last): number {
    if (start === 'latest') return 0
    return start.last + (this.ended ? 1 : 0)
  }

  /** The position that a start means. Raises LogUnavailable. */
  async resolve(start: Start): Promise<Position> {
    if (isPosition(start)) return this.present(start)
    return (await this.page(start, { events: 1, bytes: 1 })).start
  }

  /**
   * The page after `start`, from memory or else from the log. It includes every event that this node knew at the time of
   * the call. Raises LogUnavailable.
   */
  async page(asked: Start, limit: PageLimit): Promise<Page> {
    // A client that reconnects with a position is a long-lived reader.
    if (isPosition(asked) && this.#feed?.unbegun) await this.begin()
    const start = isPosition(asked) ? this.present(asked) : asked
    const held = this.peek(start, limit)
    if (held !== undefined) return held
    const known = this.#newestKnown()
    const { page } = await this.reads.page(start, limit)
    const { cursor, more } = page
    if (more || (cursor.epoch === known.epoch && cursor.offset >= known.offset)) return page
    // A shared read that began earlier may have missed an event. A read that begins now includes it.
    return (await this.reads.page(start, limit)).page
  }

  /** The page after `start`, read from the log even if memory has it. Raises LogUnavailable. */
  async logged(start: Start, limit: PageLimit): Promise<Page> {
    return (await this.reads.page(start, limit)).page
  }

  async #read(start: Start, limit: PageLimit): Promise<Page> {
    const { log, logReads } = this.#environment
    let acknowledged: Position | undefined
    const { outdated } = this.reads
    const page = await logReads.run(async () => {
      acknowledged = this.#acknowledged
      return this.#inOwnEpoch(await log.read(this.name, start, limit, isPosition(start)))
    })
    if (outdated === this.reads.outdated) {
      this.#remember(() => {
        this.recent.prepend(page.events)
        this.recent.trim(Date.now())
      })
    }
    const { epoch } = this.recent
    if (!page.more && page.cursor.epoch === epoch && this.#acknowledged === acknowledged) {
      // The log is in the node's epoch, so a position in another epoch is old, such as that of a duplicate.
      if (acknowledged?.epoch !== epoch) this.#acknowledged = undefined
    }
    return page
  }

  /** The page in the epoch of this node's feed: before the channel's first event, its provisional epoch changes. */
  #inOwnEpoch(page: Page): Page {
    if (page.unbegun === undefined || this.#feed?.unbegun === undefined) return page
    const { epoch, head } = this.recent
    const at = { epoch, offset: head }
    return { ...page, start: at, cursor: at, gap: page.gap && { from: page.gap.from, to: at } }
  }

  /** The newest position that this node knows. */
  #newestKnown(): Position {
    const { epoch, head } = this.recent
    return this.#isBehindAcknowledged() ? (this.#acknowledged as Position) : { epoch, offset: head }
  }

  #isBehindAcknowledged(): boolean {
    const acknowledged = this.#acknowledged
    if (acknowledged === undefined) return false
    if (acknowledged.epoch === this.recent.epoch && acknowledged.offset <= this.recent.head) {
      this.#acknowledged = undefined
      return false
    }
    return true
  }
}
