// The Redis engine: channels in Redis, shared by every node that has the same one. What happens to a channel happens
// inside Redis, in one script (redis/*.lua); this file sends the scripts and reads what they answer.

import type { Draft, LogEvent } from './event.ts'
import type { History } from './history.ts'
import { floorOf, headOf, pageOf, place, randomEpoch } from './history.ts'
import type { ChannelLog, ChannelState, Feed, Follower, Page, PageLimit, Receipt, Retention } from './log.ts'
import { LogRefused, LogUnavailable } from './log.ts'
import type { Position, Start } from './position.ts'
import { parsePosition } from './position.ts'
import { Appends } from './redis-appends.ts'
import type { Argument, Deferred, Logger } from './redis-connection.ts'
import { deferred, endpoint, RedisConnection, reason } from './redis-connection.ts'
import { Feeds } from './redis-feeds.ts'
import { parseRead, parseRecords } from './redis-records.ts'
import type { Script, Scripts } from './redis-scripts.ts'
import { evalsha, loadScripts, Names } from './redis-scripts.ts'
import { Subscriptions } from './redis-subscriptions.ts'

/** Ms in which the heads of all followed channels are compared with the log's. */
const COMPARE_EVERY = 8000

/** Ms after which a probe has failed, also where commands may take longer. */
const PROBE_TIMEOUT = 4000

/** The oldest major version of Redis that has what the scripts need. */
const OLDEST = 7

/** What read.lua calls these starts. */
const SYMBOLS = { earliest: '<', latest: '>' }

const MANY = Number.MAX_SAFE_INTEGER

export interface RedisLogOptions {
  /** `redis://` or `rediss://user:password@host:port/db`. */
  readonly url: string
  /** Begins every key and every pub/sub channel. */
  readonly prefix: string
  readonly retention: Retention
  /** How long an idempotency key is known, ms. */
  readonly idempotencyWindow: number
  /** How long a command may take, ms. */
  readonly timeout: number
  readonly logger: Logger
  /** Ms in which every feed is compared with the log once; for tests. */
  readonly compareEvery?: number
}

export class RedisLog implements ChannelLog {
  readonly engine = 'redis'
  /** Reads put to Redis; for metrics. */
  reads = 0

  readonly #options: RedisLogOptions
  readonly #scripts: Scripts
  readonly #names: Names
  readonly #appends: Appends
  readonly #probeAppends: Appends
  readonly #commands: RedisConnection
  readonly #feed: RedisConnection
  readonly #subscriptions: Subscriptions
  readonly #feeds: Feeds
  readonly #probeChannel = `fanwire:probe:${randomEpoch()}`
  readonly #probeName: string
  readonly #probes = new Map<string, Deferred<void>>()
  #probed = 0
  #loading: Promise<void> | undefined

  constructor(options: RedisLogOptions) {
    this.#options = options
    const { url, prefix, retention, idempotencyWindow, timeout, logger } = options
    this.#scripts = loadScripts(retention, idempotencyWindow)
    this.#names = new Names(prefix, endpoint(url).db)
    this.#probeName = this.#names.feed(this.#probeChannel)
    this.#commands = new RedisConnection({
      url,
      timeout,
      logger,
      name: 'commands',
      onReady: () => this.#begin(),
    })
    this.#feed = new RedisConnection({
      url,
      timeout,
      logger,
      name: 'feed',
      onReady: () => this.#subscriptions.renew(),
      onMessage: (name, payload) => this.#message(name.toString('latin1'), payload),
    })
    const appends = (script: Script) =>
      new Appends({ script, names: this.#names, send: args => this.#send(args) })
    this.#appends = appends(this.#scripts.append)
    this.#probeAppends = appends(this.#scripts.probe)
    this.#subscriptions = new Subscriptions({
      send: (command, names) => this.#feed.call(command, names),
      renewed: names => this.#feeds.renewed(names),
    })
    this.#feeds = new Feeds({
      subscriptions: this.#subscriptions,
      feedName: channel => this.#names.feed(channel),
      read: (channel, after, limit) => this.read(channel, after, limit),
      heads: channels => this.#heads(channels),
      compareEvery: options.compareEvery ?? COMPARE_EVERY,
    })
  }

  /** Times that a connection broke and was made anew; for metrics. */
  get reconnects(): number {
    return Math.max(0, this.#commands.connected - 1) + Math.max(0, this.#feed.connected - 1)
  }

  /** Holes in feeds that were filled from the log; for metrics. */
  get holesFilled(): number {
    return this.#feeds.holesFilled
  }

  async open(): Promise<void> {
    try {
      await Promise.all([this.#commands.open(), this.#feed.open()])
      await this.#checkServer()
      await this.#load()
      await this.#subscriptions.subscribe(this.#probeName)
    } catch (error) {
      await this.close()
      throw error
    }
  }

  async append(channel: string, drafts: readonly Draft[]): Promise<Receipt[]> {
    if (drafts.length === 0) return []
    return this.#appends.append(channel, drafts)
  }

  async read(channel: string, after: Start, limit: PageLimit): Promise<Page> {
    const { history, events } = await this.#read(channel, after, limit)
    return pageOf(history, place(history, after), events)
  }

  async state(channel: string): Promise<ChannelState> {
    const { history } = await this.#read(channel, 'latest', { events: 0, bytes: 0 })
    const count = history.head - history.floor
    const { epoch, offset } = floorOf(history)
    return { head: headOf(history), tail: count === 0 ? undefined : { epoch, offset: offset + 1 }, count }
  }

  follow(channel: string, follower: Follower): Promise<Feed> {
    return this.#feeds.open(channel, follower)
  }

  async probe(): Promise<void> {
    if (!this.#feed.usable) throw new LogUnavailable('the connection that carries the feeds is down')
    const connections = [this.#commands.connected, this.#feed.connected]
    const mark = `${this.#probed++}`
    const came = deferred<void>()
    this.#probes.set(mark, came)
    let late = false
    let held = false
    const expire = () => {
      late = true
      came.reject(new LogUnavailable('the probe event did not come back'))
    }
    const timer = setTimeout(expire, Math.min(this.#options.timeout, PROBE_TIMEOUT))
    try {
      const sent = this.#probeAppends.append(this.#probeChannel, [{ data: Buffer.from(mark) }])
      await Promise.all([sent.then(() => (held = true)), came.promise])
    } catch (error) {
      // Whichever of the two is silent, unless it has been made anew meanwhile.
      const [connection, connected] = held ? [this.#feed, connections[1]] : [this.#commands, connections[0]]
      if (late && connection.connected === connected) connection.reset('the probe event did not come back')
      throw error
    } finally {
      clearTimeout(timer)
      this.#probes.delete(mark)
    }
  }

  async close(): Promise<void> {
    this.#feeds.close()
    this.#subscriptions.close()
    await Promise.all([this.#commands.close(), this.#feed.close()])
  }

  async #send(args: Argument[]): Promise<string> {
    try {
      return (await this.#commands.call('evalsha', args)) as string
    } catch (error) {
      // Not tried again: appends that were sent after it are under way.
      if (isNoScript(error)) this.#load()
      throw error
    }
  }

  async #read(
    channel: string,
    after: Start,
    limit: PageLimit,
  ): Promise<{ history: History; events: LogEvent[] }> {
    this.reads++
    const { epoch, offset } = typeof after === 'string' ? { epoch: SYMBOLS[after], offset: 0 } : after
    const args = [randomEpoch(), epoch, offset, Math.min(limit.events, MANY), Math.min(limit.bytes, MANY)]
    const call = evalsha(this.#scripts.read, this.#names.keys(channel), args)
    return parseRead(channel, await this.#again(() => this.#commands.callBuffer('evalsha', call)))
  }

  async #heads(channels: readonly string[]): Promise<(Position | undefined)[]> {
    const call = evalsha(
      this.#scripts.heads,
      channels.flatMap(channel => this.#names.keys(channel)),
      [],
    )
    return ((await this.#again(() => this.#commands.call('evalsha', call))) as string[]).map(parsePosition)
  }

  /** Once more after the scripts were flushed, for what may be sent twice. */
  async #again(send: () => Promise<unknown>): Promise<unknown> {
    try {
      return await send()
    } catch (error) {
      if (!isNoScript(error)) throw error
      await this.#load()
      return send()
    }
  }

  /** Makes Redis know the scripts, on each connection before anything else is sent on it. */
  #load(): Promise<void> {
    if (this.#loading !== undefined) return this.#loading
    const loads = Object.values(this.#scripts).map(({ text }) =>
      this.#commands.call('script', ['load', text]),
    )
    const loading = Promise.all(loads).then(
      () => {
        if (this.#loading === loading) this.#loading = undefined
      },
      error => {
        if (this.#loading === loading) this.#loading = undefined
        throw error
      },
    )
    this.#loading = loading
    loading.catch(error => this.#options.logger.warn({}, `the scripts could not be loaded: ${reason(error)}`))
    return loading
  }

  #begin(): void {
    this.#loading = undefined
    this.#load().catch(() => {})
  }

  #message(name: string, payload: Buffer): void {
    if (this.#feeds.message(name, payload) || name !== this.#probeName) return
    try {
      const events: LogEvent[] = []
      parseRecords(this.#probeChannel, payload, events)
      for (const { json } of events) this.#probes.get(`${JSON.parse(json.toString()).data}`)?.resolve()
    } catch {
      // Not sent by this node: whoever waits for its own goes on waiting.
    }
  }

  async #checkServer(): Promise<void> {
    const info = `${await this.#commands.call('info', ['server'])}${await this.#commands.call('info', ['memory'])}`
    const field = (name: string) => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1]
    const version = field('redis_version') ?? '0'
    if (Number.parseInt(version, 10) < OLDEST)
      throw new LogRefused(`Redis ${version} is too old: ${OLDEST}.0 or later is needed, or Valkey`)
    const policy = field('maxmemory_policy')
    if (policy !== undefined && policy !== 'noeviction')
      this.#options.logger.warn(
        { policy },
        `Redis may evict channels: set maxmemory-policy to noeviction instead of ${policy}`,
      )
  }
}

function isNoScript(error: unknown): boolean {
  return error instanceof LogUnavailable && error.message.includes('NOSCRIPT')
}
