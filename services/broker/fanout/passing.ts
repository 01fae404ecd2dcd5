// Transient events on their way to readers: encoded once for each wire, and kept for nobody.

import type { LogEvent } from '../event/event.ts'
import type { Framing } from './framing.ts'
import { letsThrough, type Selection } from './selection.ts'

export class Passing {
  readonly #events: readonly LogEvent[]
  readonly #encoded = new Map<Framing, Buffer>()

  constructor(events: readonly LogEvent[]) {
    this.#events = events
  }

  /** What of them a selection lets through, and how many that are. */
  for(framing: Framing, selection: Selection | undefined): { bytes: Buffer; count: number } {
    const chosen = this.#events.filter(event => letsThrough(selection?.filter, event))
    const count = chosen.length
    if (count === 0) return { bytes: NOTHING, count }
    if (count < this.#events.length) return { bytes: framing.stretch(chosen, 0, count), count }
    let bytes = this.#encoded.get(framing)
    if (bytes === undefined) {
      bytes = framing.stretch(chosen, 0, count)
      this.#encoded.set(framing, bytes)
    }
    return { bytes, count }
  }
}

const NOTHING = Buffer.alloc(0)
