// Long work in short slices that leave the event loop free in between.

import { setImmediate } from 'node:timers/promises'

/** How long one slice may take, ms. */
const SLICE_MS = 2

/** Visits all items in order, with a turn of the event loop after each slice. Rejects with the errors of `visit`. */
export async function visitInSlices<T>(items: Iterable<T>, visit: (item: T) => void): Promise<void> {
  let deadline = performance.now() + SLICE_MS
  for (const item of items) {
    visit(item)
    if (performance.now() < deadline) continue
    await setImmediate()
    deadline = performance.now() + SLICE_MS
  }
}

/** Repeats `work` every `ms`, except while the last repetition has not ended. The timer does not keep the process alive. */
export function repeat(work: () => Promise<void>, ms: number): NodeJS.Timeout {
  let working = false
  const once = async () => {
    if (working) return
    working = true
    await work()
    working = false
  }
  return setInterval(() => void once(), ms).unref()
}
