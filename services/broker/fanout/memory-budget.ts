// One budget for the memory that all channels of a node hold. When it is exceeded, the channels that were read least
// recently shrink first.

import { visitInSlices } from '../slices.ts'

export interface Shrinkable {
  /** Bytes of memory held, about. */
  readonly size: number
  /** When it was last read, ms since 1970. */
  readonly lastRead: number
  /** Releases memory until at most `size` bytes are held, and reports that to the budget. */
  shrink(size: number): void
}

/** Holds what can be made again at once, such as encodings. */
export interface Momentary {
  forget(): void
}

/** What was made for a moment is dropped after one to two of these periods, ms. */
const PERIOD_MS = 1000

export class MemoryBudget {
  /** Bytes held by all. */
  used = 0
  readonly #limit: number
  readonly #shrinkable: () => readonly Shrinkable[]
  /** What reported in this period, and in the one before. */
  #fresh = new Set<Momentary>()
  #older = new Set<Momentary>()
  #timer: NodeJS.Timeout | undefined

  constructor(limit: number, shrinkable: () => readonly Shrinkable[]) {
    this.#limit = limit
    this.#shrinkable = shrinkable
  }

  /** Counts bytes that are held now, or, if negative, no longer held. */
  add(bytes: number): void {
    this.used += bytes
    if (this.used > this.#limit && bytes > 0) this.#shrink(this.#limit * 0.9)
  }

  /**
   * Drops what `each` holds soon, unless it reports again. A small encoding in Node's pool of Buffers holds 8 KiB, which
   * counts nowhere, until the channel's next event.
   */
  momentary(each: Momentary): void {
    this.#fresh.add(each)
    this.#timer ??= setInterval(() => this.#dropOlder(), PERIOD_MS).unref()
  }

  #dropOlder(): void {
    const older = this.#older
    this.#older = this.#fresh
    this.#fresh = new Set()
    void visitInSlices(older, each => {
      if (!this.#older.has(each) && !this.#fresh.has(each)) each.forget()
    })
    if (this.#older.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #shrink(target: number): void {
    // Most channels hold nothing, and a node may follow very many.
    const holding = this.#shrinkable().filter(({ size }) => size > 0)
    for (const each of holding.sort((a, b) => a.lastRead - b.lastRead)) {
      each.shrink(Math.max(0, each.size - (this.used - target)))
      if (this.used <= target) return
    }
  }
}
