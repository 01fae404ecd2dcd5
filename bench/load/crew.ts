// Several processes of load that act as one.

import { Histogram } from './histogram.ts'
import type { LoadMethods } from './load.ts'
import type { Connected, LoadOrder, PublishingTally, PublishingOrder, Tally } from './order.ts'
import { Remote, sibling } from './remote.ts'

const LOAD = sibling(import.meta.url, 'load')

export class Crew {
  readonly #processes: Remote<LoadMethods>[]

  constructor(processes: number) {
    this.#processes = Array.from({ length: processes }, () => new Remote<LoadMethods>(LOAD))
  }

  /** Distributes clients over the processes. May be called again for more clients, also of another wire. */
  async connect(order: LoadOrder): Promise<Connected> {
    const of = this.#processes.length
    const parts = await Promise.all(
      this.#processes.map((each, nth) => each.call('connect', { order, nth, of })),
    )
    return {
      opened: sum(parts, each => each.opened),
      failed: sum(parts, each => each.failed),
      reason: parts.findLast(each => each.reason !== '')?.reason ?? '',
    }
  }

  /** Resets the counts, but not the positions of the clients. */
  async begin(): Promise<void> {
    await Promise.all(this.#processes.map(each => each.call('begin', undefined)))
  }

  /** True when every client has received the event `upto` of its channel and misses none; false at `deadline`, µs. */
  async settle(upto: number, deadline: number): Promise<boolean> {
    const settled = await Promise.all(this.#processes.map(each => each.call('settle', { upto, deadline })))
    return settled.every(Boolean)
  }

  /** The totals since `begin`. */
  async tally(): Promise<Tally> {
    return total(await Promise.all(this.#processes.map(each => each.call('tally', undefined))))
  }

  /** Publishes over connections that are distributed over the processes. */
  async publishing(order: PublishingOrder): Promise<PublishingTally> {
    const { connections, channel } = order
    const of = Math.min(connections, this.#processes.length)
    const parts = await Promise.all(
      this.#processes.slice(0, of).map((each, nth) =>
        each.call('publishing', {
          ...order,
          channel: `${channel}-${nth}`,
          connections: Math.floor(connections / of) + (nth < connections % of ? 1 : 0),
        }),
      ),
    )
    return {
      requests: sum(parts, each => each.requests),
      requestsPerSecond: sum(parts, each => each.requestsPerSecond),
      answering: merged(parts.map(each => each.answering)),
      bytesIn: sum(parts, each => each.bytesIn),
      bytesOut: sum(parts, each => each.bytesOut),
      errors: counted(parts.map(each => each.errors)),
      cpu: Math.max(...parts.map(each => each.cpu)),
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#processes.map(each => each.close()))
  }
}

/** Sums several tallies. */
export function total(parts: readonly Tally[]): Tally {
  return {
    clients: sum(parts, each => each.clients),
    open: sum(parts, each => each.open),
    received: sum(parts, each => each.received),
    missing: sum(parts, each => each.missing),
    repeated: sum(parts, each => each.repeated),
    reordered: sum(parts, each => each.reordered),
    gaps: sum(parts, each => each.gaps),
    requests: sum(parts, each => each.requests),
    empty: sum(parts, each => each.empty),
    bytesIn: sum(parts, each => each.bytesIn),
    bytesOut: sum(parts, each => each.bytesOut),
    cut: sum(parts, each => each.cut),
    resumed: sum(parts, each => each.resumed),
    errors: counted(parts.map(each => each.errors)),
    lastAt: Math.max(0, ...parts.map(each => each.lastAt)),
    latency: merged(parts.map(each => each.latency)),
    answering: merged(parts.map(each => each.answering)),
    cpu: Math.max(0, ...parts.map(each => each.cpu)),
  }
}

function sum<T>(parts: readonly T[], of: (part: T) => number): number {
  return parts.reduce((sum, each) => sum + of(each), 0)
}

function merged(parts: readonly Tally['latency'][]): Tally['latency'] {
  const all = new Histogram()
  for (const each of parts) all.addAll(each)
  return all.entries()
}

function counted(parts: readonly Tally['errors'][]): Record<string, number> {
  const all: Record<string, number> = {}
  for (const each of parts) {
    for (const [kind, count] of Object.entries(each)) all[kind] = (all[kind] ?? 0) + count
  }
  return all
}
