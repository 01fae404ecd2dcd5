// Caches a form of each event, such as an encoding or a parsed form, so that it is made once.

import type { LogEvent } from './event.ts'

/** The approximate bytes per result besides its content: its objects and its entry. */
const OVERHEAD_BYTES = 150

/**
 * Caches the results of `make` while their events are in memory, for at most `most` bytes of events, or one larger event.
 * Beyond that, all results are dropped, and made again on demand. FANWIRE_MEMORY does not count them.
 */
export function madeOnce<Made extends object>(
  most: number,
  make: (event: LogEvent) => Made,
): (event: LogEvent) => Made {
  let known = new WeakMap<LogEvent, Made>()
  let size = 0
  return event => {
    const kept = known.get(event)
    if (kept !== undefined) return kept
    const made = make(event)
    const added = event.json.length + OVERHEAD_BYTES
    size += added
    if (size > most) {
      known = new WeakMap()
      size = added
    }
    known.set(event, made)
    return made
  }
}
