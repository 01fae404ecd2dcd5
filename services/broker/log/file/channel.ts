// A channel in memory: its epochs, its head, and the locations of its events, which are on disk.

import { beginEpoch, type EndedEpoch, type History } from '../history.ts'
import type { Follower, PageLimit, Receipt, Retention } from '../log.ts'
import type { Stretch } from './contents.ts'
import type { ChannelState } from './records.ts'
import type { Segment } from './segment.ts'
import type { Table, TablePlace } from './table.ts'

/** The maximum number of rows of sealed segments' tables that are cached in memory. */
const CACHED_ROWS = 500_000
const cached = new Set<Run>()
let cachedRows = 0

/** Consecutive events of one channel in one segment. */
export class Run {
  readonly segment: Segment
  readonly first: number
  count: number
  /** Bytes of readable data. */
  bytes: number
  readonly from: number
  to: number
  #table: Stretch['table']
  #loaded: Table | undefined

  constructor(segment: Segment, { first, count, bytes, from, to, table }: Stretch) {
    this.segment = segment
    this.first = first
    this.count = count
    this.bytes = bytes
    this.from = from
    this.to = to
    this.#table = table
  }

  /** Offset of the last event. */
  get end(): number {
    return this.first + this.count - 1
  }

  /** Raises LogUnavailable if it can't be read. */
  get table(): Table {
    if ('length' in this.#table) return this.#table
    const table = (this.#loaded ??= this.segment.table(this.#table, this.count))
    if (!cached.delete(this)) cachedRows += this.count
    cached.add(this)
    for (const run of cached) {
      if (cachedRows <= CACHED_ROWS || run === this) break
      run.uncache()
    }
    return table
  }

  /** Notes that the segment now has the table on disk. */
  sealed(place: TablePlace): void {
    this.#table = place
  }

  uncache(): void {
    if (cached.delete(this)) cachedRows -= this.count
    this.#loaded = undefined
  }
}

/** Consecutive events to be read from one segment: rows of its table. */
export interface Part {
  readonly segment: Segment
  readonly table: Table
  readonly from: number
  readonly to: number
}

export class FileChannel {
  readonly name: string
  epoch: string
  ended: readonly EndedEpoch[] = []
  /** Whether the channel has ended. */
  over = false
  /** Offsets of the newest event, and of the one before the oldest that is readable. */
  head = 0
  floor = 0
  /** Time of the newest event; before the first, when the channel was opened. */
  time: number
  /** Bytes of readable data. */
  bytes = 0
  runs: Run[] = []
  /** First results by idempotency key, oldest first. */
  readonly keys = new Map<string, Receipt>()
  follower: Follower | undefined
  /** The number of calls that are waiting to be written. */
  pending = 0
  /** The newest segment that has a record about it; undefined if none has. */
  stateIn: Segment | undefined

  constructor(name: string, epoch: string, time: number) {
    this.name = name
    this.epoch = epoch
    this.time = time
  }

  get history(): History {
    const { epoch, ended, head, floor, over } = this
    return { epoch, ended, head, floor, over }
  }

  get state(): ChannelState {
    const { name, epoch, ended, head, floor, time, over } = this
    return { name, epoch, ended, head, floor, time, over }
  }

  /** Begins an epoch, since acknowledged events may have been lost. */
  begin(epoch: string): void {
    const { ended, floor } = beginEpoch(this.history, epoch)
    this.epoch = epoch
    this.ended = ended
    this.dropTo(floor)
  }

  /** Erases all events. Returns their runs. */
  clear({ epoch, ended }: Pick<ChannelState, 'epoch' | 'ended'>): Run[] {
    const runs = [...this.runs]
    this.dropTo(this.head)
    Object.assign(this, { epoch, ended, over: false })
    return runs
  }

  /** Adds events after the head. */
  add(run: Run): void {
    this.runs.push(run)
    this.#grown(run.segment, run.count, run.bytes, run.to)
  }

  /** Adds events to a run, which is or becomes the last one. */
  grow(run: Run, { count, bytes, to }: Pick<Stretch, 'count' | 'bytes' | 'to'>): void {
    if (this.runs.at(-1) !== run) this.runs.push(run)
    run.count += count
    run.bytes += bytes
    run.to = to
    this.#grown(run.segment, count, bytes, to)
  }

  #grown(segment: Segment, count: number, bytes: number, to: number): void {
    this.head += count
    this.time = to
    this.bytes += bytes
    segment.add(count, bytes, to)
  }

  /** Drops events at the tail that are no longer retained. */
  trim(retention: Retention, now: number): void {
    this.expire(retention, now)
    const { events, age, bytes } = retention
    const oldest = now - age
    const [run] = this.runs
    if (run === undefined) return
    if (this.head - this.floor <= events && this.bytes <= bytes && run.from >= oldest) return
    let { floor } = this
    let left = this.bytes
    const { table } = run
    for (let i = floor + 1 - run.first; i < run.count; i++, floor++) {
      const tooMany = this.head - floor > events || (left > bytes && this.head - floor > 1)
      if (!tooMany && (table.times[i] ?? 0) >= oldest) break
      left -= table.bytes[i] ?? 0
    }
    this.dropTo(floor)
  }

  /** Like `trim`, but drops only whole runs, and reads nothing from disk. */
  expire({ events, age, bytes }: Retention, now: number): void {
    for (let run = this.runs[0]; run !== undefined; run = this.runs[0]) {
      const after = this.head - run.end
      const isKept = after < events && run.to >= now - age && (after === 0 || this.bytes - run.bytes < bytes)
      if (isKept) return
      this.dropTo(run.end)
    }
  }

  /** Drops the events up to this offset. */
  dropTo(floor: number): void {
    if (floor <= this.floor) return
    let whole = 0
    for (const run of this.runs) {
      if (run.first > floor) break
      const skipped = Math.max(this.floor + 1, run.first)
      const gone = Math.min(run.end, floor) + 1 - skipped
      const bytes = floor >= run.end ? run.bytes : bytesIn(run, skipped, gone)
      run.bytes -= bytes
      this.bytes -= bytes
      run.segment.drop(gone, bytes)
      if (floor < run.end) break
      run.uncache()
      whole++
    }
    this.runs.splice(0, whole)
    this.floor = floor
  }

  /** Drops everything, since the channel is removed. */
  dropAll(): void {
    this.dropTo(this.head)
  }

  /** Notes that the readable events of these segments have moved to `run`. */
  replace(old: ReadonlySet<Segment>, run: Run | undefined): void {
    for (const each of this.runs) {
      if (!old.has(each.segment)) continue
      each.uncache()
      // Erased events are shorter in the new run.
      this.bytes -= each.bytes
    }
    this.runs = this.runs.filter(({ segment }) => !old.has(segment))
    if (run === undefined) return
    run.segment.add(run.count, run.bytes, run.to)
    const gone = Math.min(run.count, Math.max(0, this.floor + 1 - run.first))
    const bytes = bytesIn(run, run.first, gone)
    run.bytes -= bytes
    run.segment.drop(gone, bytes)
    if (gone === run.count) return
    this.bytes += run.bytes
    const at = this.runs.findIndex(({ first }) => first > run.first)
    this.runs.splice(at === -1 ? this.runs.length : at, 0, run)
  }

  /** The channel's epochs when its newest event was the one at `offset`. */
  epochsAt(offset: number): Pick<ChannelState, 'epoch' | 'ended'> {
    const at = this.ended.findIndex(({ end }) => offset <= end)
    const epoch = this.ended[at]?.epoch ?? this.epoch
    return { epoch, ended: at === -1 ? this.ended : this.ended.slice(0, at) }
  }

  expireKeys(oldest: number): void {
    for (const [key, receipt] of this.keys) {
      if (receipt.time >= oldest) break
      this.keys.delete(key)
    }
  }

  /** The locations of the events after `offset`, as many as the limit allows. */
  after(offset: number, limit: PageLimit): Part[] {
    const parts: Part[] = []
    let events = Math.max(1, limit.events)
    let { bytes } = limit
    for (let at = this.#runWith(offset + 1); events > 0 && at < this.runs.length; at++) {
      const run = this.runs[at]
      if (run === undefined) break
      const { segment, table } = run
      const from = Math.max(0, offset + 1 - run.first)
      let to = from
      for (; to < run.count && events > 0; to++, events--) {
        bytes -= table.bytes[to] ?? 0
        if (bytes < 0 && (parts.length > 0 || to > from)) break
      }
      if (to > from) parts.push({ segment, table, from, to })
      if (bytes < 0) break
    }
    return parts
  }

  /** The run that has the event at that offset, if it is readable. */
  runOf(offset: number): Run | undefined {
    return offset > this.floor && offset <= this.head ? this.runs[this.#runWith(offset)] : undefined
  }

  /** The index of the run that has the event at that offset, or the next event. */
  #runWith(offset: number): number {
    let [low, high] = [0, this.runs.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.runs[middle]?.end ?? 0) < offset) low = middle + 1
      else high = middle
    }
    return low
  }
}

function bytesIn(run: Run, first: number, count: number): number {
  const { bytes } = run.table
  let sum = 0
  for (let i = first - run.first; i < first - run.first + count; i++) sum += bytes[i] ?? 0
  return sum
}
