// One budget for the memory that all channels of a node hold. When it is exceeded, the channels that were read least
// recently shrink first.

export interface Shrinkable {
  /** Bytes of memory held, about. */
  readonly size: number
  /** When it was last read, ms since 1970. */
  readonly lastRead: number
  /** Releases memory until at most `size` bytes are held, and reports that to the budget. */
  shrink(size: number): void
}

export class MemoryBudget {
  /** Bytes held by all. */
  used = 0
  readonly #limit: number
  readonly #shrinkable: () => readonly Shrinkable[]

  constructor(limit: number, shrinkable: () => readonly Shrinkable[]) {
    this.#limit = limit
    this.#shrinkable = shrinkable
  }

  /** Counts bytes that are held now, or, if negative, no longer held. */
  add(bytes: number): void {
    this.used += bytes
    if (this.used > this.#limit && bytes > 0) this.#shrink(this.#limit * 0.9)
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
