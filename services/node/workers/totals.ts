// What all workers measured, added up: each metric as its `aggregator` says. Counters never fall when a worker is
// slow or gone, since Prometheus would take that for a restart, and all that remains for new.

import { AggregatorRegistry, type Registry } from 'prom-client'

/** What one worker measured. */
export type Measured = Awaited<ReturnType<Registry['getMetricsAsJSON']>>

/** What only grows. */
function grown(measured: Measured): Measured {
  return measured.filter(({ type }) => ['counter', 'histogram'].includes(String(type)))
}

export class Totals {
  /** Of each worker that lives, by its id, what it told last. */
  readonly #last = new Map<number, Measured>()
  /** Of those that are gone. */
  readonly #gone: Measured[] = []

  tell(worker: number, measured: Measured): void {
    this.#last.set(worker, measured)
  }

  ended(worker: number): void {
    const last = this.#last.get(worker)
    this.#last.delete(worker)
    if (last !== undefined) this.#gone.push(grown(last))
  }

  /** As Prometheus text. Of workers that are not in `answered`, and told something before, what only grows. */
  async text(answered: ReadonlySet<number>): Promise<string> {
    // In one again; another may end meanwhile.
    const gone = this.#gone.splice(0)
    if (gone.length > 0) this.#gone.push(await AggregatorRegistry.aggregate(gone).getMetricsAsJSON())
    const living = [...this.#last].map(([worker, last]) => (answered.has(worker) ? last : grown(last)))
    return AggregatorRegistry.aggregate([...living, ...this.#gone]).metrics()
  }
}
