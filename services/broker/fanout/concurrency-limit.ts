// Bounds how many operations run at a time. The others wait, first come, first served.

export class ConcurrencyLimit {
  /** Operations that have begun so far. */
  started = 0
  #free: number
  readonly #waiting = new Set<() => void>()

  constructor(limit: number) {
    this.#free = limit
  }

  /** Runs the operation once there is room for it. Raises what it raises. */
  async run<T>(operation: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--
    else await new Promise<void>(resolve => this.#waiting.add(resolve))
    this.started++
    try {
      return await operation()
    } finally {
      const [next] = this.#waiting
      if (next === undefined) this.#free++
      else {
        this.#waiting.delete(next)
        next()
      }
    }
  }
}
