// A single master, fixed or chosen by Sentinel.

import type { HostPort } from './url.ts'
import type { Draft } from '../../event/event.ts'
import type { Receipt } from '../log.ts'
import { Appends } from './append-batcher.ts'
import { RedisConnection } from './connection.ts'
import { Master } from './server.ts'
import type { Call, Topology, TopologyOptions } from './topology.ts'

/** The pub/sub channel of sentinels: `<name> <old host> <old port> <new host> <new port>`. */
const SWITCH = '+switch-master'

/** How long a sentinel may take to learn the master that another one named, ms. */
const NAMED_MS = 10_000

export class SingleMaster implements Topology {
  readonly #master: Master
  readonly #appends: Appends
  /** A connection to each sentinel. */
  readonly #watches: readonly RedisConnection[]
  /** The last master that a sentinel named, and until when the others may not know it. */
  #named: HostPort | undefined
  #namedUntil = 0

  constructor(options: TopologyOptions) {
    this.#master = new Master(options, {
      expected: () => (Date.now() < this.#namedUntil ? this.#named : undefined),
      serves: () => true,
      changed() {},
      tookAway() {},
    })
    const { scripts, names, retention } = options
    const send = (call: Call) => this.#master.call(call)
    this.#appends = new Appends({ script: scripts.append, names, retention, sharded: false, send })
    this.#watches = options.endpoint.kind === 'sentinel' ? this.#watch(options) : []
  }

  get reconnects(): number {
    return this.#master.reconnects
  }

  open(): Promise<void> {
    // Sentinels that are down now are retried.
    for (const watch of this.#watches) watch.open().catch(() => {})
    return this.#master.open()
  }

  append(channel: string, drafts: readonly Draft[]): Promise<Receipt[]> {
    return this.#appends.append(channel, drafts)
  }

  relay(channel: string, message: Buffer): Promise<void> {
    return this.#appends.relay(channel, message)
  }

  call(_slot: number, call: Call): Promise<unknown> {
    return this.#master.call(call)
  }

  slot(): number {
    return 0
  }

  subscribe(name: string): Promise<void> {
    return this.#master.subscriptions.subscribe(name)
  }

  unsubscribe(name: string): void {
    this.#master.subscriptions.unsubscribe(name)
  }

  doubt(name: string): void {
    this.#master.subscriptions.doubt(name)
  }

  probe(): Promise<void> {
    return this.#master.probe()
  }

  away(): undefined {
    return undefined
  }

  async close(): Promise<void> {
    await Promise.all([this.#master, ...this.#watches].map(each => each.close()))
  }

  /**
   * Learns from sentinels when another server becomes the master. Otherwise the log would stay with the old one while that
   * still acts as a master, and would lose what it appends there.
   */
  #watch({ endpoint, timeout, logger }: TopologyOptions): RedisConnection[] {
    const { hosts, master, sentinelLogin } = endpoint
    const bare = {
      ...endpoint,
      kind: 'server',
      master: '',
      db: 0,
      username: sentinelLogin?.username,
      password: sentinelLogin?.password,
    } as const
    return hosts.map(host => {
      const watch: RedisConnection = new RedisConnection({
        endpoint: { ...bare, hosts: [host] },
        name: 'sentinel',
        timeout,
        logger,
        onReady: () => void watch.call('subscribe', [SWITCH]).catch(() => {}),
        onMessage: (_name, text) => {
          const [name, , , to = '', port] = `${text}`.split(' ')
          if (name !== master) return
          this.#named = { host: to, port: Number(port) }
          this.#namedUntil = Date.now() + NAMED_MS
          this.#master.check()
        },
      })
      return watch
    })
  }
}
