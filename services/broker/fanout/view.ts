// A view of a channel: its readers with the same selection. They share the selected events and their encodings, and if they
// are rate-limited, they receive them at the same time.

import type { Flushable, FlushLoop } from './flush-loop.ts'
import type { MemoryBudget } from './memory-budget.ts'
import type { Recent } from './recent.ts'
import { Passing } from './passing.ts'
import { Gathering, type Selection } from './selection.ts'
import { type Chosen, STRETCH, Stretches } from './stretches.ts'

/** The number of events that one stretch may examine, so that it cannot block the event loop. */
const SCANNED = 10_000
/** The number if only the newest events are wanted: about as many as a channel has. */
const SCANNED_FOR_NEWEST = 100_000

export class View {
  readonly selection: Selection
  readonly stretches: Stretches
  /** Undefined if any event wakes its readers. */
  readonly pace: Pace | undefined
  /** The number of its readers. */
  readers = 0

  constructor(selection: Selection, recent: Recent, memory: MemoryBudget, flushLoop: FlushLoop) {
    const { every } = selection
    this.selection = selection
    this.stretches = new Stretches(offset => choose(selection, recent, offset), memory)
    this.pace = every === undefined ? undefined : new Pace(every, selection, flushLoop)
  }

  close(): void {
    this.stretches.forget()
    this.pace?.close()
  }
}

function choose(selection: Selection, recent: Recent, offset: number): Chosen {
  const { list } = recent
  const gathering = new Gathering(selection, STRETCH)
  const from = recent.indexAfter(offset)
  const scanned = selection.newest === undefined ? SCANNED : SCANNED_FOR_NEWEST
  const end = Math.min(list.length, from + scanned)
  let at = from
  for (let event = list[at]; at < end && event !== undefined && gathering.take(event);) event = list[++at]
  const { events } = gathering
  return { events, from: 0, to: events.length, end: offset + at - from }
}

/** A reader that receives a stretch when its turn comes. */
export interface Paced {
  /** Catches up once. Called within a flush: synchronous, does not raise. */
  turn(): void
}

/** The turns of a view's readers: at most one in `every` ms, at the same time for all. */
export class Pace implements Flushable {
  readonly readers = new Set<Paced>()
  /** The transient events of this turn. */
  passing: Passing | undefined
  readonly #every: number
  readonly #selection: Selection
  readonly #flushLoop: FlushLoop
  #nextAt = 0
  #timer: NodeJS.Timeout | undefined
  #pass: Iterator<Paced> | undefined
  /** Whether news arrived during a pass. */
  #news = false
  /** The selected transient events for the next turn, up to and including `#last`. */
  #held: Gathering | undefined
  #last: Passing | undefined

  constructor(every: number, selection: Selection, flushLoop: FlushLoop) {
    this.#every = every
    this.#selection = selection
    this.#flushLoop = flushLoop
  }

  /** Keeps transient events for the next turn, at most as many as a stretch may have. Every reader passes the same. */
  hold(passing: Passing): void {
    if (this.#last === passing) return
    this.#last = passing
    this.#held ??= new Gathering(this.#selection, STRETCH)
    for (const event of passing.events) this.#held.take(event)
    this.news()
  }

  /** Called when a reader has something to read. */
  news(): void {
    if (this.#pass !== undefined) this.#news = true
    else this.#timer ??= setTimeout(() => this.#begin(), Math.max(0, this.#nextAt - Date.now()))
  }

  #begin(): void {
    this.#timer = undefined
    this.#nextAt = Date.now() + this.#every
    this.passing = this.#held && new Passing(this.#held.events)
    this.#held = this.#last = undefined
    this.#pass = this.readers.values()
    this.#flushLoop.flushSoon(this)
  }

  flush(deadline: number): boolean {
    for (let visited = 1; this.#pass !== undefined; visited++) {
      const { done, value } = this.#pass.next()
      if (done) this.#pass = undefined
      else value.turn()
      if ((visited & 15) === 0 && performance.now() > deadline) break
    }
    if (this.#pass !== undefined) return false
    this.passing = undefined
    if (this.#news) {
      this.#news = false
      this.news()
    }
    return true
  }

  close(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#pass = undefined
    this.#flushLoop.cancelFlush(this)
  }
}
