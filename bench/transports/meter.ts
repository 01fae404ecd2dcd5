// Measures the resources of the deployment and the traffic of the load during a cell, in total and per second.

import type { Tally } from '../load/order.ts'
import type { Deployment, Usage } from './deployment.ts'
import type { Sample } from './result.ts'

/** Ms between two samples. */
const SAMPLE_EVERY = 1000

/** Shares of one core. */
export interface Shares {
  readonly nodes: number
  readonly redis: number
  readonly balancer: number
}

export class Meter {
  readonly samples: Sample[] = []
  readonly #deployment: Deployment
  readonly #tally: () => Promise<Tally>
  readonly #before: Usage
  readonly #beganAt = performance.now()
  #last: Usage
  #lastTally: Pick<Tally, 'received' | 'requests'> = { received: 0, requests: 0 }
  #sampling: Promise<void> = Promise.resolve()
  readonly #timer: NodeJS.Timeout

  constructor(deployment: Deployment, tally: () => Promise<Tally>) {
    this.#deployment = deployment
    this.#tally = tally
    this.#before = deployment.usage()
    this.#last = this.#before
    this.#timer = setInterval(() => {
      this.#sampling = this.#sampling.then(() => this.#sample())
    }, SAMPLE_EVERY)
  }

  /** Stops sampling, and returns the usage since its start. */
  async stop(): Promise<Shares> {
    clearInterval(this.#timer)
    const seconds = this.#seconds
    const usage = this.#deployment.usage()
    const share = (part: 'nodes' | 'redis' | 'balancer') => (usage[part] - this.#before[part]) / 1e6 / seconds
    await this.#sampling
    return { nodes: share('nodes'), redis: share('redis'), balancer: share('balancer') }
  }

  get #seconds(): number {
    return (performance.now() - this.#beganAt) / 1000
  }

  async #sample(): Promise<void> {
    const usage = this.#deployment.usage()
    const at = this.#seconds
    const tally = await this.#tally()
    this.samples.push({
      at,
      delivered: tally.received - this.#lastTally.received,
      requests: tally.requests - this.#lastTally.requests,
      cpu: usage.nodes - this.#last.nodes,
      resident: usage.resident,
    })
    this.#last = usage
    this.#lastTally = tally
  }
}
