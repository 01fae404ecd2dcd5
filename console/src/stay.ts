// Reading that comes back by itself, until nobody looks any more.

import { pause } from '../../client/pause.ts'

export interface Stay {
  readonly signal: AbortSignal
  /** Between two tries, ms. */
  readonly again: number
  /** A try ended, by an error or by itself; false: it was the last one. Not called once the signal is aborted. */
  ended(error: unknown): boolean
}

/** Reads again and again until the signal is aborted. */
export async function stay(read: () => Promise<void>, { signal, again, ended }: Stay): Promise<void> {
  while (!signal.aborted) {
    const error = await read().catch((error: unknown) => error)
    if (signal.aborted || !ended(error)) return
    await pause(again, signal)
  }
}
