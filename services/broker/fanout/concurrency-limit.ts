// Bounds the number of concurrent operations. Others wait in order of arrival, up to a limit.

import { FanwireError } from '../../errors.ts'

/** The delay before rejected operations may be retried, ms. */
const RETRY_MS = 1000

interface Waiting {
  readonly weight: number
  begin(): void
}

export class ConcurrencyLimit {
  /** The number of operations that have begun. */
  started = 0
  /** The number of rejected operations. */
  shed = 0
  readonly #limit: number
  readonly #mostWaiting: number
  #free: number
  readonly #waiting = new Set<Waiting>()
  #waitingWeight = 0

  constructor(limit: number, mostWaiting = Number.POSITIVE_INFINITY) {
    this.#limit = limit
    this.#mostWaiting = mostWaiting
    this.#free = limit
  }

  /**
   * Runs the operation once there is room for it. `weight` is the number of operations that it counts as. Raises its
   * errors, and FW_OVERLOADED if too many are waiting.
   */
  async run<T>(operation: () => Promise<T>, weight = 1): Promise<T> {
    const taken = Math.min(weight, this.#limit)
    if (this.#waiting.size === 0 && taken <= this.#free) this.#free -= taken
    else await this.#room(taken)
    this.started++
    try {
      return await operation()
    } finally {
      this.#free += taken
      this.#beginSome()
    }
  }

  #room(weight: number): Promise<void> {
    if (this.#waitingWeight + weight > this.#mostWaiting) {
      this.shed++
      throw new FanwireError('FW_OVERLOADED', 'the node has as many reads waiting as it accepts: try again', {
        retry: RETRY_MS,
      })
    }
    this.#waitingWeight += weight
    return new Promise(begin => this.#waiting.add({ weight, begin }))
  }

  #beginSome(): void {
    for (const waiting of this.#waiting) {
      const { weight, begin } = waiting
      if (weight > this.#free) return
      this.#waiting.delete(waiting)
      this.#waitingWeight -= weight
      this.#free -= weight
      begin()
    }
  }
}
