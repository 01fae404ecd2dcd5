// The node's metrics, for Prometheus. Counters of the hot path are plain numbers of the hub, read only when /metrics is
// scraped.

import fp from 'fastify-plugin'
import { Durations } from './durations.ts'
import { processMetrics } from './loop-lag.ts'
import { operation } from './operation.ts'
import { Counter, Gauge, Registry } from 'prom-client'
import type { Access } from '../broker/access/access.ts'
import type { HubStats } from '../broker/fanout/hub.ts'
import { type ChannelLog, LogRefused, LogUnavailable, type Receipt } from '../broker/log/log.ts'

/** The sources of the metrics, read at each scrape. */
export interface Sources {
  hub: { stats(): HubStats }
  health: { readonly ready: boolean; readonly takesEvents: boolean; readonly probeAge: number }
  log?: Pick<ChannelLog, 'engine' | 'failures'>
  access?: Pick<Access, 'refusals' | 'outcomes' | 'problems'>
}

export class Metrics {
  readonly registry = new Registry()
  readonly #appends = { appended: 0, replayed: 0, unavailable: 0, refused: 0, failed: 0 }
  readonly #appendSeconds = new Durations()
  #connectionsRefused = 0
  #sockets: () => number = () => 0

  constructor({ hub, health, log, access }: Sources) {
    const registers = [this.registry]
    processMetrics(this.registry)

    const appends = this.#appends
    new Counter({
      name: 'fanwire_appends_total',
      help: 'Events handed to the log: appended, replayed (known idempotency key), unavailable, refused, failed',
      labelNames: ['result'],
      registers,
      collect() {
        this.reset()
        for (const [result, count] of Object.entries(appends)) this.inc({ result }, count)
      },
    })
    this.#appendSeconds.register(
      'fanwire_append_seconds',
      'Time until the log held what was published',
      this.registry,
    )

    /**
     * A metric that reads a number at each scrape. With `_total` in the name it is a counter. `over` is how the values of
     * workers are combined.
     */
    const read = (name: string, help: string, value: () => number, over: 'sum' | 'min' | 'max' = 'sum') => {
      if (name.endsWith('_total')) {
        new Counter({
          name,
          help,
          registers,
          collect() {
            this.reset()
            this.inc(value())
          },
        })
      } else {
        new Gauge({
          name,
          help,
          registers,
          aggregator: over,
          collect() {
            this.set(value())
          },
        })
      }
    }
    /** Like `read`, for every wire. */
    const readWires = (name: string, help: string, of: keyof HubStats['wires'][string]) => {
      const labelNames = ['wire'] as const
      const wires = () => Object.entries(hub.stats().wires)
      if (name.endsWith('_total')) {
        new Counter({
          name,
          help,
          labelNames,
          registers,
          collect() {
            this.reset()
            for (const [wire, stats] of wires()) this.inc({ wire }, stats[of])
          },
        })
      } else {
        new Gauge({
          name,
          help,
          labelNames,
          registers,
          collect() {
            for (const [wire, stats] of wires()) this.set({ wire }, stats[of])
          },
        })
      }
    }

    this.#count(
      'fanwire_log_failures_total',
      'Appends to the log and reads from it that failed, by reason: unreachable, or the code that Redis answered with',
      ['operation', 'reason'],
      () => log?.failures ?? [],
    )
    this.#count(
      'fanwire_refused_total',
      'Requests and commands without the necessary right, by the code of the answer and the right',
      ['code', 'right'],
      () => access?.refusals ?? [],
    )
    new Counter({
      name: 'fanwire_credentials_total',
      help: 'Keys, tokens and tickets that were presented, by outcome: accepted, or why not',
      labelNames: ['outcome'],
      registers,
      collect() {
        this.reset()
        for (const [outcome, count] of access?.outcomes ?? []) this.inc({ outcome }, count)
      },
    })
    new Gauge({
      name: 'fanwire_access_problems',
      help: '1 for each setting whose file cannot be used as it is now; the previous content stays in force',
      labelNames: ['setting'],
      registers,
      aggregator: 'max',
      collect() {
        this.reset()
        for (const { setting } of access?.problems ?? []) this.set({ setting }, 1)
      },
    })

    read(
      'fanwire_connections_refused_total',
      'Connections refused by FANWIRE_MAX_CONNECTIONS, or HTTP/2 sessions by the limits of their address',
      () => this.#connectionsRefused,
    )
    readWires('fanwire_connections', 'Clients that are connected, by wire', 'connections')
    readWires('fanwire_deliveries_total', 'Events written to clients, by wire', 'deliveries')
    readWires('fanwire_gaps_total', 'Gaps sent to clients, by wire', 'gaps')
    read('fanwire_sockets', 'Open sockets of the HTTP server', () => this.#sockets())
    read('fanwire_channels_followed', 'Channels that the node follows', () => hub.stats().channels)
    read('fanwire_readers', 'Cursors in followed channels', () => hub.stats().readers)
    read('fanwire_readers_behind', 'Connections whose socket is full', () => hub.stats().behind)
    read('fanwire_recent_events_bytes', 'Recent events held in memory', () => hub.stats().memory)
    read('fanwire_log_reads_total', 'Reads that memory could not answer', () => hub.stats().logReads)
    read(
      'fanwire_probe_age_seconds',
      'Time since the last probe came back',
      () => health.probeAge / 1000,
      'max',
    )
    read('fanwire_ready', '1 while the node can be read', () => (health.ready ? 1 : 0), 'min')
    read(
      'fanwire_takes_events',
      '1 while the log takes events, too',
      () => (health.takesEvents ? 1 : 0),
      'min',
    )
  }

  /** Events since the start, by outcome. */
  get appends(): { readonly appended: number; readonly replayed: number; readonly failed: number } {
    const { appended, replayed, unavailable, refused, failed } = this.#appends
    return { appended, replayed, failed: unavailable + refused + failed }
  }

  /** Counts an append, for which the log took `ms`. */
  appended(receipts: readonly Receipt[], ms: number): void {
    let replayed = 0
    for (const receipt of receipts) if (receipt.replayed) replayed += 1
    this.#appends.replayed += replayed
    this.#appends.appended += receipts.length - replayed
    this.#appendSeconds.add(ms / 1000)
  }

  appendFailed(events: number, error: unknown, ms: number): void {
    const unavailable = error instanceof LogUnavailable
    this.#appends[unavailable ? 'unavailable' : error instanceof LogRefused ? 'refused' : 'failed'] += events
    this.#appendSeconds.add(ms / 1000)
  }

  connectionRefused(): void {
    this.#connectionsRefused++
  }

  /** Counts the limits that were reached, but not by user, key or address. */
  countLimited(
    hits: () => Iterable<{ readonly limit: string; readonly scope: string; readonly count: number }>,
  ): void {
    this.#count(
      'fanwire_limited_total',
      'Requests, publishes, connections and subscriptions that a limit refused, by limit and scope',
      ['limit', 'scope'],
      hits,
    )
  }

  /** Counts the requests to the application. */
  countHooks(
    counts: () => Iterable<{ readonly hook: string; readonly outcome: string; readonly count: number }>,
  ): void {
    this.#count(
      'fanwire_hooks_total',
      'Questions to the application, by hook and outcome: allowed, refused, disconnected, kept (known already), or why there was no answer',
      ['hook', 'outcome'],
      counts,
    )
  }

  /** A counter that reads counts with their labels at each scrape. */
  #count<Label extends string>(
    name: string,
    help: string,
    labelNames: readonly Label[],
    counts: () => Iterable<Readonly<Record<Label, string>> & { readonly count: number }>,
  ): void {
    new Counter({
      name,
      help,
      labelNames,
      registers: [this.registry],
      collect() {
        this.reset()
        for (const each of counts()) {
          const labels: Partial<Record<Label, string>> = {}
          for (const label of labelNames) labels[label] = each[label]
          this.inc(labels, each.count)
        }
      },
    })
  }

  /** Reports whether the node refuses new reads. */
  readPressure(pressure: {
    readonly cause: string | undefined
    readonly shed: Readonly<Record<string, number>>
  }): void {
    const registers = [this.registry]
    new Gauge({
      name: 'fanwire_overloaded',
      help: '1 while the node accepts no new connections and reads, because of its event loop or its memory',
      registers,
      aggregator: 'max',
      collect() {
        this.set(pressure.cause === undefined ? 0 : 1)
      },
    })
    new Counter({
      name: 'fanwire_shed_total',
      help: 'Connections and reads that were turned away, by the overloaded resource: loop, memory or reads',
      labelNames: ['cause'],
      registers,
      collect() {
        this.reset()
        for (const [cause, count] of Object.entries(pressure.shed)) this.inc({ cause }, count)
      },
    })
  }

  /** Counts the server's sockets. */
  countSockets(count: () => number): void {
    this.#sockets = count
  }
}

const METRICS = operation({
  summary: 'The metrics of the node, for Prometheus',
  tag: 'operate',
  answers: { 200: { description: 'Prometheus text', type: 'text/plain' } },
})

export const metrics = fp(
  async app => {
    const { metrics, workers, access, config } = app.fanwire
    // The operator protects a separate port.
    const asks = config.metricsPort === undefined
    const { registry } = metrics
    app.get(
      '/metrics',
      { schema: METRICS, config: { always: true }, exposeHeadRoute: true },
      async (request, reply) => {
        if (asks && access.rules.open === undefined) access.require(request.identity, 'admin')
        reply.header('content-type', registry.contentType).header('cache-control', 'no-store')
        return (await workers?.metrics()) ?? registry.metrics()
      },
    )
  },
  { name: 'fanwire-metrics', fastify: '5.x' },
)
