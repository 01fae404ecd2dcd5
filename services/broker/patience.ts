// The time that clients are given to read or send. Time in which the node itself did not run (the machine slept, the
// event loop was blocked) hardly counts, and neither do jumps of the system's clock: clients are not to blame for them.

/** A clock, ms, that counts at most `longest` ms between two ticks. Its zero has no meaning. */
export class AwakeClock {
  readonly #longest: number
  #tickedAt = Date.now()
  #counted = Date.now()

  constructor(longest: number) {
    this.#longest = longest
  }

  get now(): number {
    const passed = Date.now() - this.#tickedAt
    return this.#counted + Math.max(0, Math.min(passed, this.#longest))
  }

  /** To be called before each check of clients. */
  tick(): void {
    this.#counted = this.now
    this.#tickedAt = Date.now()
  }
}

/** Calls back once the client has done nothing for `ms`. What arrived while the node did not run is handled first. */
export class PatienceTimer {
  readonly #timer: NodeJS.Timeout
  #immediate: NodeJS.Immediate | undefined

  constructor(ms: number, over: () => void) {
    // Timers run before the event loop reads sockets, and immediates after that.
    this.#timer = setTimeout(() => {
      this.#immediate = setImmediate(over)
    }, ms).unref()
  }

  /** Called when the client did something, or to wait once more. */
  refresh(): void {
    clearImmediate(this.#immediate)
    this.#timer.refresh()
  }

  clear(): void {
    clearImmediate(this.#immediate)
    clearTimeout(this.#timer)
  }
}
