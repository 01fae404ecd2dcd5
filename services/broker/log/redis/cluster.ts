// The masters of a Redis Cluster: which master serves which slot, and how calls and feeds follow changes. Each master has
// its own connections, so the driver need not know the cluster.

import { delay } from '../../../backoff.ts'
import { type HostPort, printHost } from './url.ts'
import type { Draft } from '../../event/event.ts'
import { AppendsRefused, LogRefused, LogUnavailable, type Receipt } from '../log.ts'
import { SlotAppends } from './append-batcher.ts'
import { deferred, RedisConnection, reason } from './connection.ts'
import { Master } from './server.ts'
import type { Call, Topology, TopologyOptions } from './topology.ts'
import { ErrorReply } from './replies.ts'
import { SLOTS, slotOf } from './slots.ts'

/** Ms between two queries of the topology: normally, and while it may be changing. */
const QUIET_LOOK_MS = 3000
const BUSY_LOOK_MS = 200

/** How long the topology may be changing after a sign of it, ms. */
const CHANGING_MS = 3000

/** How long a master without a slot is kept, ms. */
const GUEST_MS = 30_000

/** How long a node may take to report its topology, ms. */
const TOPOLOGY_ANSWER_MS = 500

/** How many redirections a call follows, and the delay before a retry while a channel's keys are migrating, ms. */
const TURNS = 5
const MIGRATION_RETRY_MS = 40

/** How long a probe of all masters waits for silent ones, and how long a silent master counts as alive, ms. */
const PROBE_ANSWER_MS = 1000
const PROBE_VALID_MS = 4000

/** The results of a master's probes. */
interface Probe {
  /** When the last probe returned, or, before that, when the first one began; by performance.now(). */
  since: number
  failure: LogUnavailable | undefined
  underWay: Promise<void> | undefined
}

/** The topology that one node reports. */
interface View {
  /** The configuration epoch: grows with every change that the cluster agreed on. */
  readonly epoch: number
  readonly ranges: readonly { readonly from: number; readonly to: number; readonly master: HostPort }[]
}

export class ClusterMasters implements Topology {
  readonly #options: TopologyOptions
  readonly #appends: SlotAppends
  readonly #masters = new Map<string, Master>()
  #owners: readonly (Master | undefined)[] = new Array(SLOTS).fill(undefined)
  /** Masters without a known slot to which a call was redirected, and the time of that. */
  readonly #guests = new Map<Master, number>()
  readonly #leaving = new Map<Master, NodeJS.Timeout>()
  /** Masters that cancelled subscriptions since the topology was last read. */
  readonly #took = new Set<Master>()
  readonly #seeds = new Set<RedisConnection>()
  /** Reconnects of masters that have left. */
  #reconnects = 0
  readonly #probes = new Map<Master, Probe>()
  #looking: Promise<void> | undefined
  #timer: NodeJS.Timeout | undefined
  #suspected = 0
  #closed = false

  constructor(options: TopologyOptions) {
    this.#options = options
    const { scripts, names, retention } = options
    this.#appends = new SlotAppends({
      script: scripts.append,
      names,
      retention,
      sharded: true,
      send: (slot, call) => this.call(slot, call),
    })
  }

  get reconnects(): number {
    let sum = this.#reconnects
    for (const master of this.#masters.values()) sum += master.reconnects
    return sum
  }

  async open(): Promise<void> {
    await this.#look()
    await Promise.all(this.#serving().map(master => master.opened))
    this.#schedule()
  }

  append(channel: string, drafts: readonly Draft[]): Promise<Receipt[]> {
    return this.#appends.append(channel, drafts)
  }

  relay(channel: string, message: Buffer): Promise<void> {
    return this.#appends.relay(channel, message)
  }

  /** A master that redirects a call has not executed it, so nothing is done twice. */
  async call(slot: number, call: Call): Promise<unknown> {
    const end = Date.now() + this.#options.timeout
    let master = this.#owner(slot)
    let asking = false
    for (let turn = 1; ; turn++) {
      try {
        if (master.opening) await master.opening
        return await (asking ? master.callAsking(call) : master.call(call))
      } catch (error) {
        const redirection = redirectionOf(error)
        if (redirection === undefined) {
          if (!(error instanceof ErrorReply) || error.reply.startsWith('CLUSTERDOWN')) this.#suspectChange()
          throw error
        }
        if (turn === TURNS || Date.now() >= end || this.#closed) throw error
        const { kind, address } = redirection
        asking = kind === 'ASK'
        if (kind === 'TRYAGAIN') await new Promise(resolve => setTimeout(resolve, MIGRATION_RETRY_MS))
        if (kind === 'MOVED') await this.#lookAgain()
        const owner = this.#owner(slot)
        master = asking || (kind === 'MOVED' && owner === master) ? this.#guest(address, master) : owner
      }
    }
  }

  slot(name: string): number {
    return slotOf(name)
  }

  async subscribe(name: string): Promise<void> {
    const slot = slotOf(name)
    for (let turn = 1; ; turn++) {
      const master = this.#owner(slot)
      try {
        if (master.opening) await master.opening
        if (this.#owners[slot] === master) return await master.subscriptions.subscribe(name)
      } catch (error) {
        const moved = redirectionOf(error) !== undefined || this.#owners[slot] !== master
        if (!moved || turn === TURNS || this.#closed) throw error
        await this.#lookAgain()
      }
    }
  }

  unsubscribe(name: string): void {
    for (const master of this.#masters.values()) master.subscriptions.unsubscribe(name)
  }

  doubt(name: string): void {
    this.#owners[slotOf(name)]?.subscriptions.doubt(name)
  }

  async probe(): Promise<void> {
    const serving = this.#serving()
    // A silent master does not delay the others: its channels count as unavailable meanwhile.
    await within(
      PROBE_ANSWER_MS,
      serving.map(master => this.#probeOnce(master)),
    )
    const failures = serving.flatMap(master => this.#failureOf(master) ?? [])
    if (serving.length === 0) throw new LogUnavailable('no master of the cluster is known')
    if (failures.length < serving.length) return
    throw failures.find(each => each instanceof AppendsRefused) ?? failures[0]
  }

  away(slot: number): LogUnavailable | undefined {
    const master = this.#owners[slot]
    if (master === undefined) return new LogUnavailable(`no master of the cluster serves slot ${slot}`)
    const failure = this.#failureOf(master)
    return failure instanceof AppendsRefused ? undefined : failure
  }

  /** Probes a master unless a probe is in progress. Does not raise. */
  #probeOnce(master: Master): Promise<void> {
    const known = this.#probes.get(master)
    if (known?.underWay !== undefined) return known.underWay
    const probe: Probe = known ?? { since: performance.now(), failure: undefined, underWay: undefined }
    this.#probes.set(master, probe)
    const settle = (failure: LogUnavailable | undefined) => {
      if (`${failure?.message}` !== `${probe.failure?.message}`) this.#report(master, failure)
      probe.failure = failure
      probe.underWay = undefined
      if (failure === undefined) probe.since = performance.now()
    }
    probe.underWay = master.probe().then(
      () => settle(undefined),
      error => settle(named(master, error)),
    )
    return probe.underWay
  }

  /** Why a master does not deliver; undefined if it does, or while its probe has not been pending for long. */
  #failureOf(master: Master): LogUnavailable | undefined {
    const probe = this.#probes.get(master)
    if (probe === undefined) return undefined
    if (probe.failure !== undefined) return probe.failure
    if (probe.underWay === undefined || performance.now() - probe.since < PROBE_VALID_MS) return undefined
    return new LogUnavailable(`Redis at ${printHost(master.at)}: probes do not return`)
  }

  #report(master: Master, failure: LogUnavailable | undefined): void {
    const about = { redis: printHost(master.at), reason: failure?.message }
    if (failure === undefined) this.#options.logger.info(about, 'this master of the cluster delivers again')
    else
      this.#options.logger.warn(
        about,
        'this master of the cluster does not deliver: its channels are unavailable',
      )
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    clearTimeout(this.#timer)
    for (const timer of this.#leaving.values()) clearTimeout(timer)
    const masters = [...this.#masters.values(), ...this.#leaving.keys(), ...this.#seeds]
    await Promise.all(masters.map(master => master.close()))
    await this.#looking?.catch(() => {})
  }

  #serving(): Master[] {
    return [...new Set(this.#owners)].filter(master => master !== undefined)
  }

  #owner(slot: number): Master {
    const master = this.#owners[slot]
    if (master !== undefined) return master
    this.#suspectChange()
    throw new LogUnavailable(`no master of the cluster serves slot ${slot}`)
  }

  /** The master at the address to which `from` redirected; the address may lack a host. */
  #guest(address: string, from: Master): Master {
    const colon = address.lastIndexOf(':')
    const host = address.slice(0, colon).replace(/^\[(.*)\]$/, '$1') || from.at.host
    const master = this.#at({ host, port: Number(address.slice(colon + 1)) })
    this.#guests.set(master, Date.now())
    return master
  }

  #at(at: HostPort): Master {
    const known = this.#masters.get(printHost(at))
    if (known !== undefined) return known
    const endpoint = { ...this.#options.endpoint, kind: 'server', hosts: [at] } as const
    const master: Master = new Master(
      { ...this.#options, endpoint },
      {
        expected: () => undefined,
        serves: slot => this.#owners[slot] === master,
        changed: () => this.#suspectChange(),
        tookAway: () => {
          this.#took.add(master)
          this.#suspectChange()
        },
      },
    )
    this.#masters.set(printHost(at), master)
    master.open().catch(error => this.#options.logger.warn({}, reason(error)))
    return master
  }

  /** The topology may be changing: reads it soon, and then often for a while. */
  #suspectChange(): void {
    const before = this.#suspected
    this.#suspected = Date.now()
    if (this.#suspected - before > BUSY_LOOK_MS) this.#schedule(1)
  }

  #schedule(times = 0): void {
    clearTimeout(this.#timer)
    if (this.#closed) return
    const busy = Date.now() - this.#suspected < CHANGING_MS || this.#serving().some(master => !master.usable)
    const wait = times === 1 ? 1 : delay(1, busy ? BUSY_LOOK_MS : QUIET_LOOK_MS, QUIET_LOOK_MS)
    this.#timer = setTimeout(
      () =>
        this.#look().then(
          () => this.#schedule(),
          () => this.#schedule(),
        ),
      wait,
    )
    this.#timer.unref()
  }

  /** Reads the topology. Raises LogUnavailable, LogRefused. */
  #look(): Promise<void> {
    this.#looking ??= this.#lookOnce().finally(() => {
      this.#looking = undefined
    })
    return this.#looking
  }

  /** Like `#look`, with a result that is not older than the call. */
  async #lookAgain(): Promise<void> {
    await this.#looking?.catch(() => {})
    await this.#look().catch(() => {})
  }

  async #lookOnce(): Promise<void> {
    const asked = [...this.#masters.values()].filter(master => master.usable)
    const views = await within(
      TOPOLOGY_ANSWER_MS,
      asked.map(master => viewOf(master.at, (command, args) => master.ask(command, args))),
    )
    if (views.length === 0) views.push(await this.#seedView())
    // Partitioned nodes have an older view.
    const view = views.reduce((best, each) => (each.epoch > best.epoch ? each : best))
    if (!this.#closed) this.#adopt(view)
  }

  /** The topology according to a node in the URL, or one that was known before. */
  async #seedView(): Promise<View> {
    const { endpoint, timeout, logger } = this.#options
    const hosts = new Map(endpoint.hosts.map(host => [printHost(host), host]))
    for (const [address, master] of this.#masters) hosts.set(address, master.at)
    const views = [...hosts.values()].map(async host => {
      const connection = new RedisConnection({
        endpoint: { ...endpoint, kind: 'server', hosts: [host] },
        name: 'topology',
        timeout,
        logger,
        onReady() {},
      })
      this.#seeds.add(connection)
      try {
        await connection.open()
        return await viewOf(host, (command, args) => connection.call(command, args))
      } finally {
        this.#seeds.delete(connection)
        await connection.close()
      }
    })
    try {
      return await Promise.any(views)
    } catch (error) {
      const { errors } = error as AggregateError
      throw errors.find(each => each instanceof LogRefused) ?? errors[0]
    }
  }

  /** Assigns the slots to the masters in `view`. Feeds move with them. */
  #adopt(view: View): void {
    const owners: (Master | undefined)[] = new Array(SLOTS).fill(undefined)
    for (const { from, to, master } of view.ranges) owners.fill(this.#at(master), from, to + 1)
    const changed = owners.some((owner, slot) => owner !== this.#owners[slot])
    this.#owners = owners
    if (changed) {
      for (const master of this.#masters.values()) if (this.#handOver(master)) this.#took.delete(master)
    }
    // The slots of these masters have not moved: subscribes again.
    for (const master of this.#took) master.subscriptions.renew()
    this.#took.clear()
    const serving = new Set(owners)
    for (const [address, master] of this.#masters) {
      const guest = Date.now() - (this.#guests.get(master) ?? 0) < GUEST_MS
      if (!serving.has(master) && !guest && master.subscriptions.wanted.size === 0)
        this.#leave(address, master)
    }
  }

  /** Moves pub/sub channels whose slots `master` does not serve to their masters. Returns whether there were any. */
  #handOver(master: Master): boolean {
    const moved = new Map<Master, string[]>()
    for (const name of master.subscriptions.wanted) {
      const owner = this.#owners[slotOf(name)]
      if (owner === master) continue
      if (name === master.probeName) master.endProbe()
      else if (owner !== undefined) {
        const names = moved.get(owner)
        if (names === undefined) moved.set(owner, [name])
        else names.push(name)
      }
    }
    for (const [owner, names] of moved) {
      for (const name of names) master.subscriptions.unsubscribe(name)
      owner.subscriptions.take(names)
    }
    return moved.size > 0
  }

  /** Closes a master's connections once its calls in flight are answered. */
  #leave(address: string, master: Master): void {
    this.#masters.delete(address)
    this.#guests.delete(master)
    this.#probes.delete(master)
    this.#reconnects += master.reconnects
    const timer = setTimeout(() => {
      this.#leaving.delete(master)
      void master.close()
    }, this.#options.timeout)
    timer.unref()
    this.#leaving.set(master, timer)
  }
}

/** The error of a master's probe, with the master's address. */
function named({ at }: Master, error: unknown): LogUnavailable {
  if (error instanceof AppendsRefused) return error
  const [address, why] = [printHost(at), reason(error)]
  return new LogUnavailable(why.includes(address) ? why : `Redis at ${address}: ${why}`)
}

/** The redirection in an error; `address` is '' if the master names none. */
function redirectionOf(error: unknown): { kind: string; address: string } | undefined {
  if (!(error instanceof ErrorReply)) return undefined
  const [, kind, address = ''] = /^(MOVED|ASK|TRYAGAIN)\b(?: \d+ (\S+))?/.exec(error.reply) ?? []
  return kind === undefined ? undefined : { kind, address }
}

/** The topology that the node at `at` reports. Raises LogUnavailable, LogRefused. */
async function viewOf(
  at: HostPort,
  ask: (command: string, args: string[]) => Promise<unknown>,
): Promise<View> {
  let answers: unknown[]
  try {
    answers = await Promise.all([ask('cluster', ['slots']), ask('cluster', ['nodes'])])
  } catch (error) {
    if (error instanceof ErrorReply && error.reply.includes('cluster support disabled'))
      throw new LogRefused(`Redis at ${printHost(at)} is not a cluster: its URL begins with redis://`)
    throw error
  }
  const [slots, nodes] = answers as [[number, number, [string | null, number]][], string]
  const ranges: View['ranges'][number][] = []
  for (const [from, to, [host, port]] of slots) {
    // If the node does not know its host, that is the one at which it was reached.
    if (host !== '?') ranges.push({ from, to, master: { host: host || at.host, port } })
  }
  if (ranges.length === 0) throw new LogUnavailable(`Redis at ${printHost(at)} knows no slots of the cluster`)
  const epochs = nodes.split('\n').map(line => Number(line.split(' ')[6] ?? 0))
  return { epoch: Math.max(...epochs), ranges }
}

/** The results of those of `promises` that are fulfilled within `ms`. */
async function within<T>(ms: number, promises: readonly Promise<T>[]): Promise<T[]> {
  const kept: T[] = []
  const late = deferred<void>()
  const timer = setTimeout(late.resolve, ms)
  const all = promises.map(promise =>
    promise.then(
      value => void kept.push(value),
      () => {},
    ),
  )
  await Promise.race([Promise.all(all), late.promise])
  clearTimeout(timer)
  return [...kept]
}
