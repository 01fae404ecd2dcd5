// Spreads a client's work over turns of the event loop: it has a limited share of each turn, so that other clients have
// theirs.

import { setImmediate as nextTurn } from 'node:timers/promises'

/** The maximum messages of one client that are taken in one turn of the event loop. */
export const TURN = 32
/** The maximum requests or commands of all clients that begin in one turn: they take 0.1 ms and more each. */
export const TURN_OF_ALL = 16

/** Items that have begun since turns were last counted. Below the share, turns are not counted, and no timer is set. */
let begun = 0
/** The clients with items that wait for a later turn. The first one is next. */
const waiting = new Set<{ go(share: number): boolean }>()

function turnOfAll(): void {
  begun = 0
  const share = Math.max(1, Math.floor(TURN_OF_ALL / waiting.size))
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

  constructor(run: (item: T) => void) {
    this.#run = run
  }

  /** Items that wait for a later turn. */
  get waiting(): number {
    return this.#waiting.length
  }

  take(item: T): void {
    if (this.#waiting.length === 0 && begun < TURN_OF_ALL) this.#begin(item)
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
    for (let left = share; left > 0 && this.#waiting.length > 0; left--)
      this.#begin(this.#waiting.shift() as T)
    return this.#waiting.length > 0
  }

  #begin(item: T): void {
    begun++
    this.#run(item)
  }
}
