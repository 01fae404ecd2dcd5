// Delays before retries.

/** Ms to wait before try `times`, from 1: doubling from `first`, capped, with jitter so that nodes spread out. */
export function delay(times: number, first: number, most: number): number {
  return Math.min(first * 2 ** (times - 1), most) * (0.5 + Math.random() / 2)
}

/** `ms` plus or minus half of it, so that many clients do not reconnect at once. */
export function jitter(ms: number): number {
  return Math.round(ms * (0.5 + Math.random()))
}
