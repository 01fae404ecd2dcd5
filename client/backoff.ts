// The delay before the next attempt.

/**
 * Full jitter: a random delay up to a span that doubles with each failure, added to the delay that the server asks for.
 * So clients that were cut together do not reconnect together, and none reconnects before the server allows it.
 */
export function backoff(
  failures: number,
  hint: number,
  { backoff: first, maxBackoff: most }: { readonly backoff: number; readonly maxBackoff: number },
): number {
  return hint + Math.random() * Math.min(most, first * 2 ** Math.min(failures, 30))
}
