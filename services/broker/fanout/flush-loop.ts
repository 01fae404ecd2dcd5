// Delivers news to readers in short slices that leave the event loop free in between: ARCHITECTURE.md#fan-out.

/** An object that has news for its readers. */
export interface Flushable {
  /**
   * Visits readers until `deadline` (performance.now()). Returns whether every reader was visited since the last news.
   */
  flush(deadline: number): boolean
}

/** An object that has readers behind the head. All calls are synchronous and do not raise. */
export interface CatchesUp {
  /** Gives each reader the events that it is missing. */
  catchUp(): void
  /** Sends the bytes that this slice has gathered. */
  uncork(): void
}

/** How long one slice may take, ms. */
const SLICE_MS = 2

export class FlushLoop {
  // The objects that the next slices visit.
  readonly #news = new Set<Flushable>()
  readonly #behind = new Set<CatchesUp>()
  #corked: CatchesUp[] = []
  #scheduled = false
  /** Called for each object whose readers were all visited. */
  flushed: ((flushable: Flushable) => void) | undefined

  flushSoon(flushable: Flushable): void {
    this.#news.add(flushable)
    this.#schedule()
  }

  catchUpSoon(behind: CatchesUp): void {
    this.#behind.add(behind)
    this.#schedule()
  }

  uncorkSoon(corked: CatchesUp): void {
    this.#corked.push(corked)
    this.#schedule()
  }

  cancelFlush(flushable: Flushable): void {
    this.#news.delete(flushable)
  }

  cancelCatchUp(behind: CatchesUp): void {
    this.#behind.delete(behind)
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(this.#slice)
  }

  /** One slice: visits objects with news, then readers that catch up, then sends the gathered bytes. */
  readonly #slice = (): void => {
    this.#scheduled = false
    let deadline = performance.now() + SLICE_MS
    for (const flushable of this.#news) {
      this.#news.delete(flushable)
      if (!flushable.flush(deadline)) this.#news.add(flushable)
      else this.flushed?.(flushable)
      if (performance.now() > deadline) break
    }
    deadline = performance.now() + SLICE_MS
    for (const behind of this.#behind) {
      this.#behind.delete(behind)
      behind.catchUp()
      if (performance.now() > deadline) break
    }
    const corked = this.#corked
    this.#corked = []
    for (const each of corked) each.uncork()
    if (this.#news.size > 0 || this.#behind.size > 0) this.#schedule()
  }
}
