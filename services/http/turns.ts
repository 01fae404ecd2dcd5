// A client's work, spread over turns of the event loop: a limited share in one turn, and then other clients have
// theirs.

import { setImmediate as nextTurn } from 'node:timers/promises'

/** Requests or commands of one client that begin in one turn of the event loop. */
export const TURN = 32

/** Runs each item now, or in a later turn if this turn's share is used up. Keeps their order. */
export class Turns<T> {
  readonly #run: (item: T) => void
  readonly #waiting: T[] = []
  /** Items that have begun since turns were last counted: nothing is counted, and no timer set, below the share. */
  #begun = 0

  constructor(run: (item: T) => void) {
    this.#run = run
  }

  /** Items that wait for a later turn. */
  get waiting(): number {
    return this.#waiting.length
  }

  take(item: T): void {
    if (this.#waiting.length === 0 && this.#begun < TURN) {
      this.#begun++
      this.#run(item)
    } else if (this.#waiting.push(item) === 1) setImmediate(this.#turn)
  }

  /** Returns when nothing waits. */
  async empty(): Promise<void> {
    while (this.#waiting.length > 0) await nextTurn()
  }

  readonly #turn = (): void => {
    for (this.#begun = 0; this.#begun < TURN && this.#waiting.length > 0; this.#begun++) {
      this.#run(this.#waiting.shift() as T)
    }
    if (this.#waiting.length > 0) setImmediate(this.#turn)
  }
}
