// The channels that a node follows, by name, and what they and the connections share.

import { FanwireError } from '../../errors.ts'
import { ownCopy } from '../event/names.ts'
import type { Position } from '../event/position.ts'
import type { ChannelLog, RetentionOf } from '../log/log.ts'
import { Channel, type ChannelEnvironment, type ChannelHolds } from './channel.ts'
import { ConcurrencyLimit } from './concurrency-limit.ts'
import { Connections, type ConnectionTimes } from './connections.ts'
import { FlushLoop } from './flush-loop.ts'
import { Glance, Glanced, type Pages } from './glance.ts'
import type { LowPriorityLimits } from './low-priority.ts'
import { MemoryBudget } from './memory-budget.ts'
import type { WireCounters } from './wire-stats.ts'

/** Settings of the fan-out. Times in ms, sizes in bytes. */
export interface HubOptions extends ConnectionTimes {
  readonly retentionOf: RetentionOf
  readonly low: LowPriorityLimits
  /** Budget for the recent events of all channels and their encodings. */
  readonly memory: number
  readonly maxFollowed: number
  /** How long a channel is still followed after its last reader has left. */
  readonly linger: number
}

export interface HubStats {
  readonly channels: number
  readonly readers: number
  /** Connections whose socket is full. */
  readonly behind: number
  /** Bytes of recent events, and of their encodings for readers. */
  readonly memory: number
  readonly logReads: number
  readonly wires: Readonly<Record<string, WireCounters>>
}

/** The maximum number of concurrent reads from the log, since appends wait for them. */
const MAX_LOG_READS = 64

/** The maximum number of channels that are being opened at the same time. */
const MAX_OPENING = 512

/** The maximum number of idle channels that are dropped in one turn of the event loop. */
const MAX_DROPS = 500

/** The maximum number of channels that are read at the same time without being followed, and of those that wait. */
const MAX_GLANCES = 128
const MAX_GLANCES_WAITING = 2048

export class Hub implements ChannelHolds {
  readonly options: HubOptions
  readonly connections: Connections
  readonly logReads = new ConcurrencyLimit(MAX_LOG_READS)
  /** Bounds the reads of channels that nobody follows, since anonymous clients can request any number. */
  readonly glances = new ConcurrencyLimit(MAX_GLANCES, MAX_GLANCES_WAITING)
  readonly #opening = new ConcurrencyLimit(MAX_OPENING)
  readonly #glanced: Glanced
  readonly #log: ChannelLog
  readonly #channels = new Map<string, { channel: Channel; opened: Promise<void> }>()
  /** Followed channels that nobody holds, the least recently used first. */
  readonly #idle = new Set<Channel>()
  readonly #flushLoop = new FlushLoop()
  readonly #memory: MemoryBudget
  readonly #environment: ChannelEnvironment
  #timer: NodeJS.Timeout | undefined

  constructor(log: ChannelLog, options: HubOptions) {
    this.#log = log
    this.options = options
    this.#glanced = new Glanced(options.linger)
    this.connections = new Connections(this.#flushLoop, options)
    this.#memory = new MemoryBudget(options.memory, () => [...this])
    this.#environment = {
      log,
      retentionOf: options.retentionOf,
      low: options.low,
      memory: this.#memory,
      flushLoop: this.#flushLoop,
      logReads: this.logReads,
      holds: this,
      members: { count: 0 },
    }
  }

  /** Starts the timers. */
  start(): void {
    const { linger } = this.options
    const every = Math.min(1000, Math.max(100, linger / 4))
    this.#timer = setInterval(() => this.#sweep(Date.now() - linger), every).unref()
    this.connections.start()
  }

  close(): void {
    clearInterval(this.#timer)
    this.connections.close()
    for (const channel of this) channel.close()
    this.#channels.clear()
    this.#idle.clear()
  }

  /**
   * Follows the channel with that name, and holds it until the caller calls `release`. Raises FW_TOO_MANY_FOLLOWED,
   * LogUnavailable.
   */
  async open(name: string): Promise<Channel> {
    const away = this.#log.away?.(name)
    if (away !== undefined) throw away
    let entry = this.#channels.get(name)
    if (entry === undefined) {
      if (this.#channels.size >= this.options.maxFollowed) this.#makeRoom()
      const channel = new Channel(ownCopy(name), this.#environment)
      entry = { channel, opened: this.#opening.run(() => channel.open()) }
      this.#channels.set(channel.name, entry)
    }
    const { channel, opened } = entry
    channel.hold()
    try {
      await opened
      return channel
    } catch (error) {
      if (this.#channels.get(name) === entry) this.#channels.delete(name)
      channel.release()
      throw error
    }
  }

  /** Opens all of `names`, or none. Raises the errors of `open`. */
  async openAll(names: readonly string[]): Promise<Channel[]> {
    const opened = await Promise.allSettled(names.map(name => this.open(name)))
    const failed = opened.find(each => each.status === 'rejected')
    const channels = opened.flatMap(each => (each.status === 'fulfilled' ? [each.value] : []))
    if (failed === undefined) return channels
    for (const channel of channels) channel.release()
    throw failed.reason
  }

  /** Holds channels open while `use` runs. Raises its errors, and those of `openAll`. */
  async using<T>(names: readonly string[], use: (channels: Channel[]) => Promise<T>): Promise<T> {
    const channels = await this.openAll(names)
    try {
      return await use(channels)
    } finally {
      for (const channel of channels) channel.release()
    }
  }

  /**
   * Like `using`, for callers that only read pages: channels that are not followed are read from the log. Raises
   * FW_OVERLOADED if too many such reads are waiting.
   */
  async glancing<T>(names: readonly string[], use: (channels: Pages[]) => Promise<T>): Promise<T> {
    const unfollowed = names.filter(name => !this.#channels.has(name)).length
    if (unfollowed === 0) return this.using(names, use)
    return this.glances.run(() => {
      let room = this.options.maxFollowed - this.#channels.size
      const followed = names.filter(
        name => this.#channels.has(name) || (this.#shouldFollow(name) && room-- > 0),
      )
      return this.using(followed, channels => {
        const opened = new Map(channels.map(channel => [channel.name, channel]))
        return use(names.map(name => opened.get(name) ?? new Glance(name, this.#log)))
      })
    }, unfollowed)
  }

  #shouldFollow(name: string): boolean {
    const away = this.#log.away?.(name)
    if (away !== undefined) throw away
    return this.#glanced.look(name)
  }

  held(channel: Channel): void {
    this.#idle.delete(channel)
  }

  released(channel: Channel): void {
    if (this.#channels.get(channel.name)?.channel === channel) this.#idle.add(channel)
  }

  /** Notes that this node acknowledged an event, so that the next request on this node sees it. */
  acknowledged(name: string, position: Position): void {
    this.#channels.get(name)?.channel.acknowledged(position)
  }

  /** The position of a channel's end, if it has ended and this node follows it. */
  endOf(name: string): Position | undefined {
    const channel = this.#channels.get(name)?.channel
    return channel?.ended ? { epoch: channel.recent.epoch, offset: channel.recent.head } : undefined
  }

  /** The number of a channel's readers on this node. */
  readers(name: string): number {
    return this.#channels.get(name)?.channel.members.length ?? 0
  }

  stats(): HubStats {
    return {
      channels: this.#channels.size,
      readers: this.#environment.members.count,
      behind: this.connections.full.size,
      memory: this.#memory.used,
      logReads: this.logReads.started + this.glances.started,
      wires: this.connections.wires.all,
    }
  }

  /** The channels that are followed. */
  *[Symbol.iterator](): Generator<Channel> {
    for (const { channel } of this.#channels.values()) yield channel
  }

  /** Makes room for one more channel, in constant time. Raises FW_TOO_MANY_FOLLOWED. */
  #makeRoom(): void {
    const [longest] = this.#idle
    if (longest === undefined) {
      throw new FanwireError(
        'FW_TOO_MANY_FOLLOWED',
        `this node already follows ${this.options.maxFollowed} channels (FANWIRE_MAX_FOLLOWED); try another node`,
      )
    }
    this.#drop(longest)
  }

  #sweep(idleBefore: number): void {
    let drops = 0
    for (const channel of this.#idle) {
      if (channel.idleSince > idleBefore) return
      if (drops++ === MAX_DROPS) return void setImmediate(() => this.#sweep(idleBefore))
      this.#drop(channel)
    }
  }

  #drop(channel: Channel): void {
    this.#channels.delete(channel.name)
    this.#idle.delete(channel)
    this.#flushLoop.cancelFlush(channel)
    channel.close()
  }
}
