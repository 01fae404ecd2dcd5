// The stretches of one channel: events after a cursor, encoded once per wire and shared by every reader at that cursor.

import type { LogEvent } from '../event/event.ts'
import type { PageLimit } from '../log/log.ts'
import type { Framing } from './framing.ts'
import type { MemoryBudget } from './memory-budget.ts'
import type { Recent } from './recent.ts'

/** A stretch is capped, so that a reader that is far behind cannot block the event loop. */
export const STRETCH: PageLimit = { events: 1024, bytes: 256 * 1024 }

/** The maximum number of stretches that a channel keeps for one wire. */
const MAX_STRETCHES = 64

/** The events of a stretch: `events[from]` up to, not including, `events[to]`. */
export interface Chosen {
  readonly events: readonly LogEvent[]
  readonly from: number
  readonly to: number
  /** The offset up to which all selected events are included. */
  readonly end: number
}

/** Chooses the capped stretch after an offset that lies in memory and before the head. */
export type Choose = (offset: number) => Chosen

/** Chooses every event. */
export function chooseAll(recent: Recent): Choose {
  return offset => {
    const { from, to } = recent.extent(offset, STRETCH)
    return { events: recent.list, from, to, end: offset + to - from }
  }
}

/** Events of one channel, encoded for one wire. */
export interface Stretch {
  readonly bytes: Buffer
  readonly count: number
  /** The offset up to which it goes. */
  readonly to: number
  /** Offset of its last event; 0 if it has none. */
  readonly last: number
}

export class Stretches {
  /** Bytes of memory held. */
  size = 0
  readonly #choose: Choose
  /** The last choice, since other wires need it at the same time. */
  #chosen: { readonly offset: number; readonly chosen: Chosen } | undefined
  readonly #memory: MemoryBudget
  #byFraming: Map<Framing, Map<number, Stretch>> | undefined

  constructor(choose: Choose, memory: MemoryBudget) {
    this.#choose = choose
    this.#memory = memory
  }

  /** The capped stretch after `offset`, which must lie in memory and before the head. */
  after(offset: number, framing: Framing): Stretch {
    const known = this.#byFraming?.get(framing)?.get(offset)
    if (known !== undefined) return known
    const stretch = this.#encode(offset, framing)
    this.#keep(offset, framing, stretch)
    return stretch
  }

  /** The events of the stretch after `offset`. */
  chosen(offset: number): Chosen {
    if (this.#chosen?.offset !== offset) this.#chosen = { offset, chosen: this.#choose(offset) }
    return this.#chosen.chosen
  }

  forget(): void {
    this.#chosen = undefined
    if (this.#byFraming === undefined || this.#byFraming.size === 0) return
    this.#byFraming.clear()
    this.#count(-this.size)
  }

  #encode(offset: number, framing: Framing): Stretch {
    const { within } = framing
    if (within !== undefined) {
      const stretch = this.after(offset, within.framing)
      return stretch.count === 0 ? stretch : { ...stretch, bytes: within.view(stretch.bytes) }
    }
    return stretchOf(this.chosen(offset), framing)
  }

  #keep(offset: number, framing: Framing, stretch: Stretch): void {
    this.#byFraming ??= new Map()
    this.#memory.momentary(this)
    if ((this.#byFraming.get(framing)?.size ?? 0) >= MAX_STRETCHES) this.forget()
    const byOffset = this.#byFraming.get(framing)
    if (byOffset === undefined) this.#byFraming.set(framing, new Map([[offset, stretch]]))
    else byOffset.set(offset, stretch)
    // A view shares its bytes with another stretch.
    if (framing.within === undefined) this.#count(stretch.bytes.length)
  }

  #count(bytes: number): void {
    this.size += bytes
    this.#memory.add(bytes)
  }
}

/** Encodes the chosen events. `cursorAfter` prints the connection's cursor after an event, if that is not its id. */
export function stretchOf(
  { events, from, to, end }: Chosen,
  framing: Framing,
  cursorAfter?: (event: LogEvent) => string,
): Stretch {
  const bytes = from === to ? NOTHING : framing.stretch(events, from, to, cursorAfter)
  return { bytes, count: to - from, to: end, last: from === to ? 0 : (events[to - 1] as LogEvent).offset }
}

const NOTHING = Buffer.alloc(0)
