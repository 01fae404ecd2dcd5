// The channels that a node follows, by name, and what they and the connections share.

import { FanwireError } from '../../errors.ts'
import type { Position } from '../event/position.ts'
import type { ChannelLog, RetentionOf } from '../log/log.ts'
import { Channel, type ChannelEnvironment, type ChannelHolds } from './channel.ts'
import { ConcurrencyLimit } from './concurrency-limit.ts'
import { Connections, type ConnectionTimes } from './connections.ts'
import { FlushLoop } from './flush-loop.ts'
import type { LowPriorityLimits } from './low-priority.ts'
import { MemoryBudget } from './memory-budget.ts'
import type { WireCounters } from './wire-stats.ts'

/** Settings of the fan-out. Times in ms, sizes in bytes. */
export interface HubOptions extends ConnectionTimes {
  readonly retentionOf: RetentionOf
  readonly low: LowPriorityLimits
  /** Budget for the recent events of all channels, and what is encoded of them. */
  readonly memory: number
  readonly maxFollowed: number
  /** How long a channel stays followed after its last reader. */
  readonly linger: number
}

export interface HubStats {
  readonly channels: number
  readonly readers: number
  /** Connections whose socket is full. */
  readonly behind: number
  /** Bytes of recent events, and of the stretches that are encoded for readers. */
  readonly memory: number
  readonly logReads: number
  readonly wires: Readonly<Record<string, WireCounters>>
}

/** Reads from the log at a time, so that an append waits behind no more than these. */
const MAX_LOG_READS = 64

export class Hub implements ChannelHolds {
  readonly options: HubOptions
  readonly connections: Connections
  readonly logReads = new ConcurrencyLimit(MAX_LOG_READS)
  readonly #log: ChannelLog
  readonly #channels = new Map<string, { channel: Channel; opened: Promise<void> }>()
  /** Followed channels that nobody holds, the longest idle first. */
  readonly #idle = new Set<Channel>()
  readonly #flushLoop = new FlushLoop()
  readonly #memory: MemoryBudget
  readonly #environment: ChannelEnvironment
  #timer: NodeJS.Timeout | undefined

  constructor(log: ChannelLog, options: HubOptions) {
    this.#log = log
    this.options = options
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
   * Follows the channel of that name. The caller holds it, and calls `release` when it is done.
   * Raises FW_TOO_MANY_FOLLOWED, LogUnavailable.
   */
  async open(name: string): Promise<Channel> {
    const away = this.#log.away?.(name)
    if (away !== undefined) throw away
    let entry = this.#channels.get(name)
    if (entry === undefined) {
      if (this.#channels.size >= this.options.maxFollowed) this.#makeRoom()
      const channel = new Channel(name, this.#environment)
      entry = { channel, opened: channel.open() }
      this.#channels.set(name, entry)
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

  /** As `open`; but if no more channels can be followed, returns one that is not followed and only gives pages. */
  async #openOnce(name: string): Promise<Channel> {
    try {
      return await this.open(name)
    } catch (error) {
      if (!(error instanceof FanwireError) || error.code !== 'FW_TOO_MANY_FOLLOWED') throw error
      const channel = new Channel(name, this.#environment)
      channel.hold()
      return channel
    }
  }

  /** Opens all of `names`, or none. Raises as `open`. */
  async openAll(names: readonly string[], open = (name: string) => this.open(name)): Promise<Channel[]> {
    const opened = await Promise.allSettled(names.map(open))
    const failed = opened.find(each => each.status === 'rejected')
    const channels = opened.flatMap(each => (each.status === 'fulfilled' ? [each.value] : []))
    if (failed === undefined) return channels
    for (const channel of channels) channel.release()
    throw failed.reason
  }

  /** Holds channels open for as long as `use` takes. Raises what it raises, and what `openAll` does. */
  async using<T>(names: readonly string[], use: (channels: Channel[]) => Promise<T>): Promise<T> {
    return this.#use(await this.openAll(names), use)
  }

  /** As `using`, for what asks channels for pages and does not stay: it is served by a full node, too. */
  async glancing<T>(names: readonly string[], use: (channels: Channel[]) => Promise<T>): Promise<T> {
    return this.#use(await this.openAll(names, name => this.#openOnce(name)), use)
  }

  async #use<T>(channels: Channel[], use: (channels: Channel[]) => Promise<T>): Promise<T> {
    try {
      return await use(channels)
    } finally {
      for (const channel of channels) channel.release()
    }
  }

  held(channel: Channel): void {
    this.#idle.delete(channel)
  }

  released(channel: Channel): void {
    if (this.#channels.get(channel.name)?.channel === channel) this.#idle.add(channel)
  }

  /** This node acknowledged an event to a publisher: the next request here sees it. */
  acknowledged(name: string, position: Position): void {
    this.#channels.get(name)?.channel.acknowledged(position)
  }

  /** Readers of a channel on this node. */
  readers(name: string): number {
    return this.#channels.get(name)?.channel.members.length ?? 0
  }

  stats(): HubStats {
    let readers = 0
    for (const channel of this) readers += channel.members.length
    return {
      channels: this.#channels.size,
      readers,
      behind: this.connections.full.size,
      memory: this.#memory.used,
      logReads: this.logReads.started,
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
    for (const channel of this.#idle) {
      if (channel.idleSince > idleBefore) return
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
