// A cache of decisions by question. Concurrent equal questions share one request.

/** The maximum number of cached decisions. The oldest ones are dropped first. */
const MOST_KEPT = 10_000

export class Kept<T> {
  readonly #kept = new Map<string, { readonly value: T; readonly until: number }>()
  readonly #asked = new Map<string, Promise<T>>()

  get size(): number {
    return this.#kept.size
  }

  /** The decision that is cached at that time, ms since 1970. */
  get(key: string, now: number): T | undefined {
    const found = this.#kept.get(key)
    if (found === undefined) return undefined
    if (found.until > now) return found.value
    this.#kept.delete(key)
    return undefined
  }

  /** The request in progress, if there is one. */
  joined(key: string): Promise<T> | undefined {
    return this.#asked.get(key)
  }

  /** Asks, and caches the answer until `untilOf`, unless `clear` was called meanwhile. */
  async ask(key: string, ask: () => Promise<T>, untilOf: (value: T) => number): Promise<T> {
    const asked = ask()
    this.#asked.set(key, asked)
    try {
      const value = await asked
      const until = untilOf(value)
      if (this.#asked.get(key) === asked && until > Date.now()) this.#keep(key, value, until)
      return value
    } finally {
      if (this.#asked.get(key) === asked) this.#asked.delete(key)
    }
  }

  #keep(key: string, value: T, until: number): void {
    this.#kept.delete(key)
    this.#kept.set(key, { value, until })
    if (this.#kept.size <= MOST_KEPT) return
    const [oldest] = this.#kept.keys()
    if (oldest !== undefined) this.#kept.delete(oldest)
  }

  clear(): void {
    this.#kept.clear()
    this.#asked.clear()
  }
}
