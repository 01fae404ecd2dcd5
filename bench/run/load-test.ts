// A load test: clients of each wire connect to a deployment, events are published at an even pace, and everything is
// counted until the last event has arrived.

import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { Crew, total } from '../load/crew.ts'
import { now } from '../load/marker.ts'
import type { Connected, Target, WireName } from '../load/order.ts'
import type { Published, PublisherMethods } from '../load/publisher.ts'
import { Remote, sibling } from '../load/remote.ts'
import type { Live } from './live.ts'
import { allowed, processesFor } from './limits.ts'
import { useOf } from './nodes.ts'
import type { Options } from './options.ts'
import { type Outcome, outcomeOf, quantilesOf } from './outcome.ts'
import { CannotRun, tryPublishing, tryReading } from './preflight.ts'

/** Seconds for events still in flight after the last publish. */
const GRACE = 5
/** Ms between connecting and measuring. */
const REST = 1000
/** Seconds that the publisher keeps retrying unacknowledged events. */
const RETRY_S = 30
/** Maximum and default events of a refreshed page. */
const PAGE = { most: 1000, usual: 50 }
/** Above this share of a core, a load process may be the bottleneck. */
const BUSY = 0.9
/** The publisher's delay above which latencies reflect this machine more than the deployment, ms. */
const LATE = 250

interface Wire {
  readonly name: WireName
  readonly crew: Crew
  connected: Connected
}

/** Raises CannotRun. `signal` ends it early, with the results so far. */
export async function loadTest(options: Options, live: Live, signal: AbortSignal): Promise<Outcome> {
  const processes = processesFor(options, allowed())
  if (typeof processes === 'string') throw new CannotRun(processes)
  const run = `${options.channelPrefix}-${randomBytes(4).toString('hex')}`
  const channels = Array.from({ length: options.channels }, (_, i) => `${run}-${i}`)
  const targets = options.urls.map(url => targetOf(url, options))
  if (options.wires.some(wire => wire !== 'push')) {
    for (const target of targets) await tryReading(target, `${run}-probe`)
  }
  if (options.rate > 0) {
    const target = targetOf(options.publishUrl, options)
    await tryPublishing(target, options.publishKey, `${run}-probe`, options.size)
  }

  const wires: Wire[] = options.wires.map(name => ({
    name,
    crew: new Crew(processes),
    connected: { opened: 0, failed: 0, reason: '' },
  }))
  const publisher = new Remote<PublisherMethods>(sibling(import.meta.url, '../load/publisher'))
  try {
    const test = new LoadTest(options, channels, targets, wires, publisher, live)
    return await test.run(signal)
  } finally {
    await Promise.all([publisher.close(), ...wires.map(({ crew }) => crew.close())])
  }
}

function targetOf(url: string, { headers, insecure }: Options): Target {
  return { url, headers, insecure }
}

class LoadTest {
  readonly #options: Options
  readonly #channels: readonly string[]
  readonly #targets: readonly Target[]
  readonly #wires: readonly Wire[]
  readonly #publisher: Remote<PublisherMethods>
  readonly #live: Live

  constructor(
    options: Options,
    channels: readonly string[],
    targets: readonly Target[],
    wires: readonly Wire[],
    publisher: Remote<PublisherMethods>,
    live: Live,
  ) {
    this.#options = options
    this.#channels = channels
    this.#targets = targets
    this.#wires = wires
    this.#publisher = publisher
    this.#live = live
  }

  async run(signal: AbortSignal): Promise<Outcome> {
    const { metrics, rate } = this.#options
    const notes: string[] = []
    const before = await useOf(metrics)
    if (metrics.length > 0 && before === undefined)
      notes.push('--metrics: not every node reports CPU and memory there')

    const connecting = Promise.all(this.#wires.map(wire => this.#connect(wire)))
    await this.#watch('connecting', Promise.race([connecting, aborted(signal)]))
    const failed = this.#wires.find(({ connected }) => connected.opened === 0 && connected.failed > 0)
    if (failed !== undefined && !signal.aborted) throw new CannotRun(noneConnected(failed))

    // Waits, so that remaining work of connecting is not measured.
    if (!signal.aborted) await sleep(REST)
    await Promise.all(this.#wires.map(({ crew }) => crew.begin()))
    const cpu = await useOf(metrics)
    const began = now()
    const published = rate > 0 && !signal.aborted ? await this.#publish(signal) : await this.#hold(signal)
    const lasted = (now() - began) / 1e6
    const outcomes = await Promise.all(
      this.#wires.map(async ({ name, crew, connected }) => {
        const tally = await crew.tally()
        const seconds = Math.max(1e-3, ((tally.received > 0 ? tally.lastAt : now()) - began) / 1e6)
        return outcomeOf(name, connected, tally, this.#expected(published.sent), seconds)
      }),
    )
    const after = await useOf(metrics)

    const clients = outcomes.reduce((sum, each) => sum + each.clients, 0)
    const delivered = outcomes.reduce((sum, each) => sum + each.delivered, 0)
    if (signal.aborted) notes.push('ended early')
    if (published.sent > 0 && published.acknowledged === 0) {
      notes.push(
        'no publish was acknowledged: a load balancer that holds requests back until they are whole (nginx without ' +
          'proxy_request_buffering off) does that; try --publish-url with the address of a node',
      )
    }
    if (outcomes.some(each => each.generatorCpu > BUSY)) {
      notes.push(
        'a process of the load used more than 90 % of a core: it may be the bottleneck; use --processes, or more machines',
      )
    }
    if (published.late > LATE)
      notes.push(`events were published up to ${Math.round(published.late)} ms late: this machine is busy`)
    if (published.trouble !== undefined)
      notes.push(`publishing met ${published.trouble}; pending events were retried`)
    return {
      events: published.sent,
      seconds: lasted,
      publishesFailed: published.sent - published.acknowledged,
      publisherLate: published.late,
      wires: outcomes,
      ...(before === undefined || cpu === undefined || after === undefined
        ? {}
        : {
            nodes: {
              ...(delivered > 0 ? { cpuPerDelivery: ((after.cpu - cpu.cpu) * 1e6) / delivered } : {}),
              cpuShare: (after.cpu - cpu.cpu) / lasted,
              residentPerClient: (after.resident - before.resident) / 1024 / Math.max(1, clients),
            },
          }),
      notes,
    }
  }

  async #connect(wire: Wire): Promise<void> {
    const { every, wait, rampUp, rate, channels } = this.#options
    // A page shows only the newest events, which must include all events since the last load.
    const page = Math.min(PAGE.most, Math.max(PAGE.usual, Math.ceil((2 * rate * every) / channels)))
    const limit = this.#options.limit ?? (wire.name === 'refresh' ? page : undefined)
    const parts = await Promise.all(
      this.#shares().map(({ target, clients }) =>
        wire.crew.connect({
          target,
          wire: wire.name,
          clients,
          channels: this.#channels,
          every,
          wait,
          rampUp,
          after: 0,
          ...(limit === undefined ? {} : { limit }),
        }),
      ),
    )
    wire.connected = {
      opened: parts.reduce((sum, each) => sum + each.opened, 0),
      failed: parts.reduce((sum, each) => sum + each.failed, 0),
      reason: parts.find(each => each.reason !== '')?.reason ?? '',
    }
  }

  /** The number of a wire's clients per URL. */
  #shares(): { target: Target; clients: number }[] {
    const { clients } = this.#options
    const { length } = this.#targets
    return this.#targets
      .map((target, i) => ({
        target,
        clients: Math.floor(clients / length) + (i < clients % length ? 1 : 0),
      }))
      .filter(share => share.clients > 0)
  }

  /** Deliveries to all clients of a wire after the first `sent` events, which take turns over the channels. */
  #expected(sent: number): number {
    const { length } = this.#channels
    let sum = 0
    for (const { clients } of this.#shares()) {
      for (let channel = 0; channel < Math.min(length, clients); channel++) {
        const events = Math.floor(sent / length) + (channel < sent % length ? 1 : 0)
        const readers = Math.floor(clients / length) + (channel < clients % length ? 1 : 0)
        sum += events * readers
      }
    }
    return sum
  }

  async #publish(signal: AbortSignal): Promise<Published> {
    const { publishUrl, publishKey, priority, rate, duration, size, every, wires } = this.#options
    await this.#publisher.call('open', {
      name: 'main',
      sink: {
        kind: 'fanwire',
        target: targetOf(publishUrl, this.#options),
        ...(publishKey === undefined ? {} : { key: publishKey }),
        ...(priority === 'low' ? { priority } : {}),
        lasting: true,
      },
    })
    const { length } = this.#channels
    const count = Math.max(1, Math.round((rate * duration) / length)) * length
    const publishing = this.#publisher.call('publish', {
      streams: [{ sink: 'main', channels: this.#channels, rate, size, count, first: 1 }],
      deadline: now() + (count / rate + RETRY_S) * 1e6,
    })
    const stop = () => void this.#publisher.call('stop', undefined)
    signal.addEventListener('abort', stop, { once: true })
    const published = await this.#watch('loading', publishing)
    signal.removeEventListener('abort', stop)
    const asks = wires.some(wire => wire === 'poll' || wire === 'refresh') ? 2 * every : 0
    const deadline = now() + (GRACE + asks) * 1e6
    const upto = Math.floor(published.sent / length)
    await this.#watch(
      'waiting for the last',
      Promise.all(this.#wires.map(({ crew }) => crew.settle(upto, deadline))),
    )
    return published
  }

  /** Waits without publishing. */
  async #hold(signal: AbortSignal): Promise<Published> {
    const beganAt = now()
    await this.#watch(
      'holding',
      sleep(this.#options.duration * 1000, undefined, { signal }).catch(() => {}),
    )
    return { beganAt, sent: 0, acknowledged: 0, failed: 0, late: 0, cpu: 0 }
  }

  /** Reports progress each second, until `work` is done. */
  async #watch<T>(phase: string, work: Promise<T>): Promise<T> {
    const { clients, wires } = this.#options
    let before = { at: now(), received: 0, sent: 0 }
    let busy = false
    const look = async () => {
      if (busy) return
      busy = true
      const [tallies, sent] = await Promise.all([
        Promise.all(this.#wires.map(({ crew }) => crew.tally())),
        this.#publisher.call('sent', undefined),
      ])
      const all = total(tallies)
      const at = now()
      const seconds = (at - before.at) / 1e6
      const latency = quantilesOf(all.latency)
      this.#live.show({
        phase,
        open: all.open,
        clients: clients * wires.length,
        eventsPerSecond: Math.max(0, sent - before.sent) / seconds,
        deliveriesPerSecond: Math.max(0, all.received - before.received) / seconds,
        p50: latency?.p50,
        p99: latency?.p99,
        missing: all.missing,
        errors: Object.values(all.errors).reduce((sum, each) => sum + each, 0),
      })
      before = { at, received: all.received, sent }
      busy = false
    }
    const timer = setInterval(() => look().catch(() => {}), 1000)
    try {
      return await work
    } finally {
      clearInterval(timer)
    }
  }
}

function noneConnected({ name, connected }: Wire): string {
  const { reason } = connected
  const text = `${name}: none of ${connected.failed} clients could connect: ${reason.split('\r\n', 1)[0]}`
  if (name === 'push') return `${text}; push needs HTTP/2: https://, or the port that FANWIRE_H2C_PORT opens`
  if (name === 'socket.io') return `${text}; does the node run with FANWIRE_SOCKET_IO=1?`
  if (name === 'ws' && / 426\b/.test(reason)) {
    return `${text}; a load balancer in between has to forward Upgrade and Connection`
  }
  if (/ 503\b/.test(reason)) return `${text}; check FANWIRE_MAX_CONNECTIONS, /readyz and the log of the nodes`
  return text
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise(resolve => signal.addEventListener('abort', () => resolve(), { once: true }))
}
