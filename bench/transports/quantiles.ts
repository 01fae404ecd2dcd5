// Quantiles of a histogram that was sent as values and counts.

import type { Quantiles } from './result.ts'

/** `counts`: µs and how often, ascending. Returns ms; 0 without values. */
export function quantiles(counts: readonly (readonly [number, number])[]): Quantiles {
  const total = counts.reduce((sum, [, count]) => sum + count, 0)
  const at = (share: number) => {
    let left = Math.ceil(total * share)
    for (const [value, count] of counts) if ((left -= count) <= 0) return value / 1000
    return 0
  }
  return { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: (counts.at(-1)?.[0] ?? 0) / 1000 }
}
