// The recent events of one channel, in memory: consecutive, of one epoch, and never more than retention allows.

import { encodeEvent, type LogEvent } from '../event/event.ts'
import type { PageLimit, Retention } from '../log/log.ts'
import type { Position } from '../event/position.ts'

/** Memory per event besides its JSON, bytes: the object and the Buffer. Measured on Node 20, rounded up. */
const EVENT_OVERHEAD_BYTES = 275

export class Recent {
  /** The events are `list[first]` and later; earlier slots are free. */
  list: LogEvent[] = []
  first = 0
  epoch = ''
  /** Offset just before the oldest event held. */
  floor = 0
  /** The approximate bytes of memory held. */
  size = 0
  /** Bytes of data held, which retention counts. */
  #bytes = 0
  readonly #retention: () => Retention

  constructor(retention: () => Retention) {
    this.#retention = retention
  }

  /** Offset of the newest event. */
  get head(): number {
    return this.floor + this.list.length - this.first
  }

  get count(): number {
    return this.list.length - this.first
  }

  /** Whether all events after `position` are held. */
  holds(position: Position): boolean {
    return position.epoch === this.epoch && position.offset >= this.floor && position.offset <= this.head
  }

  /** Index in `list` of the event after `offset`, which lies between floor and head. */
  indexAfter(offset: number): number {
    return this.first + offset - this.floor
  }

  /** The number of held events whose log time is `time` (ms since 1970) or later. */
  countSince(time: number): number {
    let [low, high] = [this.first, this.list.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.list[middle] as LogEvent).time < time) low = middle + 1
      else high = middle
    }
    return this.list.length - low
  }

  /** The range of `list` that holds the events after `offset`: at most as many as `limit` allows, and at least one. */
  extent(offset: number, limit: PageLimit): { from: number; to: number } {
    const from = this.indexAfter(offset)
    const end = Math.min(this.list.length, from + limit.events)
    let bytes = 0
    let to = from
    while (to < end) {
      bytes += (this.list[to] as LogEvent).json.length
      if (bytes > limit.bytes && to > from) break
      to++
    }
    return { from, to }
  }

  /** Forgets everything; the head is then `at`. */
  reset(at: Position): void {
    this.list = []
    this.first = 0
    this.epoch = at.epoch
    this.floor = at.offset
    this.size = 0
    this.#bytes = 0
  }

  /** Adds events that follow the head. */
  push(events: readonly LogEvent[]): void {
    for (const event of events) {
      this.list.push(event)
      this.#count(event, 1)
    }
  }

  /** Adds older events from the log, up to the floor, if they reach it. */
  prepend(events: readonly LogEvent[]): void {
    const oldest = events[0]
    if (oldest === undefined || oldest.epoch !== this.epoch || oldest.offset > this.floor) return
    const older = events.slice(0, this.floor - oldest.offset + 1)
    if (older.at(-1)?.offset !== this.floor) return
    for (const event of older) this.#count(event, 1)
    this.list = older.concat(this.list.slice(this.first))
    this.first = 0
    this.floor = oldest.offset - 1
  }

  /** Drops events that are no longer retained; `now` in ms since 1970. */
  trim(now: number): void {
    const { events, bytes, age } = this.#retention()
    while (this.first < this.list.length) {
      const oldest = this.list[this.first] as LogEvent
      const over = this.count > events || (this.#bytes > bytes && this.count > 1) || oldest.time < now - age
      if (!over) return
      this.#drop(oldest)
    }
  }

  /** Drops the oldest events until at most `size` bytes of memory are held. */
  shrink(size: number): void {
    while (this.size > size && this.first < this.list.length) this.#drop(this.list[this.first] as LogEvent)
  }

  #drop(oldest: LogEvent): void {
    this.#count(oldest, -1)
    this.first++
    this.floor++
    if (this.first >= 1024 || this.first === this.list.length) {
      this.list = this.list.slice(this.first)
      this.first = 0
    } else {
      // Release the event now, not when the list is compacted.
      this.list[this.first - 1] = GONE
    }
  }

  #count(event: LogEvent, sign: 1 | -1): void {
    this.size += sign * (event.json.length + EVENT_OVERHEAD_BYTES)
    this.#bytes += sign * event.bytes
  }
}

const GONE = encodeEvent(
  { channel: '', epoch: '', offset: 0, time: 0, type: undefined, encoding: undefined, low: false },
  Buffer.alloc(0),
)
