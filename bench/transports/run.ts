// Runs one deployment with clients of one wire, and measures its cells one after the other.

import { availableParallelism } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Crew } from '../load/crew.ts'
import { now } from '../load/marker.ts'
import type { LoadOrder, Tally } from '../load/order.ts'
import type { Published, PublisherMethods } from '../load/publisher.ts'
import { Remote } from '../load/remote.ts'
import type { Run } from './cells.ts'
import { type Deployment, deploy } from './deployment.ts'
import { Meter, type Shares } from './meter.ts'
import { quantiles } from './quantiles.ts'
import type { Cell, CellResult } from './result.ts'

/** Bytes of an event's data. */
export const SIZE = 128

const PUBLISHER = fileURLToPath(new URL('../load/publisher.ts', import.meta.url))
const CHANNEL = 'bench'
/** Clients and events that make the server load and compile its code. */
const WARM = { channel: 'warm', clients: 50, rate: 50, events: 50 }
/** Seconds over which clients connect, per thousand of them. */
const RAMP_UP = 0.5
/** Maximum seconds that a long poll is held. */
const WAIT = 25
/** Capacity of a refresh page: more events than arrive between two loads. */
const PAGE = 200
/** Seconds after the last event, in addition to the poll interval, until missing events count as lost. */
const GRACE = 3
/** Maximum seconds until the remaining events of a cell have arrived, before the next begins. */
const CATCH_UP = 20
/** Seconds of a probe, and the minimum deliveries or requests per second for one. */
const PROBE = 3
const PROBED_FROM = 2000
/** Share of a core, or of the machine, above which it is exhausted. */
const FULL = 0.95
/** Memory is not measured with fewer clients, because theirs is small relative to that of the process. */
const WEIGHED_FROM = 1000
/** Seconds of measuring a node's idle usage. */
const GROUND = 3

export interface Bench {
  readonly quick: boolean
  progress(text: string): void
}

/** The results of a run's cells, in their order. */
export async function measure(run: Run, bench: Bench): Promise<CellResult[]> {
  const deployment = await deploy(run.nodes)
  const crew = new Crew(1)
  const publisher: Remote<PublisherMethods> = new Remote(PUBLISHER)
  try {
    return await new Measuring(run, bench, deployment, crew, publisher).all()
  } finally {
    await Promise.all([crew.close(), publisher.close()])
    await deployment.close()
  }
}

class Measuring {
  readonly #run: Run
  readonly #bench: Bench
  readonly #deployment: Deployment
  readonly #crew: Crew
  readonly #publisher: Remote<PublisherMethods>
  /** Sequence number of the newest event. */
  #newest = 0
  /** Share of a core that the nodes use without clients. */
  #ground = 0
  #residentPerClient: number | undefined
  readonly #notes: string[] = []

  constructor(
    run: Run,
    bench: Bench,
    deployment: Deployment,
    crew: Crew,
    publisher: Remote<PublisherMethods>,
  ) {
    this.#run = run
    this.#bench = bench
    this.#deployment = deployment
    this.#crew = crew
    this.#publisher = publisher
  }

  async all(): Promise<CellResult[]> {
    const { line, cells, clients } = this.#run
    const results: CellResult[] = []
    await this.#warmUp()
    if (line.wire === 'publish') {
      for (const cell of cells) results.push(await this.#publishing(cell))
      return results
    }
    const before = this.#deployment.usage().resident
    const { failed, reason } = await this.#crew.connect(this.#order(CHANNEL, clients))
    if (failed > 0) this.#notes.push(`${failed} of ${clients} clients could not connect: ${reason}`)
    await sleep(this.#bench.quick ? 0 : 1000)
    if (clients >= WEIGHED_FROM) {
      this.#residentPerClient = (this.#deployment.usage().resident - before) / 1024 / clients
    }
    for (const cell of cells) {
      this.#bench.progress(`${cell.rate} events/s for ${cell.seconds} s`)
      results.push(await this.#reading(cell))
    }
    return results
  }

  /** Runs some clients and events that are not counted, and then measures the node's idle usage. */
  async #warmUp(): Promise<void> {
    const { line } = this.#run
    const target = { url: this.#deployment.url }
    const low = line.priority === 'low' ? ({ priority: 'low' } as const) : {}
    await this.#publisher.call('open', { name: 'main', sink: { kind: 'fanwire', target, ...low } })
    const crew = new Crew(1)
    try {
      if (line.wire !== 'publish') await crew.connect(this.#order(WARM.channel, WARM.clients))
      await this.#publish(WARM.channel, WARM.rate, WARM.events, 1)
      await crew.settle(WARM.events, now() + (this.#tail + GRACE) * 1e6)
    } finally {
      await crew.close()
    }
    this.#deployment.collect()
    if (this.#bench.quick) return
    await sleep(1000)
    const meter = new Meter(this.#deployment, () => this.#crew.tally())
    await sleep(GROUND * 1000)
    this.#ground = (await meter.stop()).nodes
  }

  #order(channel: string, clients: number): LoadOrder {
    const { wire, every = 1 } = this.#run.line
    const { url, h2cUrl } = this.#deployment
    return {
      target: { url: wire === 'push' ? (h2cUrl ?? url) : url },
      wire: wire === 'publish' ? 'sse' : wire,
      clients,
      channels: [channel],
      every,
      wait: WAIT,
      rampUp: Math.max((RAMP_UP * clients) / 1000, wire === 'poll' || wire === 'refresh' ? every : 0),
      after: 0,
      ...(wire === 'refresh' ? { limit: PAGE } : {}),
    }
  }

  /** Seconds that an event may be in flight by the nature of the wire. */
  get #tail(): number {
    const { every = 0, priority } = this.#run.line
    return every + (priority === 'low' ? 1 : 0)
  }

  #publish(channel: string, rate: number, count: number, first: number): Promise<Published> {
    const seconds = count / rate + this.#tail + GRACE
    return this.#publisher.call('publish', {
      streams: [{ sink: 'main', channels: [channel], rate, size: SIZE, count, first }],
      deadline: now() + seconds * 1e6,
    })
  }

  async #reading(cell: Cells): Promise<CellResult> {
    const probed = !this.#bench.quick && this.#probed(cell)
    if (probed) {
      const result = await this.#load({ ...cell, seconds: PROBE })
      if (result.saturated !== undefined) return result
    }
    return this.#load(cell)
  }

  #probed({ rate }: Cells): boolean {
    const { clients, line } = this.#run
    return clients * Math.max(rate, 1 / (line.every ?? 1)) >= PROBED_FROM
  }

  async #load({ rate, seconds }: Cells): Promise<CellResult> {
    const crew = this.#crew
    const count = Math.round(rate * seconds)
    await crew.begin()
    const beganAt = now()
    const meter = new Meter(this.#deployment, () => crew.tally())
    const publishing = count === 0 ? undefined : this.#publish(CHANNEL, rate, count, this.#newest + 1)
    this.#newest += count
    await sleep(seconds * 1000)
    const shares = await meter.stop()
    const complete = await crew.settle(this.#newest, now() + (this.#tail + GRACE) * 1e6)
    const tally = await crew.tally()
    const elapsed = (now() - beganAt) / 1e6
    const published = await publishing
    if (!complete) await crew.settle(this.#newest, now() + CATCH_UP * 1e6)
    return this.#result({ rate, seconds }, { complete, shares, tally, published, elapsed }, meter)
  }

  #result({ rate, seconds }: Cells, seen: Seen, { samples }: Meter): CellResult {
    const { line, clients, nodes } = this.#run
    const { shares, tally, published, elapsed, complete } = seen
    const { received } = tally
    const events = published?.sent ?? 0
    const asks = tally.requests > 0
    const perSecond = received / (complete ? seconds : elapsed)
    const cpu = Math.max(0, shares.nodes - this.#ground) * 1e6
    const by = this.#limit(seen)
    const notes = [...this.#notes]
    if (published !== undefined && published.failed > 0) notes.push(`${published.failed} publishes failed`)
    return {
      line,
      clients,
      rate,
      nodes,
      seconds,
      events,
      delivered: received,
      expected: events * clients,
      missing: complete ? Math.max(tally.missing, events * clients - received) : tally.missing,
      repeated: tally.repeated,
      reordered: tally.reordered,
      gaps: tally.gaps,
      deliveriesPerSecond: perSecond,
      ...(received > 0
        ? {
            latency: quantiles(tally.latency),
            bytesInPerDelivery: tally.bytesIn / received,
            bytesOutPerDelivery: tally.bytesOut / received,
            cpuPerDelivery: cpu / perSecond,
            cpuPerEvent: cpu / rate,
            redisCpuPerEvent: (shares.redis * 1e6) / rate,
          }
        : {}),
      ...(asks
        ? {
            requestsPerSecond: tally.requests / elapsed,
            emptyShare: tally.empty / tally.requests,
            answering: quantiles(tally.answering),
          }
        : {}),
      bytesInPerClient: tally.bytesIn / elapsed / clients,
      bytesOutPerClient: tally.bytesOut / elapsed / clients,
      cpuPerClient: cpu / clients,
      cpuShare: shares.nodes,
      ...(nodes > 1 ? { balancerCpuShare: shares.balancer } : {}),
      ...(this.#residentPerClient === undefined ? {} : { residentPerClient: this.#residentPerClient }),
      errors: tally.errors,
      ...(by === undefined ? {} : { saturated: { by, ceiling: perSecond } }),
      generatorCpu: tally.cpu,
      publisherLate: published?.late ?? 0,
      latencies: tally.latency,
      samples,
      notes,
    }
  }

  /** Each connection publishes as fast as it is answered. This is the ceiling, but does not count as saturated. */
  async #publishing({ rate, seconds }: Cells): Promise<CellResult> {
    const { line, clients, nodes } = this.#run
    this.#bench.progress(`as fast as possible for ${seconds} s`)
    const meter = new Meter(this.#deployment, () => this.#crew.tally())
    const { requests, answering, bytesIn, bytesOut, errors, cpu, requestsPerSecond } =
      await this.#crew.publishing({
        target: { url: this.#deployment.url },
        channel: CHANNEL,
        connections: clients,
        seconds,
        size: SIZE,
      })
    const shares = await meter.stop()
    const used = Math.max(0, shares.nodes - this.#ground) * 1e6
    return {
      line,
      clients,
      rate,
      nodes,
      seconds,
      events: requests,
      delivered: 0,
      expected: 0,
      missing: 0,
      repeated: 0,
      reordered: 0,
      gaps: 0,
      deliveriesPerSecond: 0,
      requestsPerSecond,
      answering: quantiles(answering),
      cpuPerEvent: used / requestsPerSecond,
      redisCpuPerEvent: (shares.redis * 1e6) / requestsPerSecond,
      bytesInPerClient: bytesIn / seconds / clients,
      bytesOutPerClient: bytesOut / seconds / clients,
      cpuPerClient: used / clients,
      cpuShare: shares.nodes,
      errors,
      generatorCpu: cpu,
      publisherLate: 0,
      latencies: [],
      samples: meter.samples,
      notes: this.#notes,
    }
  }

  /** The exhausted resource, if any. */
  #limit({ shares, tally, published, complete }: Seen) {
    if (shares.nodes / this.#run.nodes >= FULL) return 'server'
    if (tally.cpu >= FULL) return 'load generator'
    const all = shares.nodes + shares.redis + shares.balancer + tally.cpu + (published?.cpu ?? 0)
    return all >= FULL * availableParallelism() || !complete ? 'machine' : undefined
  }
}

type Cells = Pick<Cell, 'rate' | 'seconds'>

interface Seen {
  readonly complete: boolean
  readonly shares: Shares
  readonly tally: Tally
  readonly published: Published | undefined
  /** Seconds in which the tally was counted. */
  readonly elapsed: number
}
