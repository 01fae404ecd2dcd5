// The Redis engine: channels in Redis, shared by all nodes. Each change of a channel is one Lua script in Redis (lua/*.lua);
// this file calls the scripts and parses their replies.

import type { Draft, LogEvent } from '../../event/event.ts'
import { headOf, type History, pageOf, place, randomEpoch, stateOf } from '../history.ts'
import { type Certificates, type Login, parseEndpoint } from './url.ts'
import { Allowance } from '../allowance.ts'
import type { ChannelLog, ChannelState, Feed, Follower, PageLimit, Receipt, RetentionOf } from '../log.ts'
import { AppendsRefused, type LogUnavailable } from '../log.ts'
import type { Position, Start } from '../../event/position.ts'
import { isPosition, isSince, parsePosition } from '../../event/position.ts'
import { ClusterMasters } from './cluster.ts'
import type { Argument } from './resp.ts'
import type { Logger } from '../../logger.ts'
import type { FeedPage, Head } from './feed.ts'
import type { Changes } from './comparison.ts'
import { Feeds } from './feeds.ts'
import { KeyedChannels } from './keyed-channels.ts'
import { SingleMaster } from './single.ts'
import type { Topology } from './topology.ts'
import { Reads } from './read-batcher.ts'
import { printTransient, type Reading } from './records.ts'
import { ErrorReply, Failures } from './replies.ts'
import type { RetentionArgument, Script, Scripts } from './scripts.ts'
import { evalsha, loadScripts, Names, retentionArgument } from './scripts.ts'

/** The interval in which all feeds are compared with the log's heads, ms. */
const COMPARE_MS = 8000

/** read.lua's symbols for starts that are not positions. */
const SYMBOLS = { earliest: '<', latest: '>', last: '-', since: '@' }

const MANY = Number.MAX_SAFE_INTEGER

/** How many channels without events a node begins per second, so that readers of made-up channels cannot fill Redis. */
const BEGUN_A_SECOND = 100

/** How many channels are remembered for which Redis had no room, and how many of them are trimmed at a time. */
const REFUSED = 1000
const TRIMMED_AT_A_TIME = 20

/** The reply of erase.lua if the call has to be repeated. */
const MORE = 2

const HEAD: PageLimit = { events: 0, bytes: 0 }

export interface RedisLogOptions {
  /** See url.ts. */
  readonly url: string
  /** For `rediss`. Default: the system's certificate authorities, and no client certificate. */
  readonly certificates?: Certificates | undefined
  /** For `redis+sentinel`. Default: sentinels are queried without credentials. */
  readonly sentinelLogin?: Login | undefined
  /** Prefix of every key and every pub/sub channel. */
  readonly prefix: string
  readonly retentionOf: RetentionOf
  /** How long an idempotency key is remembered, ms. */
  readonly idempotencyWindow: number
  /** How long a command may take, ms. */
  readonly timeout: number
  readonly logger: Logger
  /** The interval in which all feeds are compared with the log, ms; for tests. */
  readonly compareEvery?: number
}

export class RedisLog implements ChannelLog {
  readonly engine = 'redis'
  readonly failures: Failures
  /** The number of reads that were sent to Redis, for metrics. */
  reads = 0

  readonly #scripts: Scripts
  readonly #retention: RetentionArgument
  readonly #names: Names
  readonly #topology: Topology
  readonly #feeds: Feeds
  readonly #reads: Reads
  readonly #begins = new Allowance(BEGUN_A_SECOND)
  /** Channels for which Redis had no room. */
  readonly #refused = new Set<string>()
  readonly #keyed = new KeyedChannels()
  readonly #forgets: NodeJS.Timeout

  constructor(options: RedisLogOptions) {
    const { url, prefix, retentionOf, idempotencyWindow, timeout, logger, certificates, sentinelLogin } =
      options
    const endpoint = { ...parseEndpoint(url), certificates, sentinelLogin }
    const sharded = endpoint.kind === 'cluster'
    this.failures = new Failures(logger, sharded)
    this.#names = new Names(prefix, endpoint.db)
    this.#scripts = loadScripts(idempotencyWindow, sharded ? undefined : this.#names.changes)
    this.#retention = retentionArgument(retentionOf, idempotencyWindow)
    this.#topology = new (sharded ? ClusterMasters : SingleMaster)({
      endpoint,
      sharded,
      timeout,
      logger,
      scripts: this.#scripts,
      retention: this.#retention,
      names: this.#names,
      events: {
        message: (name, payload) => this.#feeds.message(name, payload),
        renewed: names => this.#feeds.renewed(names),
      },
    })
    const topology = this.#topology
    this.#reads = new Reads({ script: this.#scripts.reads, names: this.#names, sharded, topology })
    this.#feeds = new Feeds({
      subscriptions: {
        subscribe: name => this.#subscribe(name),
        unsubscribe: name => this.#topology.unsubscribe(name),
        doubt: name => this.#topology.doubt(name),
      },
      feedName: channel => this.#names.feed(channel),
      slot: channel => this.#topology.slot(channel),
      read: (channel, after, limit, stays) => this.read(channel, after, limit, stays),
      heads: channels => this.#heads(channels),
      bucket: channel => this.#names.bucket(channel),
      ...(sharded ? {} : { changes: buckets => this.#changes(buckets) }),
      compareEvery: options.compareEvery ?? COMPARE_MS,
    })
    this.#forgets = setInterval(() => void this.#forgetKeys(), idempotencyWindow).unref()
  }

  /** The number of reconnects, for metrics. */
  get reconnects(): number {
    return this.#topology.reconnects
  }

  /** The number of holes in feeds that were filled from the log, for metrics. */
  get holesFilled(): number {
    return this.#feeds.holesFilled
  }

  async open(): Promise<void> {
    try {
      await this.#topology.open()
    } catch (error) {
      await this.close()
      throw this.failures.asRefusal(error)
    }
  }

  async append(channel: string, drafts: readonly Draft[]): Promise<Receipt[]> {
    if (drafts.length === 0) return []
    if (drafts.some(({ idempotencyKey }) => idempotencyKey !== undefined)) this.#keyed.add(channel)
    try {
      return await this.#topology.append(channel, drafts)
    } catch (error) {
      if (error instanceof ErrorReply && error.reason === 'OOM' && this.#refused.size < REFUSED)
        this.#refused.add(channel)
      throw this.failures.note('append', channel, error)
    }
  }

  async read(channel: string, after: Start, limit: PageLimit, stays = false): Promise<FeedPage> {
    const may = stays && this.#begins.take()
    const { history, events, keys, erasures } = await this.#read(channel, after, limit, may)
    if (may && keys !== 'made') this.#begins.giveBack()
    const placed = place(history, isSince(after) ? found(history, events) : after)
    const page = { ...pageOf(history, placed, events), erasures }
    return keys === 'absent' ? { ...page, unbegun: true } : page
  }

  async relay(channel: string, drafts: readonly Draft[]): Promise<number> {
    const time = Date.now()
    try {
      if (drafts.length > 0) await this.#topology.relay(channel, printTransient(time, drafts))
      return time
    } catch (error) {
      throw this.failures.note('relay', channel, error)
    }
  }

  async erase(channel: string, { epoch, offset }: Position): Promise<boolean> {
    const keys = [...this.#names.keys(channel), ...this.#names.beside(channel, ['c'])]
    for (;;) {
      const answer = await this.#change(channel, this.#scripts.erase, keys, [epoch, offset])
      if (answer !== MORE) return answer === 1
    }
  }

  async clear(channel: string): Promise<Position> {
    const head = await this.#change(channel, this.#scripts.clear, this.#names.keys(channel), [])
    return parsePosition(`${head}`) as Position
  }

  /** Calls a script that is safe to repeat. */
  async #change(
    channel: string,
    script: Script,
    keys: readonly string[],
    more: Argument[],
  ): Promise<unknown> {
    const args = [randomEpoch(), this.#retention(channel), this.#names.feed(channel), ...more]
    try {
      const slot = this.#topology.slot(channel)
      return await this.#topology.call(slot, { args: evalsha(script, keys, args), again: true })
    } catch (error) {
      throw this.failures.note('erase', channel, error)
    }
  }

  async state(channel: string): Promise<ChannelState> {
    return stateOf((await this.#read(channel, 'latest', HEAD, false)).history)
  }

  /** Calls members.lua for a channel, with further keys. The reply has Buffers. Raises LogUnavailable. */
  async members(channel: string, suffixes: readonly string[], args: readonly Argument[]): Promise<unknown> {
    const keys = [...this.#names.keys(channel), ...this.#names.beside(channel, suffixes)]
    const all = [randomEpoch(), this.#names.feed(channel), this.#retention(channel), ...args]
    return await this.#run(channel, evalsha(this.#scripts.members, keys, all))
  }

  /** Calls leases.lua. The reply has Buffers. Raises LogUnavailable. */
  async leases(name: string, suffixes: readonly string[], args: readonly Argument[]): Promise<unknown> {
    return await this.#run(name, evalsha(this.#scripts.leases, this.#names.beside(name, suffixes), args))
  }

  async #run(channel: string, args: Argument[]): Promise<unknown> {
    try {
      const slot = this.#topology.slot(channel)
      return await this.#topology.call(slot, { args, buffers: true, again: true })
    } catch (error) {
      throw this.failures.note('append', channel, error)
    }
  }

  follow(channel: string, follower: Follower): Promise<Feed> {
    return this.#feeds.open(channel, follower)
  }

  async probe(): Promise<void> {
    try {
      await this.#topology.probe()
      // Trims once more, for channels of a cluster's other masters. Another refusal adds the channel again.
      this.#trimSome()
      this.#refused.clear()
    } catch (error) {
      if (error instanceof AppendsRefused) this.#trimSome()
      throw this.failures.asRefusal(error)
    }
  }

  away(channel: string): LogUnavailable | undefined {
    return this.#topology.away(this.#topology.slot(channel))
  }

  async close(): Promise<void> {
    clearInterval(this.#forgets)
    this.#feeds.close()
    await this.#topology.close()
  }

  async #subscribe(name: string): Promise<void> {
    try {
      await this.#topology.subscribe(name)
    } catch (error) {
      throw this.failures.note('follow', name, error)
    }
  }

  async #read(channel: string, after: Start, limit: PageLimit, begins: boolean): Promise<Reading> {
    this.reads++
    const args = [
      this.#retention(channel),
      ...startArguments(after),
      Math.min(limit.events, MANY),
      Math.min(limit.bytes, MANY),
      begins ? 1 : 0,
    ]
    try {
      return await this.#reads.read(channel, args, limit)
    } catch (error) {
      throw this.failures.note('read', channel, error)
    }
  }

  /** The heads of channels of one slot. */
  async #heads(channels: readonly string[]): Promise<Head[]> {
    const keys = channels.flatMap(channel => this.#names.keys(channel))
    const call = { args: evalsha(this.#scripts.heads, keys, channels.map(this.#retention)), again: true }
    const heads = await this.#topology.call(this.#topology.slot(channels[0] ?? ''), call)
    return (heads as string[]).map(parseHead)
  }

  async #changes(buckets: readonly string[]): Promise<Changes> {
    const args = evalsha(this.#scripts.changes, [this.#names.changes], [randomEpoch(), ...buckets])
    const [identity, ...values] = (await this.#topology.call(0, { args, again: true })) as [string]
    return { identity, values }
  }

  /** Removes the expired idempotency keys of quiet channels. */
  async #forgetKeys(): Promise<void> {
    for (const channel of this.#keyed.next()) {
      const args = evalsha(this.#scripts.forget, this.#names.keys(channel), [])
      await this.#topology.call(this.#topology.slot(channel), { args, again: true }).catch(() => {})
    }
  }

  /** While Redis is full: reads some channels, which trims them, since load balancers may send no more appends. */
  #trimSome(): void {
    for (const channel of [...this.#refused].slice(0, TRIMMED_AT_A_TIME)) {
      // Moves the channel to the end of the queue.
      this.#refused.delete(channel)
      this.#refused.add(channel)
      this.read(channel, 'latest', HEAD).catch(() => {})
    }
  }
}

/** Parses a channel's head in the reply of heads.lua. */
function parseHead(text: string): Head {
  if (text === '-') return 'absent'
  const [position = '', erasures] = text.split(' ')
  const at = parsePosition(position)
  return at && { ...at, erasures: Number(erasures) }
}

/** The arguments of read.lua for a start: an epoch or a symbol, and a number. */
function startArguments(after: Start): [string, number] {
  if (typeof after === 'string') return [SYMBOLS[after], 0]
  if (isPosition(after)) return [after.epoch, after.offset]
  return isSince(after) ? [SYMBOLS.since, after.since] : [SYMBOLS.last, after.last]
}

/** Where a read by symbol began, given the events that it returned. */
function found(history: History, [first]: readonly LogEvent[]): Position {
  return first === undefined ? headOf(history) : { epoch: first.epoch, offset: first.offset - 1 }
}
