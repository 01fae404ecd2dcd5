// The load generator: a process with groups of clients that counts deliveries. The case controls it through calls.

import { loopback } from './address.ts'
import { Client, type Wire } from './client.ts'
import { Histogram } from './histogram.ts'
import { now } from './marker.ts'
import type { Connected } from './order.ts'
import { serve } from './remote.ts'
import { Scanner } from './scan.ts'

export interface ConnectOrder {
  readonly group: string
  readonly port: number
  readonly wire: Wire
  /** A path per client, or one for all. */
  readonly paths: readonly string[]
  readonly count: number
  /** Tokens of the clients, one each; absent for clients without a token. */
  readonly tokens?: readonly string[]
  /** The sequence number before the first that every client must receive; if absent, any may be first. */
  readonly after?: number
  /** Appended, with the cursor, to the path of a cut client that reconnects. */
  readonly resume?: string
  /** Latency is sampled for one event in this many: a power of two. */
  readonly sampleEvery: number
}

export interface Report {
  readonly clients: number
  readonly open: number
  readonly received: number
  readonly missing: number
  readonly repeated: number
  readonly reordered: number
  readonly bytes: number
  /** Events up to the requested one that did not arrive. */
  readonly outstanding: number
  /** Connections ended by the server, and those among them that reconnected. */
  readonly cut: number
  readonly resumed: number
  /** When the last events arrived, µs. */
  readonly lastAt: number
  /** From an event's scheduled publish time to its receipt, µs. */
  readonly latency: { p50: number; p95: number; p99: number; max: number; samples: number }
  /** Share of one core used by this process from `begin` until the group was settled. */
  readonly cpu: number
}

/** Concurrent connection attempts, unless all should connect at once. */
const CONNECTING = 128
/** Ms before a cut client reconnects. */
const RESUME_AFTER = 100

class Group {
  readonly clients: Client[] = []
  readonly latency = new Histogram()
  readonly order: ConnectOrder
  #port: number
  #cut = 0
  #resumed = 0
  #cpuAtBegin = process.cpuUsage()
  #beganAt = now()
  #share = 0
  #onChange: (() => void) | undefined
  #opened = 0
  #failed = 0
  #reason = ''

  constructor(order: ConnectOrder) {
    this.order = order
    this.#port = order.port
    for (let i = 0; i < order.count; i++) {
      const scanner = new Scanner(this.latency, order.sampleEvery)
      if (order.after !== undefined) scanner.last = order.after
      const path = order.paths[i % order.paths.length] ?? '/'
      const events = {
        opened: () => this.#clientOpened(),
        closed: (client: Client, reason: string | undefined) => this.#clientClosed(client, reason),
      }
      this.clients.push(new Client(order.wire, path, scanner, events))
    }
  }

  /** Returns when each client has opened or failed. */
  async connect(atOnce: boolean, cursorOf?: (client: Client, index: number) => string): Promise<Connected> {
    this.#opened = 0
    this.#failed = 0
    let next = 0
    const most = atOnce ? this.clients.length : CONNECTING
    await new Promise<void>(resolve => {
      this.#onChange = () => {
        const done = this.#opened + this.#failed
        for (; next < this.clients.length && next - done < most; next++) {
          const client = this.clients[next] as Client
          client.connect(loopback(this.#port, this.#headersOf(next)), cursorOf?.(client, next))
        }
        if (done === this.clients.length) resolve()
      }
      this.#onChange()
    })
    this.#onChange = undefined
    return { opened: this.#opened, failed: this.#failed, reason: this.#reason }
  }

  #headersOf(index: number): Readonly<Record<string, string>> {
    const { tokens = [] } = this.order
    return tokens.length === 0 ? {} : { Authorization: `Bearer ${tokens[index % tokens.length]}` }
  }

  /** Cuts all clients, then reconnects them at once with cursors that are `back` events behind, or a few more. */
  reconnect(port: number, back: number, spread: number): Promise<Connected> {
    for (const client of this.clients) client.cut()
    this.#port = port
    return this.connect(true, (client, i) => {
      client.scanner.last -= back + (i % spread)
      return this.#resumption(client)
    })
  }

  begin(): void {
    for (const { scanner } of this.clients) scanner.clear()
    this.latency.clear()
    this.#cut = 0
    this.#resumed = 0
    this.#cpuAtBegin = process.cpuUsage()
    this.#beganAt = now()
    this.#share = 0
  }

  /** Returns true when every client has received the event `upto`, and false at `deadline`, µs. */
  async settle(upto: number, deadline: number): Promise<boolean> {
    for (;;) {
      const complete = this.clients.every(({ scanner }) => scanner.last >= upto && scanner.missing === 0)
      if (complete || now() >= deadline) {
        const { user, system } = process.cpuUsage(this.#cpuAtBegin)
        this.#share = (user + system) / (now() - this.#beganAt)
        return complete
      }
      await new Promise(resolve => setTimeout(resolve, 5))
    }
  }

  report(upto: number): Report {
    const sum = { received: 0, missing: 0, repeated: 0, reordered: 0, bytes: 0, outstanding: 0, open: 0 }
    let lastAt = 0
    for (const { scanner, isOpen, lastAt: at } of this.clients) {
      sum.received += scanner.received
      sum.missing += scanner.missing
      sum.repeated += scanner.repeated
      sum.reordered += scanner.reordered
      sum.bytes += scanner.bytes
      // A client without any event has no position and misses every event.
      sum.outstanding += Math.max(0, upto - Math.max(0, scanner.last))
      if (isOpen) sum.open++
      if (at > lastAt) lastAt = at
    }
    const [p50, p95, p99] = [0.5, 0.95, 0.99].map(q => this.latency.quantile(q)) as [number, number, number]
    return {
      ...sum,
      clients: this.clients.length,
      cut: this.#cut,
      resumed: this.#resumed,
      lastAt,
      latency: { p50, p95, p99, max: this.latency.max, samples: this.latency.count },
      cpu: this.#share,
    }
  }

  #clientOpened(): void {
    this.#opened++
    this.#onChange?.()
  }

  #clientClosed(client: Client, reason: string | undefined): void {
    if (reason === undefined) this.#cut++
    else {
      this.#failed++
      this.#reason = reason
    }
    this.#onChange?.()
    if (this.order.resume === undefined || this.#onChange !== undefined) return
    setTimeout(() => {
      this.#resumed++
      client.connect(loopback(this.#port), this.#resumption(client))
    }, RESUME_AFTER)
  }

  #resumption(client: Client): string {
    return `${this.order.resume}${client.position}`
  }
}

const groups = new Map<string, Group>()

function find(name: string): Group {
  const group = groups.get(name)
  if (group === undefined) throw new Error(`no group ${name}`)
  return group
}

export const generatorMethods = {
  connect(order: ConnectOrder): Promise<Connected> {
    const group = new Group(order)
    groups.set(order.group, group)
    return group.connect(false)
  },
  begin({ group }: { group: string }): void {
    find(group).begin()
  },
  settle({ group, upto, deadline }: { group: string; upto: number; deadline: number }): Promise<boolean> {
    return find(group).settle(upto, deadline)
  },
  report({ group, upto }: { group: string; upto: number }): Report {
    return find(group).report(upto)
  },
  pause({ group, paused }: { group: string; paused: boolean }): void {
    for (const client of find(group).clients) client.pause(paused)
  },
  reconnect(order: { group: string; port: number; back: number; spread: number }): Promise<Connected> {
    return find(order.group).reconnect(order.port, order.back, order.spread)
  },
  cut({ group }: { group: string }): void {
    for (const client of find(group).clients) client.cut()
    groups.delete(group)
  },
}

export type GeneratorMethods = typeof generatorMethods

serve(generatorMethods)
