// Transient events in flight to readers: encoded once for each wire and filter, delivered in slices, and not stored.

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

  /** The events that a filter lets through, encoded, and their number. */
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
  /** Its index among the channel's members; -1 while it is not a member. */
  readonly slot: number
  /** The channel has transient events, after its earlier ones. Called within a flush: synchronous, does not raise. */
  pass?(passing: Passing): void
}

/** Delivers a channel's transient events to its members at the beginning of the delivery. */
export class Passage implements Flushable {
  readonly #members: readonly Hears[]
  readonly #flushLoop: FlushLoop
  #waiting: LogEvent[] = []
  #passing: Passing = new Passing([])
  /** The members that have not received them. */
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

  /** Delivers the rest at once, before later events. */
  finish(): void {
    this.flush(Number.POSITIVE_INFINITY)
  }

  close(): void {
    this.#left = []
    this.#waiting = []
    this.#flushLoop.cancelFlush(this)
  }

  /** Begins the next delivery. Returns false if there is none. */
  #begin(): boolean {
    if (this.#left.length > 0) return true
    if (this.#waiting.length === 0) return false
    this.#passing = new Passing(this.#waiting.splice(0))
    this.#left = [...this.#members]
    return true
  }
}

const NOTHING = Buffer.alloc(0)
