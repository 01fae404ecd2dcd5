// A circuit breaker: an application that does not answer is not called for a while, then probed with one request.

import { delay } from '../backoff.ts'

/** The consecutive failures after which the breaker opens. */
export const FAILURES = 5
const FIRST_PAUSE_MS = 1000
const LONGEST_PAUSE_MS = 15_000

export class Breaker {
  readonly #now: () => number
  #failures = 0
  #opened = 0
  #until = -Infinity
  #probing = false

  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  /** Consecutive failures. */
  get failures(): number {
    return this.#failures
  }

  get isOpen(): boolean {
    return this.#opened > 0
  }

  /** Ms until the next request is allowed; undefined if it is now. Then `succeeded` or `failed` has to follow. */
  take(): number | undefined {
    if (!this.isOpen) return undefined
    const left = this.#until - this.#now()
    if (left > 0 || this.#probing) return Math.max(left, FIRST_PAUSE_MS / 2)
    this.#probing = true
    return undefined
  }

  succeeded(): void {
    this.#failures = 0
    this.#opened = 0
    this.#probing = false
  }

  failed(): void {
    this.#failures++
    if (this.#failures < FAILURES) return
    // Requests that were in flight when it opened add no information.
    if (this.isOpen && !this.#probing) return
    this.#probing = false
    this.#opened++
    this.#until = this.#now() + delay(this.#opened, FIRST_PAUSE_MS, LONGEST_PAUSE_MS)
  }
}
