// Plans: where a reader ends, and at what pace it reads the past.

import type { LogEvent } from '../event/event.ts'
import type { Position } from '../event/position.ts'
import type { Reader } from './reader.ts'

/**
 * Where a reader ends: the last event to read, or the head at the time when the reader begins, or a time, ms since 1970,
 * before which events are read.
 */
export type Until = Position | 'head' | { readonly time: number }

export interface Plan {
  /** Undefined if it has no end. */
  readonly until: Until | undefined
  /** How many times faster than its original pace the past is delivered; undefined if it is delivered at once. */
  readonly speed: number | undefined
  /** Called when the reader has reached its end. Default: the connection ends when all its readers have reached theirs. */
  ended?(reader: Reader): void
}

/** Paces events by their own times. */
export class Pacing {
  readonly #speed: number
  #begin: { readonly time: number; readonly at: number } | undefined

  constructor(speed: number) {
    this.#speed = speed
  }

  /** When the event is due, ms since 1970. The first one is due at once. */
  due({ time }: Pick<LogEvent, 'time'>, now: number): number {
    this.#begin ??= { time, at: now }
    return this.#begin.at + (time - this.#begin.time) / this.#speed
  }
}

/** How long events with an earlier time may still be in flight, ms. */
const LATE_MS = 1000

/** Where a reader ends. */
export class End {
  readonly #until: Exclude<Until, 'head'>

  constructor(until: Exclude<Until, 'head'>) {
    this.#until = until
  }

  isBeyond({ offset, time }: Pick<LogEvent, 'offset' | 'time'>): boolean {
    const until = this.#until
    return 'time' in until ? time >= until.time : offset > until.offset
  }

  /** Whether a reader that moved from one position to the next has reached its end. */
  isBetween(from: Position, to: Position): boolean {
    const until = this.#until
    if ('time' in until) return false
    return to.offset >= until.offset || (from.epoch === until.epoch && to.epoch !== until.epoch)
  }

  /** When a reader at the head reaches its end, ms since 1970; undefined if that needs more events. */
  timeAt(head: Position): number | undefined {
    const until = this.#until
    if ('time' in until) return until.time + LATE_MS
    // The epoch has ended, or was never known.
    return head.epoch === until.epoch ? undefined : 0
  }
}
