// How long to wait before the next attempt.

/**
 * Full jitter: anything up to a span that doubles with each failure, after what the server asks for. So clients that were
 * cut together do not come back together, and none comes before the server wants to see it.
 */
export function backoff(
  failures: number,
  hint: number,
  { backoff: first, maxBackoff: most }: { readonly backoff: number; readonly maxBackoff: number },
): number {
  return hint + Math.random() * Math.min(most, first * 2 ** Math.min(failures, 30))
}
