// Spreads a client's work over turns of the event loop: it has a limited share of each turn, so that other clients have
// theirs.

import { setImmediate as nextTurn } from 'node:timers/promises'

/** The maximum requests or commands of one client that begin in one turn of the event loop. */
export const TURN = 32
/** The maximum of all clients together, since many sessions at once would make one long turn. */
export const TURN_OF_ALL = 64

/** Items that have begun since turns were last counted. Below the share, turns are not counted, and no timer is set. */
let begun = 0
/** The clients with items that wait for a later turn. The first one is next. */
const waiting = new Set<{ go(share: number): boolean }>()

function turnOfAll(): void {
  begun = 0
  const share = Math.max(1, Math.min(TURN, Math.floor(TURN_OF_ALL / waiting.size)))
  for (const turns of [...waiting]) {
    if (begun >= TURN_OF_ALL) break
    // It stays in the set while it runs, so that an item which makes another client wait starts no second round of turns.
    const more = turns.go(share)
    waiting.delete(turns)
    if (more) waiting.add(turns)
  }
  if (waiting.size > 0) setImmediate(turnOfAll)
}

/** Runs each item now, or in a later turn if this turn's share is used up. Keeps their order. */
export class Turns<T> {
  readonly #run: (item: T) => void
  readonly #waiting: T[] = []
  /** Items that have begun since turns were last counted. */
  #begun = 0

  constructor(run: (item: T) => void) {
    this.#run = run
  }

  /** Items that wait for a later turn. */
  get waiting(): number {
    return this.#waiting.length
  }

  take(item: T): void {
    if (this.#waiting.length === 0 && this.#begun < TURN && begun < TURN_OF_ALL) this.#begin(item)
    else if (this.#waiting.push(item) === 1) {
      if (waiting.size === 0) setImmediate(turnOfAll)
      waiting.add(this)
    }
  }

  /** Returns when nothing waits. */
  async empty(): Promise<void> {
    while (this.#waiting.length > 0) await nextTurn()
  }

  /** Begins a share of the waiting items. Returns whether more are waiting. */
  go(share: number): boolean {
    for (this.#begun = 0; this.#begun < share && this.#waiting.length > 0;)
      this.#begin(this.#waiting.shift() as T)
    return this.#waiting.length > 0
  }

  #begin(item: T): void {
    this.#begun++
    begun++
    this.#run(item)
  }
}
