// The durable embedded engine: channels in files of one folder, for one process. An append returns once its events are on
// disk.

import { resolve } from 'node:path'
import { type Draft, encodeEvent, type LogEvent } from '../../event/event.ts'
import { ownCopy } from '../../event/names.ts'
import { isSince, type Position, type Start } from '../../event/position.ts'
import type { Logger } from '../../logger.ts'
import { Allowance } from '../allowance.ts'
import { epochOf, headOf, type History, pageOf, place, placeSince, randomEpoch, stateOf } from '../history.ts'
import type {
  ChannelLog,
  ChannelState,
  Feed,
  Follower,
  Page,
  PageLimit,
  Receipt,
  RetentionOf,
} from '../log.ts'
import { AppendsRefused, ChannelEnded, LogUnavailable } from '../log.ts'
import { FileChannel, type Part, type Run } from './channel.ts'
import type { Operation } from './commit.ts'
import { eraseEvents } from './erase.ts'
import { type Lock, lockFolder } from './lock.ts'
import { readParts } from './read.ts'
import { restore } from './restore.ts'
import type { Segment } from './segment.ts'
import { Upkeep } from './upkeep.ts'
import { SEGMENT_BYTES, Writer } from './writer.ts'

/** The maximum number of channels without a record in the log. Beyond it, the least recently used ones are dropped. */
const MAX_UNWRITTEN = 10_000

/** If a write takes longer than this, ms, the disk is stalled: the node serves reads, but refuses writes. */
const STALLED_WRITE_MS = 3000

/** How long a reader waits at most until its channel has begun, ms. */
const BEGIN_WAIT_MS = 1000

/** The number of channels that readers may begin per second. */
const BEGUN_A_SECOND = 100

/** The minimum time between two warnings that events could not be dropped, ms. */
const WARN_EVERY_MS = 60_000

export interface FileLogOptions {
  readonly folder: string
  /** Ms until acknowledged events are on disk; 0: they are on disk before they are acknowledged. */
  readonly fsync: number
  readonly retentionOf: RetentionOf
  /** How long an idempotency key is remembered, ms. */
  readonly idempotencyWindow: number
  readonly logger: Logger
  /** Whether the channel begins an epoch with each start, since its events are about what a restart loses. */
  readonly beginsAnew?: (channel: string) => boolean
  /** The clock, ms since 1970; for tests. */
  readonly now?: () => number
  /** Size at which a segment is sealed; for tests. */
  readonly segmentBytes?: number
  /** How often old events are dropped and segments rewritten, ms; for tests. */
  readonly upkeepEvery?: number
}

export class FileLog implements ChannelLog {
  readonly engine = 'file'
  /** How many reads were answered; for metrics. */
  reads = 0

  readonly #options: FileLogOptions
  readonly #folder: string
  readonly #now: () => number
  readonly #begins = new Allowance(BEGUN_A_SECOND)
  /** Channels that have no record in the log, the least recently used first; not all of those in use. */
  readonly #unwritten = new Set<FileChannel>()
  #channels = new Map<string, FileChannel>()
  #segments: Segment[] = []
  #lock: Lock | undefined
  #writer: Writer | undefined
  #upkeep: Upkeep | undefined
  #warnedAt = Number.NEGATIVE_INFINITY

  constructor(options: FileLogOptions) {
    this.#options = options
    this.#folder = resolve(options.folder)
    this.#now = options.now ?? Date.now
  }

  async open(): Promise<void> {
    this.#lock = await lockFolder(this.#folder)
    try {
      await this.#restore()
    } catch (error) {
      await this.close()
      throw error
    }
  }

  async append(name: string, drafts: readonly Draft[]): Promise<Receipt[]> {
    this.#open()
    if (drafts.length === 0) return []
    const channel = this.#channel(name)
    channel.expireKeys(this.#now() - this.#options.idempotencyWindow)
    return await this.#do({ act: 'append', channel, drafts })
  }

  async read(name: string, after: Start, limit: PageLimit, stays = false): Promise<Page> {
    this.#open()
    this.reads++
    const channel = this.#readable(name)
    if (stays && channel.stateIn === undefined) await this.#begin(channel)
    const { history } = channel
    const timeOf = (offset: number) => {
      const run = channel.runOf(offset)
      return run?.table.times[offset - run.first] ?? 0
    }
    const placed = place(history, isSince(after) ? placeSince(history, after, timeOf) : after)
    const parts = channel.after(placed.start.offset, limit)
    const events = parts.length === 0 ? [] : await this.#events(name, history, parts)
    const page = pageOf(history, placed, events)
    return channel.stateIn === undefined ? { ...page, unbegun: true } : page
  }

  async relay(name: string, drafts: readonly Draft[]): Promise<number> {
    this.#open()
    const time = this.#now()
    const channel = this.#channels.get(name)
    if (channel?.over) throw new ChannelEnded(headOf(channel.history))
    if (channel?.follower !== undefined && drafts.length > 0)
      await this.#do({ act: 'relay', channel, drafts, time })
    return time
  }

  async erase(name: string, { epoch, offset }: Position): Promise<boolean> {
    this.#open()
    const channel = this.#readable(name)
    const isThere = () => channel.runOf(offset) !== undefined && epochOf(channel.history, offset) === epoch
    if (!isThere()) return false
    await this.#upkeep?.alone(async () => {
      const run = channel.runOf(offset)
      if (run !== undefined) await eraseEvents(run, offset, offset)
    })
    channel.follower?.forget()
    return true
  }

  async clear(name: string): Promise<Position> {
    const writer = this.#open()
    const channel = this.#readable(name)
    if (channel.head > 0) {
      await this.#upkeep?.alone(async () => {
        let gone: { runs: Run[]; to: number } = { runs: [], to: 0 }
        const cleared = (runs: Run[]) => (gone = { runs, to: channel.head })
        await writer.do({ act: 'clear', channel, epoch: randomEpoch(), cleared })
        for (const run of gone.runs) await eraseEvents(run, run.first, gone.to)
      })
    }
    return headOf(channel.history)
  }

  async state(name: string): Promise<ChannelState> {
    this.#open()
    return stateOf(this.#readable(name).history)
  }

  async follow(name: string, follower: Follower): Promise<Feed> {
    this.#open()
    const channel = this.#readable(name)
    if (channel.follower !== undefined) throw new Error(`channel ${name} has a feed already`)
    channel.follower = follower
    follower.start(headOf(channel.history), channel.over)
    const unbegun = { begin: () => this.#begin(channel).catch(() => {}), heard() {} }
    return {
      get unbegun() {
        return channel.stateIn === undefined ? unbegun : undefined
      },
      close: () => {
        if (channel.follower !== follower) return
        channel.follower = undefined
        this.#released(channel)
      },
    }
  }

  /** A stalled disk delays appends, but not reads. */
  async probe(): Promise<void> {
    await within(STALLED_WRITE_MS, this.#open().do({ act: 'nothing', channel: undefined }))
  }

  /** Runs the periodic maintenance now: see upkeep.ts. */
  async tidy(): Promise<void> {
    await this.#upkeep?.run()
  }

  async close(): Promise<void> {
    const [writer, lock] = [this.#writer, this.#lock]
    this.#writer = this.#lock = undefined
    await this.#upkeep?.close()
    await writer?.close()
    for (const segment of this.#segments) segment.forget()
    for (const channel of this.#channels.values()) channel.follower = undefined
    this.#channels.clear()
    await lock?.release()
  }

  #open(): Writer {
    if (this.#writer === undefined) throw new LogUnavailable('the log is closed')
    return this.#writer
  }

  async #restore(): Promise<void> {
    const { retentionOf, idempotencyWindow, fsync, logger, beginsAnew } = this.#options
    const { segmentBytes = SEGMENT_BYTES, upkeepEvery: every } = this.#options
    const now = this.#now
    const folder = this.#folder
    const { channels, segments, next, loss, seed, leftOut, seal } = restore(folder, now(), idempotencyWindow)
    this.#channels = channels
    this.#segments = segments
    const writer = new Writer(
      {
        folder,
        fsync,
        idempotencyWindow,
        now,
        segmentBytes,
        logger,
        committed: changed => this.#committed(changed),
        sealed: segment => void segments.push(segment),
      },
      next,
      seed,
    )
    this.#writer = writer
    if (loss !== undefined) {
      logger.warn({ folder, leftOut }, `${loss}: events may have been lost; readers receive a gap`)
      const epoch = randomEpoch()
      await writer.beginEpoch(epoch)
      for (const channel of channels.values()) channel.begin(epoch)
    }
    // The next record of such a channel stores its epoch. Without one, no event is in that epoch.
    for (const channel of channels.values()) if (beginsAnew?.(channel.name)) channel.begin(randomEpoch())
    seal()
    this.#upkeep = new Upkeep({
      folder,
      channels,
      segments,
      writer,
      segmentBytes,
      retentionOf,
      idempotencyWindow,
      now,
      logger,
      every,
    })
  }

  #committed(channels: Iterable<FileChannel>): void {
    const now = this.#now()
    for (const channel of channels) {
      this.#unwritten.delete(channel)
      this.#trim(channel, now)
    }
  }

  /** Drops events that are no longer retained. If a table can't be read, `expire` drops them later. */
  #trim(channel: FileChannel, now: number): void {
    try {
      channel.trim(this.#options.retentionOf(channel.name), now)
    } catch (error) {
      if (performance.now() - this.#warnedAt < WARN_EVERY_MS) return
      this.#warnedAt = performance.now()
      const about = { err: error, channel: channel.name }
      this.#options.logger.warn(about, 'old events could not be dropped (logged once a minute)')
    }
  }

  /** Returns the channel with that name. Opens it if necessary. */
  #channel(name: string): FileChannel {
    const known = this.#channels.get(name)
    if (known !== undefined) {
      if (this.#unwritten.delete(known)) this.#unwritten.add(known)
      return known
    }
    const channel = new FileChannel(ownCopy(name), this.#open().epochOf(name), this.#now())
    this.#channels.set(channel.name, channel)
    this.#unwritten.add(channel)
    for (const other of this.#unwritten) {
      if (this.#unwritten.size <= MAX_UNWRITTEN) break
      this.#unwritten.delete(other)
      if (other.follower === undefined && other.pending === 0) this.#channels.delete(other.name)
    }
    return channel
  }

  /** Called when a use of the channel ends, during which it may have been left out of `#unwritten`. */
  #released(channel: FileChannel): void {
    const isKnown = this.#channels.get(channel.name) === channel
    if (isKnown && channel.stateIn === undefined) this.#unwritten.add(channel)
  }

  async #do(operation: Extract<Operation, { channel: FileChannel }>): Promise<Receipt[]> {
    try {
      return await this.#open().do(operation)
    } finally {
      this.#released(operation.channel)
    }
  }

  /** Like `#channel`, trimmed to its readable events. */
  #readable(name: string): FileChannel {
    const channel = this.#channel(name)
    this.#trim(channel, this.#now())
    return channel
  }

  /** Writes the channel's epoch, unless too many channels begin at once, or the disk does not accept it in time. */
  async #begin(channel: FileChannel): Promise<void> {
    if (channel.stateIn !== undefined || !this.#begins.take()) return
    try {
      await within(BEGIN_WAIT_MS, this.#do({ act: 'append', channel, drafts: [] }))
    } catch (error) {
      if (!(error instanceof AppendsRefused)) throw error
    }
  }

  async #events(channel: string, history: History, parts: readonly Part[]): Promise<LogEvent[]> {
    const stored = await readParts(parts)
    return stored.map(({ offset, time, type, tags, encoding, low, kind, data }) =>
      encodeEvent(
        { channel, epoch: epochOf(history, offset), offset, time, type, tags, encoding, low, kind },
        data,
      ),
    )
  }
}

/** Waits for a write. Raises AppendsRefused after `ms`; the write may succeed later. */
async function within(ms: number, written: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    const refuse = () => reject(new AppendsRefused('the disk is slow: a write takes too long', 'slow'))
    timer = setTimeout(refuse, ms)
  })
  await Promise.race([written, late]).finally(() => clearTimeout(timer))
}
