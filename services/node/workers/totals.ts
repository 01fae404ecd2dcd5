// Aggregates all workers' metrics, each by its `aggregator`. Counters never decrease when a worker is slow or gone, since
// Prometheus would treat that as a restart, and the remaining count as new.

import { AggregatorRegistry, type Registry } from 'prom-client'

/** One worker's metrics. */
export type Measured = Awaited<ReturnType<Registry['getMetricsAsJSON']>>

/** Metrics that only grow. */
function grown(measured: Measured): Measured {
  return measured.filter(({ type }) => ['counter', 'histogram'].includes(String(type)))
}

export class Totals {
  /** The last metrics of each live worker, by its id. */
  readonly #last = new Map<number, Measured>()
  /** The growing metrics of workers that are gone. */
  readonly #gone: Measured[] = []

  set(worker: number, measured: Measured): void {
    this.#last.set(worker, measured)
  }

  ended(worker: number): void {
    const last = this.#last.get(worker)
    this.#last.delete(worker)
    if (last !== undefined) this.#gone.push(grown(last))
  }

  /** The totals as Prometheus text. Workers that are not in `answered` contribute the growing part of their last metrics. */
  async text(answered: ReadonlySet<number>): Promise<string> {
    // Taken in one step, since another worker may end meanwhile.
    const gone = this.#gone.splice(0)
    if (gone.length > 0) this.#gone.push(await AggregatorRegistry.aggregate(gone).getMetricsAsJSON())
    const living = [...this.#last].map(([worker, last]) => (answered.has(worker) ? last : grown(last)))
    return AggregatorRegistry.aggregate([...living, ...this.#gone]).metrics()
  }
}
