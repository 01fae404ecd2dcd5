// Helpers of the client's tests: clients of a node in this process, and their received events.

import { WebSocket } from 'ws'
import { connect, type Event, type Options, type Subscription, type Wire } from '../../../client/index.ts'
import { until } from '../../support/until.ts'

export const WIRES: readonly Wire[] = ['ws', 'sse', 'stream', 'long-poll', 'poll']

/** Short times, ms, so that tests are fast; `open` is long, since opening takes time on a busy machine. */
export const TIMING = {
  backoff: 20,
  maxBackoff: 100,
  open: 10_000,
  silence: 30_000,
  upgrade: 60_000,
  poll: 20,
}

export function client(url: string, options: Options = {}) {
  const timing = { ...TIMING, ...options.timing }
  return connect(url, { WebSocket: WebSocket as never, ...options, timing })
}

/** Records everything that a subscription reports to listeners. */
export class Seen {
  readonly events: Event[] = []
  readonly gaps: { from: string; to: string }[] = []
  readonly #subscription: Subscription

  constructor(subscription: Subscription) {
    this.#subscription = subscription
    subscription.on('gap', gap => this.gaps.push(gap))
    subscription.on('event', event => this.events.push(event))
  }

  get data(): unknown[] {
    return this.events.map(({ data }) => data)
  }

  async has(count: number): Promise<void> {
    await until(`${count} events of ${this.#subscription.channel}`, () => {
      if (this.events.length < count) throw new Error(`has ${this.events.length}`)
      return true
    })
  }
}

export const numbers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)
