// The channel log: the only interface between fanwire and its stored events. The engines are `memory.ts`, `file/` and
// `redis/`. All must pass `test/contract/log.ts`, which tests the contract below.

import type { Draft, LogEvent } from '../event/event.ts'
import { type Gap, type Position, printPosition, type Start } from '../event/position.ts'

/** How much of each channel is kept. Events are dropped as soon as one of the three limits is exceeded. */
export interface Retention {
  /** Events per channel, at least 1. */
  readonly events: number
  /** Age by the log's clock, ms. */
  readonly age: number
  /** Bytes of data per channel; the newest event stays even if it alone is larger. */
  readonly bytes: number
}

/** The retention of each channel. */
export type RetentionOf = (channel: string) => Retention

/** The result of `append` for one event. */
export interface Receipt {
  readonly position: Position
  /** The log's clock, ms since 1970. */
  readonly time: number
  /** Whether the idempotency key was known: this is the first result, and nothing was appended. */
  readonly replayed: boolean
}

/** A stretch of one channel's log. */
export interface Page {
  /** The gap before the events, if the reader requested events that are no longer readable. */
  readonly gap: Gap | undefined
  /** Where the page begins: the requested position, what `earliest` or `latest` meant, or `gap.to`. */
  readonly start: Position
  /** In order, with consecutive offsets, all of one epoch: a page ends where an epoch ends. */
  readonly events: readonly LogEvent[]
  /** Where the page ends: the next read's `after`. */
  readonly cursor: Position
  /** Whether there is more after `cursor`, either events or a gap. */
  readonly more: boolean
  /** Set if the channel has ended and nothing follows `cursor`. */
  readonly ended?: true
  /** Set if the channel is empty, and the log has no record of its epoch: the cursor is valid only for a while. */
  readonly unbegun?: true
}

/** An epoch that ended, and its last surviving offset, after which the next epoch begins. */
export interface EndedEpoch {
  readonly epoch: string
  readonly end: number
}

/** What a channel holds now. */
export interface ChannelState {
  /** The newest position; `<epoch>-0` in a channel without events. */
  readonly head: Position
  /** The oldest readable event's position; undefined if none is readable. */
  readonly tail: Position | undefined
  /** The number of readable events. */
  readonly count: number
  /** Set if the channel has ended: nothing can be appended. */
  readonly ended?: true
  /** The remembered ended epochs, oldest first. */
  readonly epochs: readonly EndedEpoch[]
}

/** Receives one channel's live feed. The calls are synchronous and in order; they must not throw. */
export interface Follower {
  /**
   * Called once, first: the feed begins after this position. If the channel has `ended`, nothing follows except possibly
   * a gap, after which it has another history.
   */
  start(at: Position, ended?: boolean): void
  /**
   * The channel, of which the log had no record, has begun. Its first event follows this position, which replaces the
   * last reported one.
   */
  begun(at: Position): void
  /** The events after the last reported position, all of one epoch, without omissions or duplicates. Never empty. */
  events(events: readonly LogEvent[]): void
  /** The events in between are no longer available; the feed continues after `gap.to`. `ended` as in `start`. */
  gap(gap: Gap, ended?: boolean): void
  /**
   * Events of the channel were erased. The follower has to drop cached events, and to read them again when needed. The
   * position does not change.
   */
  forget(): void
  /** Transient events, after the events delivered so far. Never empty. */
  transient(events: readonly LogEvent[]): void
}

/** An open feed. `close` ends it at once: nothing is called after it. */
export interface Feed {
  /** Set while the log has no record of the channel. */
  readonly unbegun?: Unbegun | undefined
  close(): void
}

/** A feed of a channel of which the log has no record: neither an event nor an epoch. */
export interface Unbegun {
  /**
   * Called when a reader stays: the log records the channel's epoch, so that the reader can resume on any node. If too
   * many channels begin at once, the log may skip this; then a reader that resumes elsewhere receives a gap before the
   * first event. Does not raise.
   */
  begin(): Promise<void>
  /** The log reported an event at this position. */
  heard(position: Position): void
}

/** Bounds of one page: it ends before it exceeds either, but always holds at least one event if there is one. */
export interface PageLimit {
  readonly events: number
  /** Bytes of data. */
  readonly bytes: number
}

/** The number of calls that failed for one reason. */
export interface Failure {
  readonly operation: 'append' | 'read' | 'follow' | 'relay' | 'erase'
  /** See LogUnavailable. */
  readonly reason: string
  readonly count: number
}

/** Every method that raises LogUnavailable also raises LogRefused if the log refuses the call permanently. */
export interface ChannelLog {
  /** `memory`, `file` or `redis`. */
  readonly engine: string
  /** The calls that failed so far, for metrics; undefined if none can fail. */
  readonly failures?: Iterable<Failure>

  /**
   * Appends the drafts to one channel, atomically and in order. Returns a receipt for each once the log holds them.
   * Offsets in a channel are consecutive. Calls for one channel take effect in the order in which they were made. Raises
   * LogUnavailable if the log can't confirm that it holds the events; it may hold them: a retry with the same idempotency
   * keys finds out.
   *
   * If one of the drafts is new (its idempotency key is missing or unknown), raises ChannelEnded if the channel has
   * ended, or HeadMoved if its head differs from the first draft's `ifHead`. Nothing is appended then.
   */
  append(channel: string, drafts: readonly Draft[]): Promise<Receipt[]>

  /**
   * Reads the events after a position. If the log does not know the position, the page begins with a gap, rather than
   * an error or an empty page. `gap.to` is:
   * - if the position is before the tail, or in an epoch that is not remembered: just before the tail;
   * - if it is in an ended epoch, at its end or beyond: just before the next epoch's first event;
   * - if it is beyond the head of the current epoch: the head.
   * `earliest`, `last` and `since` cause no gap for events that were trimmed before.
   *
   * The log need not keep a channel before its first event or its first long-lived reader (one that `stays`, or that
   * reconnects with a position). Until then the channel has a provisional epoch, the same on all nodes for a while. A
   * reader that reconnects with it misses nothing; one that reconnects much later receives a gap, since events may have
   * been appended and dropped meanwhile. Raises LogUnavailable.
   */
  read(channel: string, after: Start, limit: PageLimit, stays?: boolean): Promise<Page>

  /**
   * Delivers transient events to the channel's current followers on all nodes, in the order of the calls, and after this
   * ChannelLog's earlier appends to the channel. It stores nothing: a follower that misses the events can't read them.
   * Returns their time. Raises LogUnavailable, and ChannelEnded unless the engine would have to ask a server for that.
   */
  relay(channel: string, drafts: readonly Draft[]): Promise<number>

  /**
   * Erases an event's data and tags. Position, time and type remain, and the data becomes `null`. Returns once the log no
   * longer holds the data; followers are notified (`forget`) within 1 s. Returns false if the event does not exist (any
   * more), and true also if it was erased before. Raises LogUnavailable.
   */
  erase(channel: string, event: Position): Promise<boolean>

  /**
   * Erases all events of a channel, and its end. Results of idempotency keys remain. If the channel had any content,
   * another epoch begins, and its readers receive a gap. Returns the head. Raises LogUnavailable.
   */
  clear(channel: string): Promise<Position>

  /** Head, tail and count. Raises LogUnavailable. */
  state(channel: string): Promise<ChannelState>

  /**
   * Follows a channel from its head on until the feed is closed. After a broken connection, the feed reads what it missed
   * from the log before it continues. At most one feed per channel is open on one ChannelLog. Returns after
   * `follower.start`. Raises LogUnavailable if the feed can't be opened.
   */
  follow(channel: string, follower: Follower): Promise<Feed>

  /**
   * Proves that the log delivers: sends a probe event, and returns when it has arrived over every connection that carries
   * a feed. Raises LogUnavailable if it does not arrive in time, and AppendsRefused if it arrives but the log accepts no
   * appends. If only part of the log is unavailable, it returns, and `away` says which part.
   */
  probe(): Promise<void>

  /**
   * Why the log can't deliver this channel at the moment, if part of the log is unavailable. Without it, the channel's
   * readers would see "nothing new" meanwhile.
   */
  away?(channel: string): LogUnavailable | undefined

  /** Connects. Raises LogUnavailable if the log can't be reached, LogRefused if it can't be used. */
  open(): Promise<void>

  /** Ends every feed and releases every connection and timer. */
  close(): Promise<void>
}

/** Nothing was appended: the request conflicts with the channel's state. */
export abstract class NotAppended extends Error {
  readonly head: Position

  constructor(message: string, head: Position) {
    super(message)
    this.head = head
  }
}

/** The append required another head. */
export class HeadMoved extends NotAppended {
  override readonly name = 'HeadMoved'

  constructor(head: Position) {
    super(`the head of the channel is ${printPosition(head)}`, head)
  }
}

/** The channel has ended. */
export class ChannelEnded extends NotAppended {
  override readonly name = 'ChannelEnded'

  constructor(head: Position) {
    super('the channel has ended', head)
  }
}

/** The log can't be reached, or can't confirm in time that it holds an event. Temporary: retry later. */
export class LogUnavailable extends Error {
  override readonly name: string = 'LogUnavailable'
  /** A label for metrics: `unreachable`, or the code of the log's reply, such as `OOM`. */
  readonly reason: string

  constructor(message: string, reason = 'unreachable') {
    super(message)
    this.reason = reason
  }
}

/** The log can be read and delivers, but accepts no appends at the moment: it is full or read-only. */
export class AppendsRefused extends LogUnavailable {
  override readonly name = 'AppendsRefused'
}

/** The log is reachable but can't be used: its version is too old, or the password is wrong. Permanent. */
export class LogRefused extends Error {
  override readonly name = 'LogRefused'
  /** As in LogUnavailable. */
  readonly reason: string

  constructor(message: string, reason = 'refused') {
    super(message)
    this.reason = reason
  }
}
