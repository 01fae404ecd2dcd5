// Counts the events that a reader has received from a channel, whose events are numbered from 1 on.

export interface Counts {
  /** Deliveries, including repeated ones. */
  delivered: number
  missing: number
  repeated: number
  reordered: number
  /** Lost events that a gap reported. */
  told: number
}

export const noCounts = (): Counts => ({ delivered: 0, missing: 0, repeated: 0, reordered: 0, told: 0 })

export function addCounts(sum: Counts, more: Counts): void {
  for (const name of Object.keys(sum) as (keyof Counts)[]) sum[name] += more[name]
}

export class Account {
  readonly #seen = new Set<number>()
  readonly #told = new Set<number>()
  readonly #counts = noCounts()
  #last: number
  #gap = false

  /** `from`: the last number before this reader started. */
  constructor(from: number) {
    this.#last = from
    this.from = from
  }

  readonly from: number

  get last(): number {
    return this.#last
  }

  event(n: number): void {
    this.#counts.delivered++
    if (this.#seen.has(n)) {
      this.#counts.repeated++
      return
    }
    this.#seen.add(n)
    if (n <= this.#last) {
      this.#counts.reordered++
      return
    }
    if (this.#gap) for (let lost = this.#last + 1; lost < n; lost++) this.#told.add(lost)
    this.#gap = false
    this.#last = n
  }

  /** The reader received a gap: events before the next one may be lost. */
  gap(): void {
    this.#gap = true
  }

  /** Counts the missing events. `to`: the last published number. */
  close(to: number): Counts {
    const counts = { ...this.#counts }
    for (let n = this.from + 1; n <= to; n++) {
      if (this.#seen.has(n)) continue
      if (this.#told.has(n) || (this.#gap && n > this.#last)) counts.told++
      else counts.missing++
    }
    return counts
  }
}
