// What is made of an event once, for all that need it: an encoding for readers at other cursors, a parsed form.

import type { LogEvent } from './event.ts'

/** Bytes per result besides its content: its objects and its entry, about. */
const OVERHEAD = 150

/**
 * `make`, with its results kept for as long as their events are in memory, but for at most `most` bytes of events, or
 * one larger event: with more, all are dropped, and made again when they are needed. FANWIRE_MEMORY does not count them.
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
    const added = event.json.length + OVERHEAD
    size += added
    if (size > most) {
      known = new WeakMap()
      size = added
    }
    known.set(event, made)
    return made
  }
}
