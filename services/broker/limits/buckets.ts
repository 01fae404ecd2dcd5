// Token buckets: a burst and a long-term rate.

/** A burst, and a rate per second. */
export interface Allowance {
  readonly burst: number
  readonly perSecond: number
}

/** A token bucket. All times are from the same clock, ms. */
export class Bucket {
  /** Tokens that were taken since the other nodes were last notified. */
  unreported = 0
  /** A new bucket is full, whatever its size. */
  #left = Number.POSITIVE_INFINITY
  #at = 0

  /** Ms until `cost` may be taken; 0: now. A cost above the burst needs a full bucket, and leaves a debt. */
  wait({ burst, perSecond }: Allowance, cost: number, now: number): number {
    const missing = Math.min(cost, burst) - this.#leftAt({ burst, perSecond }, now)
    return missing <= 0 ? 0 : Math.max(1, Math.ceil((missing / perSecond) * 1000 - 1e-6))
  }

  /** Takes `cost`, even if that leaves a debt. */
  spend(allowance: Allowance, cost: number, now: number): void {
    this.#left = this.#leftAt(allowance, now) - cost
    this.#at = now
    this.unreported += cost
  }

  /** Takes tokens that were spent on other nodes. The debt is at most a burst plus one second's refill. */
  debit(allowance: Allowance, cost: number, now: number): void {
    const { burst, perSecond } = allowance
    const before = this.#leftAt(allowance, now)
    this.#left = Math.max(before - cost, Math.min(before, -(burst + perSecond)))
    this.#at = now
  }

  /** Empties the bucket for this many seconds. */
  exhaust({ perSecond }: Allowance, seconds: number, now: number): void {
    this.#left = -perSecond * seconds
    this.#at = now
  }

  /** Whether it is full again. */
  isFull(allowance: Allowance, now: number): boolean {
    return this.#leftAt(allowance, now) >= allowance.burst
  }

  #leftAt({ burst, perSecond }: Allowance, now: number): number {
    return Math.min(burst, this.#left + (Math.max(0, now - this.#at) / 1000) * perSecond)
  }
}

/** The maximum names in a table. Beyond it, the least recently used name is forgotten, as if it had been idle. */
const MOST = 100_000

/** Buckets by name, such as an address. Buckets that are full again are removed. */
export class Buckets {
  /** The least recently used first. */
  readonly #buckets = new Map<string, { readonly bucket: Bucket; allowance: Allowance }>()
  readonly #most: number

  constructor(most = MOST) {
    this.#most = most
  }

  /** The number of remembered names. */
  get size(): number {
    return this.#buckets.size
  }

  /** The bucket of a name, for a caller that takes from it. */
  of(name: string, allowance: Allowance, now: number): Bucket {
    const known = this.#buckets.get(name)
    const bucket = known?.bucket ?? new Bucket()
    if (known !== undefined) this.#buckets.delete(name)
    this.#buckets.set(name, { bucket, allowance })
    this.#forget(now)
    return bucket
  }

  /** The bucket of a name, if it exists. Does not count as a use. */
  known(name: string): Bucket | undefined {
    return this.#buckets.get(name)?.bucket
  }

  *[Symbol.iterator](): Generator<readonly [name: string, bucket: Bucket]> {
    for (const [name, { bucket }] of this.#buckets) yield [name, bucket]
  }

  #forget(now: number): void {
    for (const [name, { bucket, allowance }] of this.#buckets) {
      // The newest bucket is about to be used.
      if (this.#buckets.size === 1) return
      if (this.#buckets.size <= this.#most && !bucket.isFull(allowance, now)) return
      this.#buckets.delete(name)
    }
  }
}

/** The same allowance for each of many names. */
export class Quota {
  readonly #allowance: Allowance
  readonly #buckets = new Buckets()

  constructor(allowance: Allowance) {
    this.#allowance = allowance
  }

  /** The number of remembered names. */
  get size(): number {
    return this.#buckets.size
  }

  /** Takes a token. Returns false if none is left. */
  take(name: string, now = performance.now()): boolean {
    const bucket = this.#buckets.of(name, this.#allowance, now)
    if (bucket.wait(this.#allowance, 1, now) > 0) return false
    bucket.spend(this.#allowance, 1, now)
    return true
  }

  /** Empties the bucket for this many seconds. */
  exhaust(name: string, seconds: number, now = performance.now()): void {
    this.#buckets.of(name, this.#allowance, now).exhaust(this.#allowance, seconds, now)
  }

  /** Whether a token is left. */
  has(name: string, now = performance.now()): boolean {
    return (this.#buckets.known(name)?.wait(this.#allowance, 1, now) ?? 0) === 0
  }
}
