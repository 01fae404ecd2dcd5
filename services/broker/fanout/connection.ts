// A streaming client: one socket, its readers, and whether the socket has room. It has no queue: a connection whose
// socket is full is skipped until there is room, and then its readers catch up.

import type { Writable } from 'node:stream'
import { jitter } from '../../backoff.ts'
import { endAt, type LogEvent } from '../event/event.ts'
import { type Gap, type Position, printPosition } from '../event/position.ts'
import type { Channel } from './channel.ts'
import type { CatchesUp, FlushLoop } from './flush-loop.ts'
import type { CloseReason, Framing } from './framing.ts'
import type { SharedPage } from './log-reads.ts'
import type { Passing } from './passing.ts'
import type { Plan } from './plan.ts'
import { createReader, type Reader, type ReadGrant } from './reader.ts'
import { createReplay, Replay, type ReplayOwner } from './replay.ts'
import type { Selection } from './selection.ts'
import { type Stretch, stretchOf } from './stretches.ts'
import type { WireCounters, WireStats } from './wire-stats.ts'

/** The client's end of a connection, as a wire implements it. */
export interface Outlet {
  /** Accepts the bytes: a net.Socket, an HTTP/2 stream, or a wire's equivalent. */
  readonly sink: Writable
  /** Bytes that may be in TLS or HTTP/2, which report a write later than the kernel accepts it. Default: 0. */
  readonly underWay?: number
  /** Bytes that the kernel has not accepted yet, plus a constant. If they shrink, there is progress. */
  readonly queued: number
  /** Whether frames may still be written. */
  readonly open: boolean
  /** Queues the wire's last message after the bytes that are queued, and ends. */
  end(reason: CloseReason): void
  /** Closes at once. */
  cut(): void
  /** Called when there is room again. */
  room?(): void
}

/** Is notified of the channels that a connection reads. */
export interface ChannelWatcher {
  joined(channel: string): void
  left(channel: string): void
}

/**
 * Sends bytes directly, bypassing the stream, if possible. 'sent': the kernel has accepted all of them; 'waits': it has
 * not, and later writes follow them; undefined: nothing was sent.
 */
export type SendNow = (sink: Writable, bytes: Buffer) => 'sent' | 'waits' | undefined

/** A connection's interface to all connections of its node. */
export interface ConnectionRegistry {
  /** Undefined if everything goes through the stream. */
  readonly sendNow: SendNow | undefined
  /** The treatment of a channel's slow readers. */
  slowOf(channel: string): 'catch-up' | 'newest' | 'close' | undefined
  readonly flushLoop: FlushLoop
  readonly wires: WireStats
  /** The time, ms, by which clients are judged. */
  readonly clock: { readonly now: number }
  opened(connection: Connection): void
  /** Called when a connection's socket is full. */
  blocked(connection: Connection): void
  unblocked(connection: Connection): void
  /** Called when a connection's last message is queued. */
  ending(connection: Connection): void
  closed(connection: Connection): void
}

/** The bytes that a connection may queue in one flush, over all its channels, before it is skipped. */
const MAX_CORKED_BYTES = 512 * 1024
/** Concurrent reads from the log for one connection. */
const MAX_FETCHING = 16
/** How long the socket of a slow reader may be full if a rule closes slow readers, ms. */
const CLOSE_SLOW_AFTER_MS = 2000
/** The number of unwanted events after which a client receives its position. */
export const REPORT_AFTER = 1000
const NOTHING = Buffer.alloc(0)

/** The reason to close a connection whose readers have reached the ends of their plans. */
export const UNTIL: CloseReason = { code: 1000, reason: 'until', retry: undefined }

export class Connection implements ReplayOwner, CatchesUp {
  /** In the order of the connection's cursor. */
  readonly readers: Reader[] = []
  /** Changes if the client changes between transports of the wire. */
  framing: Framing
  /** Its slot in the heartbeat wheel, set by the registry. */
  spoke = 0
  /** When it has to end, ms since 1970, set by the registry; 0: never. */
  endsAt = 0
  watcher: ChannelWatcher | undefined
  /** For wires that end a reader at a gap: called instead of reporting the gap. If it returns false, the reader continues. */
  gapped: ((reader: Reader) => boolean) | undefined
  /** Channels to which the client cannot resubscribe: if the grant of one lapses, the connection ends. */
  fixed: Set<string> | undefined
  readonly #registry: ConnectionRegistry
  readonly #outlet: Outlet
  readonly #counters: WireCounters
  /** Since when the socket is full, by the registry's clock; 0 while it has room. */
  #blockedSince = 0
  /** The queued bytes when the socket was last checked for progress. */
  #queuedBefore = 0
  /** Since when the client has been behind, by the registry's clock. */
  #behindSince = 0
  /** When the last message was queued, or the client closed before that, by the registry's clock. */
  #endedAt = 0
  /** Whether it ends once all its channels have ended. */
  endsWithChannels = false
  #corked = false
  /** Whether it ever had a reader with a selection. */
  #selects = false
  /** The number of reads from the log in flight, including those for readers that have left. */
  #fetching = 0
  /** Since when the client owes an answer to a heartbeat, by the registry's clock; 0 if all are answered. */
  #unansweredSince = 0

  constructor(registry: ConnectionRegistry, framing: Framing, outlet: Outlet) {
    this.#registry = registry
    this.framing = framing
    this.#outlet = outlet
    this.#counters = registry.wires.of(framing.wire)
    this.#counters.connections++
    registry.opened(this)
  }

  // Readers -------------------------------------------------------------------------------------------------

  /**
   * Adds a reader and lets it catch up. The connection takes a separate hold on the channel. Raises FW_TOO_MANY_FILTERS.
   */
  join(channel: Channel, at: Position, selection?: Selection, grant?: ReadGrant, plan?: Plan): Reader {
    const reader =
      plan === undefined
        ? createReader(channel, this, at, selection)
        : createReplay(channel, this, at, selection, plan)
    reader.grant = grant
    if (selection !== undefined) this.#selects = true
    this.readers.push(reader)
    channel.join(reader)
    this.watcher?.joined(channel.name)
    this.#catchUpSoon()
    return reader
  }

  /** Removes a reader. Nothing of its channel is written afterwards. */
  leave(reader: Reader): void {
    const at = this.readers.indexOf(reader)
    if (at !== -1) this.readers.splice(at, 1)
    reader.leave()
    this.fixed?.delete(reader.channel.name)
    this.watcher?.left(reader.channel.name)
  }

  /**
   * Removes a channel and reports why to the client. Returns false if that ended the connection, since it was the last
   * channel, the client could not resubscribe to it, or the wire can't report it.
   */
  drop(channel: string, reason: CloseReason): boolean {
    const reader = this.readerOf(channel)
    if (reader === undefined) return true
    const { dropped, mayHaveNone } = this.framing
    const isLast = this.readers.length === 1 && !mayHaveNone
    const isLost = reason.lapsed !== undefined && this.fixed?.has(channel)
    if (dropped === undefined || isLast || isLost) {
      this.end(reason)
      return false
    }
    this.leave(reader)
    this.write(dropped(channel, reader, reason))
    return true
  }

  /** The names of its channels. */
  get channels(): string[] {
    return this.readers.map(reader => reader.channel.name)
  }

  get wire(): string {
    return this.framing.wire
  }

  /** The reader of a channel. */
  readerOf(channel: string): Reader | undefined {
    return this.readers.find(each => each.channel.name === channel)
  }

  /** The position of a channel's reader. */
  positionIn(channel: string): Position | undefined {
    const reader = this.readerOf(channel)
    return reader && { epoch: reader.epoch, offset: reader.offset }
  }

  /** From where a channel's reader has received events, and whether it receives only a selection. */
  readIn(channel: string): { readonly from: Position; readonly selects: boolean } | undefined {
    const reader = this.readerOf(channel)
    return (
      reader && { from: { epoch: reader.epoch, offset: reader.from }, selects: reader.view !== undefined }
    )
  }

  /** The grant of a channel's reader. */
  grantIn(channel: string): ReadGrant | undefined {
    return this.readerOf(channel)?.grant
  }

  /** The cursor with which the client resumes, with `at` as the position of `reader`. */
  cursor(reader?: Reader, at?: Position): string {
    return this.readers.map(each => printPosition(each === reader && at !== undefined ? at : each)).join(',')
  }

  /** Reports a gap to the client; the reader continues from `to`. */
  skip(reader: Reader, gap: Gap, to = gap.to): void {
    reader.beginAt(to)
    reader.reportedOffset = to.offset
    // After the gap, the channel has another history.
    reader.ended = false
    this.#counters.gaps++
    if (this.gapped?.(reader)) return
    this.write(this.framing.gap(reader.channel.name, gap, this.cursor()))
  }

  // Writing -------------------------------------------------------------------------------------------------

  /** Whether the socket is full. */
  get blocked(): boolean {
    return this.#blockedSince !== 0
  }

  wake(reader: Reader): void {
    if (this.#blockedSince !== 0 || reader.fetching || this.#endedAt !== 0 || !this.#outlet.open) return
    const { recent } = reader.channel
    if (reader.epoch === recent.epoch) {
      const { head } = recent
      if (reader.offset === head || (reader.offset > head && reader.confirmed)) {
        if (reader.channel.ended && !reader.ended) this.#atEnd(reader, false)
        return
      }
      if (reader.offset >= recent.floor && reader.offset < head) {
        this.#advance(reader, head)
        return
      }
    }
    this.#fetch(reader)
  }

  catchUp(): void {
    for (const reader of this.readers) reader.wake()
  }

  /** Writes whole frames of the wire, such as the answer to a command. */
  write(bytes: Buffer): void {
    if (this.#endedAt !== 0 || !this.#outlet.open) return
    const { sink } = this.#outlet
    if (this.readers.length > 1 && !this.#corked) {
      // With several channels, sends everything of one slice with one system call.
      this.#corked = true
      sink.cork()
      this.#registry.flushLoop.uncorkSoon(this)
    }
    if (!this.#corked && this.#blockedSince === 0) {
      const sent = this.#registry.sendNow?.(sink, bytes)
      if (sent === 'sent') return
      if (sent === 'waits') return this.#waitForRoom(bytes.length)
    }
    sink.write(bytes)
    if (!this.#corked || sink.writableLength > MAX_CORKED_BYTES) this.#send()
  }

  uncork(): void {
    if (this.#corked) this.#send()
  }

  /** Uncorks the socket, and waits for room if the kernel did not take everything. */
  #send(): void {
    const { sink } = this.#outlet
    if (this.#corked) {
      this.#corked = false
      sink.uncork()
    }
    // write() returns false above the high-water mark even if the kernel accepted everything, so check the remaining
    // bytes.
    if (sink.writableLength <= (this.#outlet.underWay ?? 0) || this.#blockedSince !== 0) return
    // Closed elsewhere meanwhile: no write may follow.
    if (this.#outlet.open) this.#waitForRoom(sink.writableLength)
  }

  #waitForRoom(queued: number): void {
    this.#blockedSince = this.#behindSince = this.#registry.clock.now
    this.#queuedBefore = queued
    this.#registry.blocked(this)
    // 'drain' is not emitted for a small write that did not fit, but an empty write after it calls back.
    this.#outlet.sink.write(NOTHING, () => this.#unblocked())
  }

  #unblocked(): void {
    this.#registry.unblocked(this)
    this.#blockedSince = 0
    // The client may receive the heartbeat only now, after the data that filled the socket.
    if (this.#unansweredSince !== 0) this.#unansweredSince = this.#registry.clock.now
    if (this.#endedAt !== 0 || !this.#outlet.open) return
    this.#outlet.room?.()
    for (const reader of this.readers) {
      if (this.#registry.slowOf(reader.channel.name) === 'newest') reader.skipToNewest()
    }
    this.#catchUpSoon()
  }

  #advance(reader: Reader, head: number): void {
    const stretch = this.#namesAllChannels
      ? this.#ownStretch(reader)
      : reader.stretches.after(reader.offset, this.framing)
    reader.offset = stretch.to
    this.#counters.deliveries += stretch.count
    if (stretch.count > 0) this.write(stretch.bytes)
    if (reader.view !== undefined) this.#passed(reader, stretch.last)
    if (stretch.to < head && this.#blockedSince === 0) this.#catchUpSoon()
    else if (stretch.to === head && reader.channel.ended) this.#atEnd(reader, true)
  }

  /** Called when a reader is at the end of its channel. `reported`: the client has received the end's record. */
  #atEnd(reader: Reader, reported: boolean): void {
    reader.ended = true
    if (!reported) {
      const end = [endAt(reader.channel.name, reader)]
      this.write(
        this.framing.stretch(end, 0, 1, this.#namesAllChannels ? this.#cursorAfter(reader) : undefined),
      )
    }
    this.#endIfDone()
  }

  /** Ends the connection if every reader has reached the end of its channel, or of its plan. */
  #endIfDone(): void {
    const hasEnded = (reader: Reader) => this.endsWithChannels && reader.ended
    if (!this.readers.every(each => hasEnded(each) || (each instanceof Replay && each.isOver))) return
    this.end(this.readers.every(hasEnded) ? { code: 1000, reason: 'end', retry: jitter(60_000) } : UNTIL)
  }

  pass(reader: Reader, passing: Passing): void {
    // Earlier events go first. A client that has no room or is behind misses the transient ones.
    reader.wake()
    if (this.#blockedSince !== 0 || this.#endedAt !== 0 || !this.#outlet.open || !reader.atHead) return
    const { bytes, count } = passing.for(this.framing, reader.view?.selection.filter)
    if (count === 0) return
    this.#counters.deliveries += count
    this.write(bytes)
  }

  #catchUpSoon(): void {
    this.#registry.flushLoop.catchUpSoon(this)
  }

  /** Whether each cursor names several channels, so that stretches cannot be shared. */
  get #namesAllChannels(): boolean {
    return this.readers.length > 1 && this.framing.cursorNamesAllChannels === true
  }

  /** A stretch whose cursors name all channels, encoded for this connection alone. */
  #ownStretch(reader: Reader): Stretch {
    return stretchOf(reader.stretches.chosen(reader.offset), this.framing, this.#cursorAfter(reader))
  }

  /** The client has received the event at offset `last`, if any. Its selection has none between that and the reader. */
  #passed(reader: Reader, last: number): void {
    if (last > 0) reader.reportedOffset = last
    if (reader.offset - reader.reportedOffset >= REPORT_AFTER) this.#reportPosition(reader)
    reader.caughtUp()
  }

  /** Sends a reader's position, unless the client knows it. */
  #reportPosition(reader: Reader): void {
    if (reader.view === undefined || reader.reportedOffset === reader.offset) return
    reader.reportedOffset = reader.offset
    this.write(this.framing.passed(reader.channel.name, reader, this.cursor()))
  }

  // Readers with plans --------------------------------------------------------------------------------------

  deliver(reader: Reader, events: readonly LogEvent[], to: Position): void {
    const { length } = events
    reader.moveTo(to)
    this.#counters.deliveries += length
    const cursorAfter = this.#namesAllChannels ? this.#cursorAfter(reader) : undefined
    if (length > 0) this.write(this.framing.stretch(events, 0, length, cursorAfter))
    if (reader.view !== undefined) this.#passed(reader, events.at(-1)?.offset ?? 0)
  }

  finished(reader: Reader, plan: Plan): void {
    if (plan.ended !== undefined) plan.ended(reader)
    else this.#endIfDone()
  }

  #cursorAfter(reader: Reader): (event: LogEvent) => string {
    return event => this.cursor(reader, event)
  }

  // Reading from the log --------------------------------------------------------------------------------------

  #fetch(reader: Reader): void {
    // Beyond the limit, the reader waits until another read completes.
    if (this.#fetching >= MAX_FETCHING) return
    this.#fetching++
    reader.fetching = true
    const { version, reads } = reader.channel
    const at = { epoch: reader.epoch, offset: reader.offset }
    const page = reader.view === undefined ? reads.stretch(at) : reads.selected(at, reader.view.selection)
    page.then(
      read => {
        reader.fetching = false
        this.#fetched()
        if (reader.slot === -1) return
        this.#deliver(reader, read)
        // Events that arrived meanwhile did not wake readers that were waiting for the log.
        if (reader.channel.version !== version) this.#catchUpSoon()
      },
      () => {
        this.#fetched()
        // The log is unavailable: the reader keeps its cursor and retries later.
        reads.retryLater(() => {
          reader.fetching = false
          if (reader.slot !== -1) this.#catchUpSoon()
        })
      },
    )
  }

  #fetched(): void {
    if (this.#fetching-- === MAX_FETCHING) this.#catchUpSoon()
  }

  #deliver(reader: Reader, read: SharedPage): void {
    // If the socket is full, the reader keeps its cursor and retries when there is room.
    if (this.#blockedSince !== 0 || this.#endedAt !== 0 || !this.#outlet.open) return
    const { gap, start, events, cursor, more } = read.page
    reader.confirmed = true
    if (gap !== undefined) this.skip(reader, gap, start)
    if (reader.slot === -1) return
    if (events.length > 0) {
      const bytes = this.#namesAllChannels
        ? this.framing.stretch(events, 0, events.length, this.#cursorAfter(reader))
        : read.encoded(this.framing)
      reader.moveTo(cursor)
      this.#counters.deliveries += events.length
      this.write(bytes)
    }
    const moved = cursor.offset > start.offset
    if (reader.view !== undefined && moved) {
      reader.moveTo(cursor)
      this.#passed(reader, events.at(-1)?.offset ?? 0)
    }
    const endReported = events.at(-1)?.kind === 'end'
    if (endReported || (read.page.ended && !more)) this.#atEnd(reader, endReported)
    else if (more || gap !== undefined || moved) this.#catchUpSoon()
  }

  // Heartbeats and the end ------------------------------------------------------------------------------------

  /** Writes a heartbeat, unless the socket is full. */
  beat(): void {
    if (this.#blockedSince !== 0 || this.#endedAt !== 0) return
    if (this.#selects) for (const reader of this.readers) this.#reportPosition(reader)
    if (this.framing.heartbeat.length === 0) return
    if (this.framing.answered && this.#unansweredSince === 0) {
      this.#unansweredSince = this.#registry.clock.now
    }
    this.write(this.framing.heartbeat)
  }

  /** The client answered a heartbeat. */
  answered(): void {
    this.#unansweredSince = 0
  }

  /** Cuts a client that has not answered a heartbeat for `ms`, unless its socket is full. */
  cutIfSilent(now: number, ms: number): void {
    const since = this.#unansweredSince
    if (since !== 0 && now - since >= ms && this.#blockedSince === 0) this.cut()
  }

  /** Ends a connection whose client has accepted no data for `stall` ms. */
  endIfStalled(now: number, stall: number): void {
    const { queued } = this.#outlet
    if (now - this.#behindSince >= CLOSE_SLOW_AFTER_MS && this.#closesSlow) {
      this.end({ code: 4002, reason: 'the reader is too slow for its channel', retry: jitter(5000) })
    } else if (queued < this.#queuedBefore) {
      // The client is slow, but it reads.
      this.#queuedBefore = queued
      this.#blockedSince = now
    } else if (now - this.#blockedSince >= stall) {
      this.end({ code: 4001, reason: 'the client accepted no data for too long', retry: jitter(5000) })
    }
  }

  get #closesSlow(): boolean {
    return this.readers.some(({ channel }) => this.#registry.slowOf(channel.name) === 'close')
  }

  /** Whether its last message is queued, or its client is gone. */
  get ended(): boolean {
    return this.#endedAt !== 0
  }

  /** Sends the client the reason, and ends. The registry cuts a client that then does not close. */
  end(reason: CloseReason): void {
    if (this.#endedAt !== 0) return
    // Events of this slice go first.
    this.catchUp()
    this.uncork()
    // First, since an outlet may close at once.
    this.#registry.ending(this)
    if (this.#outlet.open) this.#outlet.end(reason)
    this.#endedAt = this.#registry.clock.now
  }

  /** Cuts a connection that ended `ms` ago. */
  cutIfOverdue(now: number, ms: number): void {
    if (now - this.#endedAt >= ms) this.cut()
  }

  cut(): void {
    this.#outlet.cut()
  }

  /** Called when the client is gone. */
  closed(): void {
    if (this.#endedAt === 0) this.#endedAt = this.#registry.clock.now
    for (const reader of this.readers.splice(0)) {
      reader.leave()
      this.watcher?.left(reader.channel.name)
    }
    this.#counters.connections--
    this.#registry.closed(this)
  }
}
