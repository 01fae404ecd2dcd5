// A histogram of durations as plain numbers, converted for Prometheus when it is scraped.

import { Histogram, type Registry } from 'prom-client'

/** The upper bounds of the buckets, seconds. */
const BOUNDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5] as const

export class Durations {
  /** Counts by the first bound that is not less. The last entry counts durations above all bounds. */
  readonly #counts = new Array<number>(BOUNDS.length + 1).fill(0)
  #seconds = 0

  add(seconds: number): void {
    let at = 0
    while (at < BOUNDS.length && seconds > (BOUNDS[at] as number)) at++
    this.#counts[at] = (this.#counts[at] as number) + 1
    this.#seconds += seconds
  }

  register(name: string, help: string, registry: Registry): void {
    const histogram = new Histogram({ name, help, buckets: [...BOUNDS], registers: [registry] })
    const collect = async () => ({
      name,
      help,
      type: 'histogram',
      aggregator: 'sum',
      values: this.#values(name),
    })
    // The first serves other processes, the second the text format.
    Object.assign(histogram, { get: collect, getForPromString: collect })
  }

  #values(name: string) {
    let count = 0
    const bucket = (le: number | string, more: number) => {
      count += more
      return { metricName: `${name}_bucket`, labels: { le }, value: count, exemplar: null }
    }
    const buckets = [...BOUNDS, '+Inf'].map((le, at) => bucket(le, this.#counts[at] as number))
    const plain = (what: string, value: number) => ({
      metricName: `${name}_${what}`,
      labels: {},
      value,
      exemplar: null,
    })
    return [...buckets, plain('sum', this.#seconds), plain('count', count)]
  }
}
