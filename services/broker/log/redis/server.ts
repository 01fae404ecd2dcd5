// One Redis master as the log uses it: a connection for commands, one for feeds, the scripts, and the probe that goes
// through all of these.

import { type HostPort, printHost } from './url.ts'
import type { LogEvent } from '../../event/event.ts'
import { randomEpoch } from '../history.ts'
import { AppendsRefused, LogRefused, LogUnavailable } from '../log.ts'
import { Appends } from './append-batcher.ts'
import type { Deferred } from './connection.ts'
import type { Argument } from './resp.ts'
import { deferred, RedisConnection, reason } from './connection.ts'
import { parseRecords, printRecord } from './records.ts'
import { ErrorReply, isWriteRefusal } from './replies.ts'
import { PROBE_RETENTION } from './scripts.ts'
import type { Call, TopologyOptions } from './topology.ts'
import { slotOf } from './slots.ts'
import { Subscriptions } from './subscriptions.ts'

/** The timeout of a probe, ms, even if commands may take longer. */
const PROBE_TIMEOUT_MS = 4000

/** The oldest major version of Redis that supports the scripts. */
const OLDEST = 7

/** How many names are tried to find one in a slot of the master. */
const MANY = 1_000_000

/** A master's interface to its topology. */
export interface MasterRole {
  /** Its address, if it is newer than what the sentinels may know. */
  expected(): HostPort | undefined
  /** Whether this master serves a slot. */
  serves(slot: number): boolean
  /** Called when slots may have moved, or another server may be the master. */
  changed(): void
  /** Called when the master cancelled subscriptions. */
  tookAway(): void
}

export class Master {
  readonly subscriptions: Subscriptions
  /** The promise that `open` returned. */
  opened: Promise<void> | undefined
  /** Fulfilled once `open` has ended, successfully or not. Undefined afterwards. */
  opening: Promise<void> | undefined

  readonly #options: TopologyOptions
  readonly #role: MasterRole
  readonly #commands: RedisConnection
  readonly #feed: RedisConnection
  readonly #appends: Appends
  readonly #probes = new Map<string, Deferred<void>>()
  #probeChannel = ''
  #probed = 0
  #loading: Promise<void> | undefined
  /** Redis's count of connections that it closed because their output buffer was full; NaN if it is unknown. */
  #overflows = Number.NaN
  /** The number of connects of the command connection at the last connect of the feed connection. */
  #commandsThen = 0

  constructor(options: TopologyOptions, role: MasterRole) {
    this.#options = options
    this.#role = role
    const { endpoint, timeout, logger, sharded, scripts, names, events } = options
    const expected = () => role.expected()
    this.#commands = new RedisConnection({
      endpoint,
      timeout,
      logger,
      expected,
      name: 'commands',
      onReady: () => this.#begin(),
    })
    this.#feed = new RedisConnection({
      endpoint,
      timeout,
      logger,
      expected,
      name: 'feed',
      onReady: () => this.#feedReady(),
      onMessage: (name, payload) => this.#message(name.toString('latin1'), payload),
      onMoved: () => role.tookAway(),
    })
    this.subscriptions = new Subscriptions({
      send: (command, names) => this.#feed.call(sharded ? `s${command}` : command, names, { gathered: true }),
      slot: name => (sharded ? slotOf(name) : 0),
      renewed: names => events.renewed(names),
      refused: error => {
        if (error instanceof ErrorReply) role.changed()
      },
    })
    const send = (call: Call) => this.call(call)
    this.#appends = new Appends({ script: scripts.append, names, retention: PROBE_RETENTION, sharded, send })
  }

  get at(): HostPort {
    return this.#options.endpoint.hosts[0] as HostPort
  }

  /** Whether both connections are up. */
  get usable(): boolean {
    return this.#commands.usable && this.#feed.usable
  }

  /** The number of reconnects. */
  get reconnects(): number {
    return Math.max(0, this.#commands.connected - 1) + Math.max(0, this.#feed.connected - 1)
  }

  /** Connects. Raises LogUnavailable, LogRefused; even then it keeps trying until it is closed. */
  open(): Promise<void> {
    this.opened = this.#open()
    const ended = () => {
      this.opening = undefined
    }
    this.opening = this.opened.then(ended, ended)
    return this.opened
  }

  async #open(): Promise<void> {
    await Promise.all([this.#commands.open(), this.#feed.open()])
    await this.#checkServer()
    await this.#load()
    if (!this.#options.sharded) await this.#openProbe()
  }

  /** Raises LogUnavailable. */
  async call(call: Call): Promise<unknown> {
    const { command = 'evalsha', args, again } = call
    try {
      return await this.#commands.call(command, args, call)
    } catch (error) {
      if (!(error instanceof ErrorReply && error.reply.startsWith('NOSCRIPT'))) throw error
      const loaded = this.#load()
      // Other calls are not retried, since later appends are already in flight.
      if (!again) throw error
      await loaded
      return this.call({ ...call, again: false })
    }
  }

  /** Like `call`, in a slot that is migrating to this master. */
  async callAsking(call: Call): Promise<unknown> {
    this.#commands.asking()
    return this.call(call)
  }

  /** Sends another command, which may be sent twice. */
  ask(command: string, args: Argument[]): Promise<unknown> {
    return this.#commands.call(command, args)
  }

  /** Probes both connections of this master: see ChannelLog.probe. Raises LogUnavailable, AppendsRefused. */
  async probe(): Promise<void> {
    if (!this.#feed.usable) throw new LogUnavailable('the connection that carries the feeds is down')
    const connections = [this.#commands.connected, this.#feed.connected]
    const mark = `${this.#probed++}`
    const came = deferred<void>()
    this.#probes.set(mark, came)
    let late = false
    let waitsFor = 1 as 0 | 1
    const expire = () => {
      late = true
      came.reject(new LogUnavailable('the probe event did not return'))
    }
    const timer = setTimeout(expire, Math.min(this.#options.timeout, PROBE_TIMEOUT_MS))
    let refusal: ErrorReply | undefined
    try {
      const send = async () => {
        const channel = await this.#openProbe()
        waitsFor = 0
        refusal = await this.#sendProbe(channel, Buffer.from(mark))
        waitsFor = 1
      }
      await Promise.all([send(), came.promise])
    } catch (error) {
      // Resets the silent connection, unless it has reconnected meanwhile.
      const silent = waitsFor === 0 ? this.#commands : this.#feed
      if (late && silent.connected === connections[waitsFor]) silent.reset('the probe event did not return')
      if (error instanceof ErrorReply) {
        // The slot belongs to another master, or is migrating: the next probe uses another slot.
        this.endProbe()
        this.#role.changed()
      }
      throw error
    } finally {
      clearTimeout(timer)
      this.#probes.delete(mark)
    }
    if (refusal !== undefined) throw new AppendsRefused(refusal.message, refusal.reason)
  }

  /** Appends a probe. If Redis refuses writes, publishes the probe, and returns the refusal. */
  async #sendProbe(channel: string, data: Buffer): Promise<ErrorReply | undefined> {
    try {
      await this.#appends.append(channel, [{ data }])
      return undefined
    } catch (error) {
      if (!isWriteRefusal(error)) throw error
      const publish = this.#options.sharded ? 'spublish' : 'publish'
      await this.#commands.call(publish, [this.#options.names.feed(channel), printRecord(data)])
      return error
    }
  }

  /** The pub/sub channel of the probe. */
  get probeName(): string {
    return this.#probeChannel === '' ? '' : this.#options.names.feed(this.#probeChannel)
  }

  /** Cancels the probe in progress. Later probes use another channel. */
  endProbe(): void {
    this.subscriptions.unsubscribe(this.probeName)
    this.#probeChannel = ''
    for (const probe of this.#probes.values())
      probe.reject(new LogUnavailable('the slot of the probe has moved'))
  }

  /** Reconnects connections that lead to an unexpected server. */
  check(): void {
    for (const connection of [this.#commands, this.#feed]) connection.check()
  }

  async close(): Promise<void> {
    this.subscriptions.close()
    await Promise.all([this.#commands.close(), this.#feed.close()])
  }

  /** Subscribes to a probe channel whose slot this master serves, and returns it. */
  async #openProbe(): Promise<string> {
    const { names } = this.#options
    for (let tries = 0; this.#probeChannel === ''; tries++) {
      if (tries > MANY) throw new LogUnavailable('this master serves no slot')
      const channel = `fanwire:probe:${randomEpoch()}`
      if (this.#role.serves(slotOf(names.feed(channel)))) this.#probeChannel = channel
    }
    const channel = this.#probeChannel
    const name = this.probeName
    if (!this.subscriptions.wanted.has(name)) await this.subscriptions.subscribe(name)
    return channel
  }

  /** Loads the scripts into Redis, before anything else is sent on a new connection. */
  #load(): Promise<void> {
    if (this.#loading !== undefined) return this.#loading
    const loads = Object.values(this.#options.scripts).map(({ text }) =>
      this.#commands.call('script', ['load', text]),
    )
    const loading = Promise.all(loads)
      .then(() => {})
      .finally(() => {
        if (this.#loading === loading) this.#loading = undefined
      })
    this.#loading = loading
    loading.catch(error => this.#options.logger.warn({}, `the scripts could not be loaded: ${reason(error)}`))
    return loading
  }

  #feedReady(): void {
    this.subscriptions.renew()
    const again = this.#feed.connected > 1
    const alone = again && this.#commands.usable && this.#commands.connected === this.#commandsThen
    this.#commandsThen = this.#commands.connected
    // If both connections broke, the feed's output buffer was not the cause.
    if (alone) this.#explainCut().catch(() => {})
  }

  /** Logs why Redis closed only the feed connection. */
  async #explainCut(): Promise<void> {
    const before = this.#overflows
    const overflows = overflowsOf(`${await this.#commands.call('info', ['stats'])}`)
    this.#overflows = overflows
    if (overflows <= before) return
    const limit = 'more waited for this node than client-output-buffer-limit allows for pubsub'
    this.#options.logger.warn(
      { redis: printHost(this.at), connection: 'feed' },
      Number.isNaN(overflows)
        ? `the connection of the feed ended alone: ${limit}, or somebody killed it`
        : `Redis cut the feed: ${limit}; what was missed is read from the log`,
    )
  }

  #begin(): void {
    this.#loading = undefined
    this.#load().catch(() => {})
  }

  #message(name: string, payload: Buffer): void {
    if (this.#options.events.message(name, payload) || name !== this.probeName) return
    try {
      const events: LogEvent[] = []
      parseRecords(this.#probeChannel, payload, events)
      for (const { json } of events) this.#probes.get(`${JSON.parse(json.toString()).data}`)?.resolve()
    } catch {
      // Another node sent it: this node's probe is still pending.
    }
  }

  async #checkServer(): Promise<void> {
    const sections = ['server', 'memory', 'cluster', 'stats'].map(section =>
      this.#commands.call('info', [section]),
    )
    const info = (await Promise.all(sections)).join('')
    const field = (name: string) => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1]
    this.#overflows = overflowsOf(info)
    this.#commandsThen = this.#commands.connected
    const version = field('redis_version') ?? '0'
    if (Number.parseInt(version, 10) < OLDEST && field('valkey_version') === undefined)
      throw new LogRefused(`Redis ${version} is too old: ${OLDEST}.0 or later is needed, or Valkey`)
    // Valkey has other names for `redis_mode` and similar fields.
    if (field('cluster_enabled') === '1' && !this.#options.sharded)
      throw new LogRefused('this Redis is a cluster: its URL begins with redis+cluster://')
    const policy = field('maxmemory_policy')
    if (policy !== undefined && policy !== 'noeviction')
      this.#options.logger.warn(
        { policy },
        `Redis may evict channels: set maxmemory-policy to noeviction instead of ${policy}`,
      )
  }
}

/** The count in INFO's reply. Redis 7.0 has none. */
function overflowsOf(info: string): number {
  return Number(/^client_output_buffer_limit_disconnections:(\d+)/m.exec(info)?.[1] ?? Number.NaN)
}
