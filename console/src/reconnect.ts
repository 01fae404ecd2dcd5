// Repeats a read that ends or fails, until it is stopped.

import { pause } from '../../client/pause.ts'

export interface Reconnect {
  readonly signal: AbortSignal
  /** The time between two attempts, ms. */
  readonly delay: number
  /** Called when an attempt ends or fails, unless the signal is aborted. Returns false to stop. */
  ended(error: unknown): boolean
}

/** Repeats `read` until the signal is aborted, or `ended` returns false. */
export async function reconnect(
  read: () => Promise<void>,
  { signal, delay, ended }: Reconnect,
): Promise<void> {
  while (!signal.aborted) {
    const error = await read().catch((error: unknown) => error)
    if (signal.aborted || !ended(error)) return
    await pause(delay, signal)
  }
}
