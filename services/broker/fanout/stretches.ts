// The stretches of one channel: events after a cursor, encoded once per wire and shared by every reader at that cursor.

import type { PageLimit } from '../log/log.ts'
import type { Framing } from './framing.ts'
import type { MemoryBudget } from './memory-budget.ts'
import type { Recent } from './recent.ts'

/** A stretch is capped, so that one reader that is far behind can not block the event loop. */
export const STRETCH: PageLimit = { events: 1024, bytes: 256 * 1024 }

/** Stretches that a channel keeps for one wire. */
const MAX_STRETCHES = 64

/** Events of one channel, encoded for one wire. */
export interface Stretch {
  readonly bytes: Buffer
  readonly count: number
  /** Offset of its last event. */
  readonly to: number
}

export class Stretches {
  /** Bytes of memory held. */
  size = 0
  readonly #recent: Recent
  readonly #memory: MemoryBudget
  readonly #byFraming = new Map<Framing, Map<number, Stretch>>()

  constructor(recent: Recent, memory: MemoryBudget) {
    this.#recent = recent
    this.#memory = memory
  }

  /** The capped stretch after `offset`, which must lie in memory and before the head. */
  after(offset: number, framing: Framing): Stretch {
    const known = this.#byFraming.get(framing)?.get(offset)
    if (known !== undefined) return known
    const stretch = this.#encode(offset, framing)
    this.#keep(offset, framing, stretch)
    return stretch
  }

  forget(): void {
    if (this.#byFraming.size === 0) return
    this.#byFraming.clear()
    this.#count(-this.size)
  }

  #encode(offset: number, framing: Framing): Stretch {
    const { within } = framing
    if (within !== undefined) {
      const stretch = this.after(offset, within.framing)
      return { ...stretch, bytes: within.view(stretch.bytes) }
    }
    const { from, to } = this.#recent.extent(offset, STRETCH)
    const bytes = framing.stretch(this.#recent.list, from, to)
    return { bytes, count: to - from, to: offset + to - from }
  }

  #keep(offset: number, framing: Framing, stretch: Stretch): void {
    if ((this.#byFraming.get(framing)?.size ?? 0) >= MAX_STRETCHES) this.forget()
    const byOffset = this.#byFraming.get(framing)
    if (byOffset === undefined) this.#byFraming.set(framing, new Map([[offset, stretch]]))
    else byOffset.set(offset, stretch)
    // A view holds no bytes of its own.
    if (framing.within === undefined) this.#count(stretch.bytes.length)
  }

  #count(bytes: number): void {
    this.size += bytes
    this.#memory.add(bytes)
  }
}
