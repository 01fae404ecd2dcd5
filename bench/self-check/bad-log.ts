// A log with known faults: it loses, repeats and reorders events, and delivers each one late.

import type { EventEmitter } from 'node:events'
import { Histogram } from '../load/histogram.ts'
import { now, payload } from '../load/marker.ts'

/** The affected one of every hundred events. */
const LOST = 50
const REPEATED = 20
/** This event arrives after the next one. */
const REORDERED = 70
const HUNDRED = 100
const SIZE = 64
const EPOCH = 'bad'
/** Interval of the clock checks, ms. */
const TICK = 2

export interface Faults {
  readonly lose?: boolean
  readonly repeat?: boolean
  readonly reorder?: boolean
  /** Minimum ms from an event's marker time to its delivery. */
  readonly delay: number
}

interface Entry {
  readonly sequence: number
  /** µs. */
  readonly time: number
}

/** An event in the form of the wires. */
export interface BadEvent {
  /** The number of events in the log up to this one. */
  readonly at: number
  readonly id: string
  /** A JSON string without escapes. */
  readonly data: string
  /** The whole event as JSON. */
  readonly object: string
}

/** A client's position, and its callback for new events. */
export interface Reader {
  at: number
  wake(): void
}

export class BadLog {
  /** From an event's time to each of its writes, µs. */
  readonly written = new Histogram()
  readonly #faults: Faults
  readonly #entries: Entry[] = []
  readonly #readers = new Set<Reader>()

  constructor(faults: Faults) {
    this.#faults = faults
  }

  /** Released events: an event that may still be reordered is not released. */
  get head(): number {
    const { length } = this.#entries
    const last = this.#entries.at(-1)?.sequence ?? 0
    return this.#faults.reorder && last % HUNDRED === REORDERED ? length - 1 : length
  }

  /** The position of a client with or without `cursor`. */
  positionOf(cursor = 'latest'): number {
    return cursor === 'latest' ? this.head : Number(cursor.slice(cursor.indexOf('-') + 1))
  }

  cursorOf(at: number): string {
    return `${EPOCH}-${at}`
  }

  /** Publishes `count` events, `rate` per second, starting with number 1. Returns when the last one is released. */
  async publish(count: number, rate: number): Promise<void> {
    const began = now()
    const waiting: Entry[] = []
    let made = 0
    await new Promise<void>(resolve => {
      const timer = setInterval(() => {
        const at = now()
        for (; made < count && at >= began + (made * 1e6) / rate; made++) {
          waiting.push({ sequence: made + 1, time: at })
        }
        while (waiting[0] !== undefined && at - waiting[0].time >= this.#faults.delay * 1000) {
          this.#append(waiting.shift() as Entry)
        }
        for (const reader of [...this.#readers]) reader.wake()
        if (made < count || waiting.length > 0) return
        clearInterval(timer)
        resolve()
      }, TICK)
    })
  }

  /** Wakes a reader on new events until its connection closes. */
  follow(reader: Reader, connection: EventEmitter): void {
    this.#readers.add(reader)
    connection.once('close', () => this.leave(reader))
  }

  leave(reader: Reader): void {
    this.#readers.delete(reader)
  }

  /** The new events for a reader; moves its position after them. */
  take(reader: Reader, limit = Number.POSITIVE_INFINITY): BadEvent[] {
    const from = reader.at
    reader.at = Math.max(from, Math.min(this.head, from + limit))
    const at = now()
    for (const { time } of this.#entries.slice(from, reader.at)) this.written.add(at - time)
    return this.events(from, reader.at)
  }

  /** The events after `from`, up to `to`. */
  events(from: number, to: number): BadEvent[] {
    return this.#entries.slice(from, to).map(({ sequence, time }, i) => {
      const at = from + i + 1
      const id = this.cursorOf(at)
      const data = payload(sequence, time, SIZE)
      return { at, id, data, object: `{"channel":"c","id":"${id}","time":1,"data":${data}}` }
    })
  }

  #append(entry: Entry): void {
    const { lose, repeat, reorder } = this.#faults
    const kind = entry.sequence % HUNDRED
    if (lose && kind === LOST) return
    const before = this.#entries.at(-1)
    // Swaps two events.
    if (reorder && kind === REORDERED + 1 && before?.sequence === entry.sequence - 1) {
      this.#entries.splice(-1, 1, entry, before)
    } else this.#entries.push(entry)
    if (repeat && kind === REPEATED) this.#entries.push(entry)
  }
}
