// Transient events on their way to readers: encoded once for each wire and filter, brought in slices, and kept for
// nobody.

import type { Filter } from '../event/filter.ts'
import type { LogEvent } from '../event/event.ts'
import type { Flushable, FlushLoop } from './flush-loop.ts'
import type { Framing } from './framing.ts'
import { letsThrough } from './selection.ts'

interface Encoded {
  readonly bytes: Buffer
  readonly count: number
}

export class Passing {
  readonly events: readonly LogEvent[]
  readonly #encoded = new Map<Framing, Map<string, Encoded>>()

  constructor(events: readonly LogEvent[]) {
    this.events = events
  }

  /** What of them a filter lets through, and how many that are. */
  for(framing: Framing, filter: Filter | undefined): Encoded {
    const key = filter?.key ?? ''
    const known = this.#encoded.get(framing)?.get(key)
    if (known !== undefined) return known
    const chosen = this.events.filter(event => letsThrough(filter, event))
    const count = chosen.length
    const encoded = { bytes: count === 0 ? NOTHING : framing.stretch(chosen, 0, count), count }
    const ofFraming = this.#encoded.get(framing)
    if (ofFraming === undefined) this.#encoded.set(framing, new Map([[key, encoded]]))
    else ofFraming.set(key, encoded)
    return encoded
  }
}

/** A member of a channel. */
export interface Hears {
  /** -1 while it is none. */
  readonly slot: number
  /** The channel has transient events, behind what it has had so far. Within a flush: synchronous, does not raise. */
  pass?(passing: Passing): void
}

/** Delivers a channel's transient events to those who are its members when their turn begins. */
export class Passage implements Flushable {
  readonly #members: readonly Hears[]
  readonly #flushLoop: FlushLoop
  #waiting: LogEvent[] = []
  #passing: Passing = new Passing([])
  /** Those who have not had it. */
  #left: Hears[] = []

  constructor(members: readonly Hears[], flushLoop: FlushLoop) {
    this.#members = members
    this.#flushLoop = flushLoop
  }

  bring(events: readonly LogEvent[]): void {
    this.#waiting.push(...events)
    this.#flushLoop.flushSoon(this)
  }

  flush(deadline: number): boolean {
    while (this.#begin()) {
      for (let next = this.#left.pop(); next !== undefined; next = this.#left.pop()) {
        if (next.slot !== -1) next.pass?.(this.#passing)
        if ((this.#left.length & 15) === 0 && performance.now() > deadline) break
      }
      if (this.#left.length > 0) return false
    }
    return true
  }

  /** At once: what comes now is to stay behind them. */
  finish(): void {
    this.flush(Number.POSITIVE_INFINITY)
  }

  close(): void {
    this.#left = []
    this.#waiting = []
    this.#flushLoop.cancelFlush(this)
  }

  /** False: nobody is to be brought anything. */
  #begin(): boolean {
    if (this.#left.length > 0) return true
    if (this.#waiting.length === 0) return false
    this.#passing = new Passing(this.#waiting.splice(0))
    this.#left = [...this.#members]
    return true
  }
}

const NOTHING = Buffer.alloc(0)
