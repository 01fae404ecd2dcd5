// A streaming client: one socket, its readers, and whether the socket takes more. It has no queue of its own: a
// connection whose socket is full is skipped until there is room, and then its readers catch up.

import type { Writable } from 'node:stream'
import type { LogEvent } from '../event/event.ts'
import { type Gap, type Position, printPosition } from '../event/position.ts'
import type { Channel, Fetched, Stretch } from './channel.ts'
import type { CloseReason, Framing } from './framing.ts'
import type { Hub, WireStats } from './hub.ts'
import { Reader, type Target } from './reader.ts'

/** The client's end, as a wire makes it. */
export interface Outlet {
  /** Takes the bytes: a net.Socket, an HTTP/2 stream, or whatever stands for one. */
  readonly sink: Writable
  /** What may be on its way through TLS or HTTP/2, which report a moment later than the kernel, bytes; else 0. */
  readonly underWay?: number
  /** What the kernel was given so far, where the sink does not know what it has left, bytes. */
  readonly given?: number
  /** Whether frames may still be written. */
  readonly open: boolean
  /** Queues the wire's goodbye behind what is queued, and ends. */
  end(reason: CloseReason): void
  /** Cuts at once. */
  cut(): void
  /** There is room again. */
  room?(): void
}

/** A connection may have this much queued in one flush over all its channels before it is skipped, bytes. */
const CORKED_MAX = 512 * 1024
/** Reads from the log for one connection at a time. */
const MAX_FETCHING = 16
const NOTHING = Buffer.alloc(0)

export class Connection implements Target {
  /** In the order of the connection's cursor. */
  readonly readers: Reader[] = []
  /** Changes with the transport where a wire has several. */
  framing: Framing
  readonly #hub: Hub
  readonly #outlet: Outlet
  readonly #stats: WireStats
  /** Since when the socket takes no more, ms since 1970; 0 while it does. */
  blockedSince = 0
  /** Bytes that the kernel had not taken when it was last looked at: a smaller number is progress. */
  backlog = 0
  /** When a goodbye was queued, ms since 1970. */
  #endedAt = 0
  #corked = false
  /** Reads from the log that are under way, those for readers that have left among them. */
  #fetching = 0
  /** When the first heartbeat went out that was not answered yet, ms since 1970; 0 where none waits. */
  unansweredSince = 0
  /** When it has to end, ms since 1970; 0: never. */
  lastsUntil = 0
  /** The heartbeat's place on the wheel. */
  spoke = 0

  constructor(hub: Hub, framing: Framing, outlet: Outlet) {
    this.#hub = hub
    this.framing = framing
    this.#outlet = outlet
    this.#stats = hub.wire(framing.wire)
    this.#stats.connections++
    hub.opened(this)
  }

  // Readers -------------------------------------------------------------------------------------------------

  /** Adds a reader and lets it catch up. The caller keeps its own hold on the channel. */
  join(channel: Channel, at: Position): Reader {
    const reader = new Reader(channel, this, at)
    this.readers.push(reader)
    channel.join(reader)
    this.#hub.catchUpSoon(this)
    return reader
  }

  /** Removes a reader: nothing of its channel is written after this. */
  leave(reader: Reader): void {
    const at = this.readers.indexOf(reader)
    if (at !== -1) this.readers.splice(at, 1)
    reader.channel.leave(reader)
  }

  /** Names of the channels that it reads. */
  get channels(): string[] {
    return this.readers.map(reader => reader.channel.name)
  }

  /** The connection's cursor, as a client resumes with it; `at` stands in for one reader. */
  cursor(reader?: Reader, at?: Position): string {
    return this.readers.map(each => printPosition(each === reader && at !== undefined ? at : each)).join(',')
  }

  /** Tells the client a gap, behind which the reader goes on. */
  skip(reader: Reader, gap: Gap, to = gap.to): void {
    reader.moveTo(to)
    this.#stats.gaps++
    this.write(this.framing.gap(reader.channel.name, gap, this.cursor()))
  }

  // Writing -------------------------------------------------------------------------------------------------

  wake(reader: Reader): void {
    if (this.blockedSince !== 0 || reader.fetching || this.#endedAt !== 0 || !this.#outlet.open) return
    const { recent } = reader.channel
    if (reader.epoch === recent.epoch) {
      const { head } = recent
      if (reader.offset === head || (reader.offset > head && reader.vouched)) return
      if (reader.offset >= recent.floor && reader.offset < head) {
        this.#advance(reader, head)
        return
      }
    }
    this.#fetch(reader)
  }

  /** Lets every reader have what it has not had. */
  catchUp(): void {
    for (const reader of this.readers) this.wake(reader)
  }

  /** Writes frames of the wire's own, such as an answer to a command. */
  write(bytes: Buffer): void {
    if (this.#endedAt !== 0 || !this.#outlet.open) return
    const { sink } = this.#outlet
    if (this.readers.length > 1 && !this.#corked) {
      // Several channels: one system call for all that a tick has for this socket.
      this.#corked = true
      sink.cork()
      this.#hub.corked(this)
    }
    sink.write(bytes)
    if (!this.#corked || sink.writableLength > CORKED_MAX) this.#look()
  }

  /** Sends what the tick has gathered. */
  uncork(): void {
    if (this.#corked) this.#look()
  }

  /** Sees whether the kernel took everything, and if not, waits for room. */
  #look(): void {
    const { sink } = this.#outlet
    if (this.#corked) {
      this.#corked = false
      sink.uncork()
    }
    // write() returns false above the high-water mark even when the kernel took it all, so ask what is left.
    if (sink.writableLength <= (this.#outlet.underWay ?? 0) || this.blockedSince !== 0) return
    // It was ended by somebody else since: nothing may be written behind that, and nothing comes any more.
    if (!this.#outlet.open) return
    this.blockedSince = Date.now()
    this.backlog = this.#outlet.given === undefined ? sink.writableLength : this.queued
    this.#hub.blocked.add(this)
    // 'drain' is not emitted for a small write that did not fit: the callback of an empty one behind it tells.
    sink.write(NOTHING, () => {
      this.#hub.blocked.delete(this)
      this.blockedSince = 0
      if (this.#endedAt !== 0 || !this.#outlet.open) return
      this.#outlet.room?.()
      this.#hub.catchUpSoon(this)
    })
  }

  #advance(reader: Reader, head: number): void {
    const stretch = this.#namesAllChannels
      ? this.#ownStretch(reader)
      : reader.channel.stretch(this.framing, reader.offset)
    reader.offset = stretch.to
    this.#stats.deliveries += stretch.count
    this.write(stretch.bytes)
    if (stretch.to < head && this.blockedSince === 0) this.#hub.catchUpSoon(this)
  }

  /** Each cursor names several channels, so stretches can not be shared. */
  get #namesAllChannels(): boolean {
    return this.readers.length > 1 && this.framing.cursorNamesAllChannels === true
  }

  /** A stretch whose cursors name all channels: encoded for this connection alone. */
  #ownStretch(reader: Reader): Stretch {
    const { from, to } = reader.channel.extent(reader.offset)
    const bytes = this.framing.stretch(reader.channel.recent.list, from, to, this.#cursorAfter(reader))
    return { bytes, count: to - from, to: reader.offset + to - from }
  }

  #cursorAfter(reader: Reader): (event: LogEvent) => string {
    return event => this.cursor(reader, event)
  }

  // Reading what memory does not hold -------------------------------------------------------------------------

  #fetch(reader: Reader): void {
    // It has its turn when one of them is answered.
    if (this.#fetching >= MAX_FETCHING) return
    this.#fetching++
    reader.fetching = true
    const { version } = reader.channel
    reader.channel.share({ epoch: reader.epoch, offset: reader.offset }).then(
      fetched => {
        reader.fetching = false
        this.#fetched()
        if (reader.slot === -1) return
        this.#deliver(reader, fetched)
        // What the feed brought meanwhile woke nobody who was waiting for the log.
        if (reader.channel.version !== version) this.#hub.catchUpSoon(this)
      },
      () => {
        this.#fetched()
        // The log is away: the client keeps its place, and the node asks again later.
        reader.channel.askLater(() => {
          reader.fetching = false
          if (reader.slot !== -1) this.#hub.catchUpSoon(this)
        })
      },
    )
  }

  #fetched(): void {
    if (this.#fetching-- === MAX_FETCHING) this.#hub.catchUpSoon(this)
  }

  #deliver(reader: Reader, fetched: Fetched): void {
    // A full socket: the reader keeps its cursor and asks again when there is room.
    if (this.blockedSince !== 0 || this.#endedAt !== 0 || !this.#outlet.open) return
    const { gap, start, events, cursor, more } = fetched.page
    reader.vouched = true
    if (gap !== undefined) this.skip(reader, gap, start)
    if (events.length > 0) {
      const bytes = this.#namesAllChannels
        ? this.framing.stretch(events, 0, events.length, this.#cursorAfter(reader))
        : fetched.frames(this.framing)
      reader.moveTo(cursor)
      this.#stats.deliveries += events.length
      this.write(bytes)
    }
    if (more || gap !== undefined || events.length > 0) this.#hub.catchUpSoon(this)
  }

  // The end ---------------------------------------------------------------------------------------------------

  get ended(): boolean {
    return this.#endedAt !== 0
  }

  /** Writes a heartbeat, unless bytes are under way anyway. */
  beat(): void {
    if (this.blockedSince !== 0 || this.#endedAt !== 0 || this.framing.heartbeat.length === 0) return
    if (this.framing.answered && this.unansweredSince === 0) this.unansweredSince = Date.now()
    this.write(this.framing.heartbeat)
  }

  /** Tells the client why, and ends. Cut a while later if it does not go by itself. */
  end(reason: CloseReason): void {
    if (this.#endedAt !== 0) return
    // What this tick has for the client goes first.
    this.catchUp()
    this.uncork()
    if (this.#outlet.open) this.#outlet.end(reason)
    this.#endedAt = Date.now()
    this.#hub.leaving.add(this)
  }

  /** Cuts a client that was told to go `patience` ms ago and is still there. */
  cutIfOverdue(now: number, patience: number): void {
    if (now - this.#endedAt >= patience) this.#outlet.cut()
  }

  cut(): void {
    this.#outlet.cut()
  }

  /** How much the kernel has not taken yet, bytes, up to a constant: a smaller number is progress. */
  get queued(): number {
    const { sink, given } = this.#outlet
    if (given !== undefined) return -given
    return queuedInKernel(sink) ?? sink.writableLength
  }

  /** The client is gone: lets go of everything. */
  closed(): void {
    for (const reader of this.readers.splice(0)) reader.channel.leave(reader)
    this.#stats.connections--
    this.#hub.closed(this)
  }
}

/** libuv's count of bytes that were handed to it and not yet taken by the kernel, where the sink has one. */
function queuedInKernel(sink: Writable): number | undefined {
  const handle = (sink as { _handle?: { writeQueueSize?: number } | null })._handle
  return handle?.writeQueueSize
}
