// A set of integers that are mostly consecutive, stored as ranges.

export interface Span {
  readonly from: number
  /** Inclusive. */
  readonly to: number
}

export class Spans {
  /** Ordered and disjoint. */
  #spans: { from: number; to: number }[] = []

  get size(): number {
    return this.#spans.reduce((sum, { from, to }) => sum + to - from + 1, 0)
  }

  /** Adds `from` up to and including `to`. */
  add(from: number, to: number): void {
    const spans = this.#spans
    const last = spans.at(-1)
    if (last === undefined || from > last.to + 1) {
      spans.push({ from, to })
      return
    }
    if (from >= last.from) {
      last.to = Math.max(last.to, to)
      return
    }
    const before = spans.filter(span => span.to + 1 < from)
    const behind = spans.filter(span => span.from > to + 1)
    const touched = spans.slice(before.length, spans.length - behind.length)
    const first = Math.min(from, touched[0]?.from ?? from)
    const end = Math.max(to, touched.at(-1)?.to ?? to)
    this.#spans = [...before, { from: first, to: end }, ...behind]
  }

  /** How many numbers from `from` up to and including `to` are missing. */
  missing(from: number, to: number): number {
    let left = Math.max(0, to - from + 1)
    for (const span of this.#spans) {
      left -= Math.max(0, Math.min(to, span.to) - Math.max(from, span.from) + 1)
    }
    return left
  }

  /** The spans of numbers that `other` does not have. */
  without(other: Spans): Span[] {
    const left: Span[] = []
    for (const { from, to } of this.#spans) {
      let at = from
      for (const hole of other.#spans) {
        if (hole.to < at) continue
        if (hole.from > to) break
        if (hole.from > at) left.push({ from: at, to: hole.from - 1 })
        at = hole.to + 1
      }
      if (at <= to) left.push({ from: at, to })
    }
    return left
  }
}
