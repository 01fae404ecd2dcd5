// The channel log: the only interface between fanwire and its stored events. The engines are `memory.ts`, `file/` and
// `redis/`; `test/contract/log.ts` is the contract below as a suite that all must pass.

import type { Draft, LogEvent } from '../event/event.ts'
import { type Gap, type Position, printPosition, type Start } from '../event/position.ts'

/** How much of each channel is kept. An event is dropped as soon as any of the three is exceeded. */
export interface Retention {
  /** Events per channel, at least 1. */
  readonly events: number
  /** Age in ms by the log's clock. */
  readonly age: number
  /** Bytes of data per channel; the newest event stays even if it alone is larger. */
  readonly bytes: number
}

/** What is kept of each channel. */
export type RetentionOf = (channel: string) => Retention

/** `append`'s result for one event once the log holds it. */
export interface Receipt {
  readonly position: Position
  /** The log's clock, ms since 1970. */
  readonly time: number
  /** The idempotency key was known: this is the first result, and nothing was appended. */
  readonly replayed: boolean
}

/** A stretch of one channel's log. */
export interface Page {
  /** Precedes the events: the reader requested events that can't be read any more. */
  readonly gap: Gap | undefined
  /** Where the page begins: the requested position, what `earliest` or `latest` meant, or `gap.to`. */
  readonly start: Position
  /** In order, with consecutive offsets, all of one epoch: a page ends where an epoch ends. */
  readonly events: readonly LogEvent[]
  /** Where the page ends: the next read's `after`. */
  readonly cursor: Position
  /** There is more after `cursor`, either events or a gap. */
  readonly more: boolean
  /** The channel has ended, and so has the page: nothing comes after `cursor`. */
  readonly ended?: true
  /** The channel is empty, and the log has no record of its epoch: the cursor is valid only for a while. */
  readonly unbegun?: true
}

/** An epoch that ended: its last surviving offset. The next one continues from there. */
export interface EndedEpoch {
  readonly epoch: string
  readonly end: number
}

/** What a channel holds right now. */
export interface ChannelState {
  /** The newest position; `<epoch>-0` in a channel without events. */
  readonly head: Position
  /** The oldest readable event's position; undefined if none is readable. */
  readonly tail: Position | undefined
  /** Readable events. */
  readonly count: number
  /** Nothing can be appended any more. */
  readonly ended?: true
  /** Epochs that ended and are remembered, oldest first. */
  readonly epochs: readonly EndedEpoch[]
}

/** Receives one channel's live feed. The calls are synchronous and in order; they must not throw. */
export interface Follower {
  /**
   * Called once, before anything else: the feed begins after this position. `ended`: the channel has ended, so nothing
   * follows except possibly a gap, after which it has another history.
   */
  start(at: Position, ended?: boolean): void
  /**
   * The channel, of which the log had no record, has begun: its first event follows this position, which replaces the
   * last reported one.
   */
  begun(at: Position): void
  /** The events after the last reported position, without omissions or duplicates. Never empty, all of one epoch. */
  events(events: readonly LogEvent[]): void
  /** The events in between are no longer available; the feed continues after `gap.to`. `ended` as in `start`. */
  gap(gap: Gap, ended?: boolean): void
  /**
   * Some of the log's events were erased. Anything cached from the feed or from reads must be dropped and re-read when
   * needed. The position does not change.
   */
  forget(): void
  /** Transient events, after the events delivered so far. Never empty. */
  transient(events: readonly LogEvent[]): void
}

/** An open feed. `close` ends it at once: nothing is called after it. */
export interface Feed {
  /** Set as long as the log has no record of the channel. */
  readonly unbegun?: Unbegun | undefined
  close(): void
}

/** A feed of a channel of which the log has no record: neither an event nor an epoch. */
export interface Unbegun {
  /**
   * Called when a reader stays: the log records the channel's epoch, so that its position can be resumed anywhere. It
   * may refrain if too many channels begin at once: then a reader that resumes elsewhere receives a gap before the
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

/** Calls that failed in one way. */
export interface Failure {
  readonly operation: 'append' | 'read' | 'follow' | 'relay' | 'erase'
  /** See LogUnavailable. */
  readonly reason: string
  readonly count: number
}

/**
 * Every method that raises LogUnavailable also raises LogRefused if the log answers with a refusal that is not
 * temporary.
 */
export interface ChannelLog {
  /** `memory`, `file` or `redis`. */
  readonly engine: string
  /** Appends and reads that failed so far, for metrics; undefined if none can. */
  readonly failures?: Iterable<Failure>

  /**
   * Appends the drafts to one channel, in order and together, and returns once the log holds them, with one
   * receipt each. Offsets in a channel are consecutive. All of them fail together with LogUnavailable if the
   * log can't confirm that it holds them (it may: a repeat with the same idempotency key finds out). Calls for
   * one channel take effect in the order in which they were made.
   *
   * Nothing is appended, and it raises, if one of the drafts is new (its idempotency key is missing or unknown) and
   * the channel has ended (ChannelEnded), or its head differs from the first draft's `ifHead` (HeadMoved).
   */
  append(channel: string, drafts: readonly Draft[]): Promise<Receipt[]>

  /**
   * Reads what follows a position. A position that the log does not know (another epoch, beyond its end, fallen off
   * the tail) is a gap, never an error and never "nothing new":
   * - fallen off the tail, or in an epoch that is not remembered: `gap.to` is just before the tail;
   * - in an epoch that ended, at its end or beyond it: just before the next epoch's first event;
   * - beyond the head of the present epoch: the head.
   * `earliest`, `last` and `since` never give a gap for what was trimmed before.
   *
   * The log need not keep anything of a channel before its first event or its first long-lived reader (`stays`: this is
   * one; a reader that reconnects with a position is one, too). Until then reads find it at the beginning of a
   * provisional epoch, the same on all nodes for a while. A reader that reconnects with it misses nothing; one that
   * reconnects much later gets a gap, since events may have come and gone meanwhile. Raises LogUnavailable.
   */
  read(channel: string, after: Start, limit: PageLimit, stays?: boolean): Promise<Page>

  /**
   * Delivers events to the channel's present followers on all nodes, in the order of the calls, and after this
   * ChannelLog's earlier appends to the channel. Keeps nothing and guarantees nothing: a follower that misses them has
   * no way to read them. Returns their time. Raises LogUnavailable.
   */
  relay(channel: string, drafts: readonly Draft[]): Promise<number>

  /**
   * Erases an event's data: position, time and type remain, `null` replaces the data. Returns once the log no longer
   * holds the data; followers are notified (`forget`) within 1 s. False if there is no such event (any more); true also
   * if it was erased before. Raises LogUnavailable.
   */
  erase(channel: string, event: Position): Promise<boolean>

  /**
   * Erases all events of a channel, and its end. Results for idempotency keys stay known. If it had any content,
   * another epoch begins, and readers that continue receive a gap. Returns the head. Raises LogUnavailable.
   */
  clear(channel: string): Promise<Position>

  /** Head, tail and count. Raises LogUnavailable. */
  state(channel: string): Promise<ChannelState>

  /**
   * Follows a channel from its head on, for as long as the feed is open: when the connection behind it breaks, it fills
   * in from the log before it continues. At most one feed per channel is open on one ChannelLog. Returns after
   * `follower.start`; raises LogUnavailable if it can't be opened.
   */
  follow(channel: string, follower: Follower): Promise<Feed>

  /**
   * Sends an event of the node's own through the log and returns when it has arrived over every connection that carries
   * a feed: the proof that the log can deliver. Raises LogUnavailable if it does not arrive in time, and AppendsRefused
   * if it arrives but the log accepts no events. If part of the log is unavailable, `away` says which.
   */
  probe(): Promise<void>

  /**
   * Why the log can't deliver this channel at the moment although it delivers others: part of it is unavailable.
   * Otherwise its readers would see "nothing new" for as long as that lasts.
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

/** The head is not the one that the append required. */
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

/** The log can't be reached, or can't confirm in time that it holds an event. Temporary: try again later. */
export class LogUnavailable extends Error {
  override readonly name: string = 'LogUnavailable'
  /** The reason as one of a few words: `unreachable`, or the code of the log's reply, such as `OOM`. */
  readonly reason: string

  constructor(message: string, reason = 'unreachable') {
    super(message)
    this.reason = reason
  }
}

/** The log delivers and can be read, but accepts no events for now: it is full, or may not write. */
export class AppendsRefused extends LogUnavailable {
  override readonly name = 'AppendsRefused'
}

/** The log is reachable but can't be used: a version that is too old, or a wrong password. Permanent. */
export class LogRefused extends Error {
  override readonly name = 'LogRefused'
  /** As in LogUnavailable. */
  readonly reason: string

  constructor(message: string, reason = 'refused') {
    super(message)
    this.reason = reason
  }
}
