// All channels that a node follows, by name, and the flush loop that takes their news to the readers.

import { jitter } from '../../backoff.ts'
import { FanwireError } from '../../errors.ts'
import type { ChannelLog, RetentionOf } from '../log/log.ts'
import type { Position } from '../event/position.ts'
import { Channel, type Gather } from './channel.ts'
import type { Connection } from './connection.ts'
import type { CloseReason } from './framing.ts'
import { Gate } from './gate.ts'

/** Settings that the fan-out needs. Times in ms, sizes in bytes. */
export interface HubOptions {
  readonly retentionOf: RetentionOf
  readonly low: Gather
  /** Budget for the recent events of all channels, and what is encoded of them. */
  readonly memory: number
  readonly maxFollowed: number
  /** How long a channel stays followed after its last reader. */
  readonly linger: number
  readonly heartbeat: number
  /** How long a reader may stand still. */
  readonly stall: number
  /** How long a connection may last; for ever unless given, or 0. */
  readonly maxAge?: number
  /** How long a client has to answer a heartbeat that wants an answer; 10 s unless given. */
  readonly answerWithin?: number
}

/** Plain counters of one wire, read by the metrics. */
export interface WireStats {
  connections: number
  deliveries: number
  gaps: number
}

export interface HubStats {
  readonly channels: number
  readonly readers: number
  /** Connections whose socket takes no more. */
  readonly behind: number
  /** Bytes of recent events, and of the stretches that are encoded for readers. */
  readonly memory: number
  readonly logReads: number
  readonly wires: Readonly<Record<string, WireStats>>
}

/** A request that is held until there is news, such as a long poll. */
export interface Held {
  /** Answer now, with what there is. */
  release(): void
}

/** A large channel is flushed in slices of this many ms, with the event loop free between them. */
const SLICE = 2
const SPOKES = 32
/** Reads that the log is asked at a time: whoever else asks it, such as a publisher, is not behind more of them. */
const LOG_READS = 64
/** A client has this long to answer a heartbeat that wants an answer, ms. */
const ANSWER_WITHIN = 10_000
/** A client that was told to go is cut after this, ms. */
const CUT_AFTER = 2000

/** When a connection that begins now has lasted for `maxAge` ms, or up to a quarter less, in ms since 1970. */
export function lastsUntil(maxAge: number): number {
  return Math.floor(Date.now() + maxAge * (1 - Math.random() / 4))
}

/** A client that comes back elsewhere loses nothing. */
function comeBack(reason: string): CloseReason {
  return { code: 1001, reason, retry: jitter(1000) }
}

export class Hub {
  readonly options: HubOptions
  /** Connections whose socket takes no more. */
  readonly blocked = new Set<Connection>()
  /** Connections that were told to go. */
  readonly leaving = new Set<Connection>()
  readonly held = new Set<Held>()
  logReads = 0
  /** What goes to the log for a page goes through here. */
  readonly reading = new Gate(LOG_READS)
  readonly #log: ChannelLog
  readonly #channels = new Map<string, { channel: Channel; opened: Promise<void> }>()
  /** Followed channels that nobody holds, by how long. */
  readonly #idle = new Set<Channel>()
  readonly #wires: Record<string, WireStats> = {}
  readonly #wheel: Set<Connection>[] = Array.from({ length: SPOKES }, () => new Set())
  #spoke = 0
  #memory = 0
  #timers: NodeJS.Timeout[] = []
  // What the next slices of the flush have to visit.
  readonly #news = new Set<Channel>()
  readonly #behind = new Set<Connection>()
  #corked: Connection[] = []
  #allGone: (() => void) | undefined
  #scheduled = false

  constructor(log: ChannelLog, options: HubOptions) {
    this.#log = log
    this.options = options
  }

  /** Starts the timers: lingering channels, heartbeats, clients that stand still. */
  start(): void {
    const { heartbeat, stall, linger } = this.options
    const every = (ms: number, run: () => void) => this.#timers.push(setInterval(run, ms).unref())
    every(Math.max(10, heartbeat / SPOKES), () => this.#turnWheel())
    every(Math.min(1000, stall / 4), () => this.#sweepConnections())
    every(Math.min(1000, Math.max(100, linger / 4)), () => this.#sweepChannels(Date.now() - linger))
  }

  close(): void {
    for (const timer of this.#timers) clearInterval(timer)
    this.#timers = []
    for (const { channel } of this.#channels.values()) channel.close()
    this.#channels.clear()
    this.#idle.clear()
  }

  // Channels ------------------------------------------------------------------------------------------------

  /**
   * The channel of that name, followed. The caller holds it until it calls `release`.
   * Raises FW_TOO_MANY_FOLLOWED, LogUnavailable.
   */
  async open(name: string): Promise<Channel> {
    const away = this.#log.away?.(name)
    if (away !== undefined) throw away
    let entry = this.#channels.get(name)
    if (entry === undefined) {
      if (this.#channels.size >= this.options.maxFollowed) this.#makeRoom()
      const channel = new Channel(name, this, this.#log)
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

  /** As `open`; but where no more channels can be followed, one that is not, and only gives pages. */
  async #openOnce(name: string): Promise<Channel> {
    try {
      return await this.open(name)
    } catch (error) {
      if (!(error instanceof FanwireError) || error.code !== 'FW_TOO_MANY_FOLLOWED') throw error
      const channel = new Channel(name, this, this.#log)
      channel.hold()
      return channel
    }
  }

  /** All of `names`, or none. */
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

  /** Somebody holds the channel. */
  busy(channel: Channel): void {
    this.#idle.delete(channel)
  }

  /** Nobody holds the channel any more. */
  idle(channel: Channel): void {
    if (this.#channels.get(channel.name)?.channel === channel) this.#idle.add(channel)
  }

  /** What this node told a writer; whoever asks it next sees it. */
  acknowledged(name: string, position: Position): void {
    this.#channels.get(name)?.channel.acknowledged(position)
  }

  /** Readers of a channel on this node. */
  readers(name: string): number {
    return this.#channels.get(name)?.channel.readers.length ?? 0
  }

  /** Room for one more channel, if one is lingering. Takes as long whatever is followed. */
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

  #sweepChannels(idleBefore: number): void {
    for (const channel of this.#idle) {
      if (channel.idleSince > idleBefore) return
      this.#drop(channel)
    }
  }

  #drop(channel: Channel): void {
    this.#channels.delete(channel.name)
    this.#idle.delete(channel)
    this.#news.delete(channel)
    channel.close()
  }

  /** Counts what channels hold, and keeps to the budget: the least recently read ones shrink first. */
  remembered(bytes: number): void {
    this.#memory += bytes
    if (this.#memory <= this.options.memory || bytes <= 0) return
    const target = this.options.memory * 0.9
    const channels = [...this.#channels.values()].map(each => each.channel)
    for (const channel of channels.sort((a, b) => a.lastRead - b.lastRead)) {
      const before = channel.size
      channel.shrink(Math.max(0, before - (this.#memory - target)))
      this.#memory += channel.size - before
      if (this.#memory <= target) return
    }
  }

  // The flush -----------------------------------------------------------------------------------------------

  /** The channel has news: its readers are visited in the next slices. */
  flushSoon(channel: Channel): void {
    this.#news.add(channel)
    this.#schedule()
  }

  /** The connection has room, and its readers something to read. */
  catchUpSoon(connection: Connection): void {
    this.#behind.add(connection)
    this.#schedule()
  }

  /** The connection has gathered bytes, to be sent at the end of the slice. */
  corked(connection: Connection): void {
    this.#corked.push(connection)
    this.#schedule()
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(this.#slice)
  }

  /** One slice: channels with news in turn, then connections that catch up, then what both have gathered. */
  readonly #slice = (): void => {
    this.#scheduled = false
    let deadline = performance.now() + SLICE
    for (const channel of this.#news) {
      this.#news.delete(channel)
      if (!channel.flush(deadline)) this.#news.add(channel)
      if (performance.now() > deadline) break
    }
    deadline = performance.now() + SLICE
    for (const connection of this.#behind) {
      this.#behind.delete(connection)
      connection.catchUp()
      if (performance.now() > deadline) break
    }
    const corked = this.#corked
    this.#corked = []
    for (const connection of corked) connection.uncork()
    if (this.#news.size > 0 || this.#behind.size > 0) this.#schedule()
  }

  // Connections ---------------------------------------------------------------------------------------------

  wire(name: string): WireStats {
    this.#wires[name] ??= { connections: 0, deliveries: 0, gaps: 0 }
    return this.#wires[name]
  }

  opened(connection: Connection): void {
    connection.spoke = (this.#spoke + SPOKES - 1) % SPOKES
    this.#wheel[connection.spoke]?.add(connection)
    const { maxAge = 0 } = this.options
    if (maxAge > 0) connection.lastsUntil = lastsUntil(maxAge)
  }

  closed(connection: Connection): void {
    this.#wheel[connection.spoke]?.delete(connection)
    this.blocked.delete(connection)
    this.leaving.delete(connection)
    if (this.leaving.size === 0) this.#allGone?.()
    this.#behind.delete(connection)
  }

  /** One timer for all heartbeats, and ages: each turn of the wheel is the turn of one connection in 32. */
  #turnWheel(): void {
    const now = Date.now()
    const turn = Math.max(10, this.options.heartbeat / SPOKES)
    this.#spoke = (this.#spoke + 1) % SPOKES
    for (const connection of this.#wheel[this.#spoke] ?? []) {
      // By its next turn it would be too old.
      const { lastsUntil } = connection
      if (lastsUntil === 0 || now + this.options.heartbeat < lastsUntil) connection.beat()
      else connection.end(comeBack('the connection is as old as it may get'))
    }
    // Who had to answer a heartbeat by now, and has not, is gone.
    const { answerWithin = ANSWER_WITHIN } = this.options
    const turnsAgo = Math.min(SPOKES - 1, Math.ceil(answerWithin / turn))
    for (const connection of this.#wheel[(this.#spoke + SPOKES - turnsAgo) % SPOKES] ?? []) {
      const since = connection.unansweredSince
      if (since !== 0 && now - since >= answerWithin && connection.blockedSince === 0) connection.cut()
    }
  }

  #sweepConnections(): void {
    const now = Date.now()
    for (const connection of this.blocked) {
      const { queued } = connection
      if (queued < connection.backlog) {
        // Slow, but it reads.
        connection.backlog = queued
        connection.blockedSince = now
      } else if (now - connection.blockedSince >= this.options.stall) {
        connection.end({ code: 4001, reason: 'the reader stood still for too long', retry: jitter(5000) })
      }
    }
    for (const connection of this.leaving) connection.cutIfOverdue(now, CUT_AFTER)
  }

  /**
   * Answers held requests and ends every connection, evenly over `ms`, each with a hint when to come back.
   * Returns when all have been told.
   */
  async drain(ms: number): Promise<void> {
    const end = (connection: Connection) => connection.end(comeBack('the node is stopping'))
    // Held requests come back at once, and with the same force.
    const ends = [
      ...[...this.held].map(held => () => held.release()),
      ...this.#connections().map(connection => () => end(connection)),
    ]
    const step = 50
    const steps = Math.max(1, ms / step)
    const total = ends.length
    for (let n = 1; ends.length > 0; n++) {
      for (const each of ends.splice(0, Math.ceil((total * n) / steps) - (total - ends.length))) each()
      if (ends.length > 0) await new Promise(resolve => setTimeout(resolve, step))
    }
    // Who was on the way in meanwhile.
    for (const connection of this.#connections()) end(connection)
    for (const held of this.held) held.release()
  }

  #connections(): Connection[] {
    return this.#wheel.flatMap(spoke => [...spoke])
  }

  /** Returns when all that were told to go have gone, or after `ms`. */
  async gone(ms: number): Promise<void> {
    if (this.leaving.size === 0) return
    await new Promise<void>(resolve => {
      const timer = setTimeout(resolve, ms)
      this.#allGone = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  stats(): HubStats {
    let readers = 0
    for (const { channel } of this.#channels.values()) readers += channel.readers.length
    return {
      channels: this.#channels.size,
      readers,
      behind: this.blocked.size,
      memory: this.#memory,
      logReads: this.logReads,
      wires: this.#wires,
    }
  }
}
