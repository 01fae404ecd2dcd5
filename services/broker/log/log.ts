// The channel log: the one interface between fanwire and where its events are kept. The engines are `memory.ts`, `file/` and
// `redis/`; `test/contract/log.ts` is the contract below as a suite that all must pass.

import type { Draft, LogEvent } from '../event/event.ts'
import { type Gap, type Position, printPosition, type Start } from '../event/position.ts'

/** How much of each channel is kept. An event leaves as soon as any of the three is exceeded. */
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

/** What `append` says of one event once the log holds it. */
export interface Receipt {
  readonly position: Position
  /** The log's clock, ms since 1970. */
  readonly time: number
  /** The idempotency key was known: this is the first result, and nothing was appended. */
  readonly replayed: boolean
}

/** A stretch of one channel's log. */
export interface Page {
  /** Comes before the events: the reader asked for what can't be read any more. */
  readonly gap: Gap | undefined
  /** Where the page begins: the asked position, what `earliest` or `latest` stood for, or `gap.to`. */
  readonly start: Position
  /** In order, with consecutive offsets, all of one epoch: a page ends where an epoch ends. */
  readonly events: readonly LogEvent[]
  /** Where the page ends: the next read's `after`. */
  readonly cursor: Position
  /** There is more after `cursor`, be it events or a gap. */
  readonly more: boolean
  /** The channel has ended, and so has the page: nothing comes after `cursor`. */
  readonly ended?: true
  /** The channel has nothing, and the log has not written down its epoch: the cursor is good for a while only. */
  readonly unbegun?: true
}

/** An epoch that ended: its last surviving offset. The next one goes on from there. */
export interface EndedEpoch {
  readonly epoch: string
  readonly end: number
}

/** What a channel holds right now. */
export interface ChannelState {
  /** The newest position; `<epoch>-0` in a channel without events. */
  readonly head: Position
  /** The oldest readable event's position; undefined where none is readable. */
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
   * Called once, before anything else: the feed begins after this position. `ended`: the channel has, so nothing
   * comes, unless a gap does, behind which it has another history.
   */
  start(at: Position, ended?: boolean): void
  /**
   * The channel, of which the log had written nothing down, has begun: its first event follows this position, which
   * stands for the one that was told last.
   */
  begun(at: Position): void
  /** The events after the last position told, none left out, none twice. Never empty, all of one epoch. */
  events(events: readonly LogEvent[]): void
  /** What lay between could not be had any more; the feed goes on after `gap.to`. `ended` as in `start`. */
  gap(gap: Gap, ended?: boolean): void
  /**
   * Some of what the log holds was erased. Whoever keeps what was told, or was read, lets go of it, and reads it again
   * where it is needed. The position stays.
   */
  forget(): void
  /** Transient events, behind the events that were told so far. Never empty. */
  transient(events: readonly LogEvent[]): void
}

/** An open feed. `close` ends it at once: nothing is called after it. */
export interface Feed {
  /** While the log has written nothing down of the channel. */
  readonly unbegun?: Unbegun | undefined
  close(): void
}

/** A feed of a channel of which the log has written nothing down: no event, and no epoch. */
export interface Unbegun {
  /**
   * A reader stays: the log writes the channel's epoch down, so that its position can be resumed anywhere. It may let
   * that be, where too many channels are to begin: then the first event comes behind a gap for whoever resumes
   * elsewhere. Does not raise.
   */
  begin(): Promise<void>
  /** The log says that it holds an event at this position. */
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
 * Whatever raises LogUnavailable also raises LogRefused where the log answers with a refusal that does not pass by
 * itself.
 */
export interface ChannelLog {
  /** `memory`, `file` or `redis`. */
  readonly engine: string
  /** Appends and reads that failed so far, for metrics; undefined where none can. */
  readonly failures?: Iterable<Failure>

  /**
   * Appends the drafts to one channel, in order and together, and returns once the log holds them, with one
   * receipt each. Offsets in a channel are consecutive. All of them fail together with LogUnavailable when the
   * log can't say that it holds them (it may: a repeat with the same idempotency key finds out). Calls for
   * one channel take effect in the order in which they were made.
   *
   * Nothing is appended, and it raises, where one of the drafts is new (its idempotency key is none, or not known) and
   * the channel has ended (ChannelEnded), or its head is not what the first draft's `ifHead` says (HeadMoved).
   */
  append(channel: string, drafts: readonly Draft[]): Promise<Receipt[]>

  /**
   * What is after a position. A position that the log does not know (another epoch, beyond its end, fallen off
   * the tail) is a gap, never an error and never "nothing new":
   * - fallen off the tail, or of an epoch not remembered: `gap.to` is just before the tail;
   * - of an epoch that ended, at its end or beyond it: just before the next epoch's first event;
   * - beyond the head of the present epoch: the head.
   * `earliest`, `last` and `since` never give a gap for what was trimmed before.
   *
   * The log need not keep anything of a channel before its first event, or a reader that stays (`stays`: this is one;
   * a reader that comes back with a position is). Until then reads find it at the beginning of a provisional epoch, the
   * same on all nodes for a while. A reader that comes back with it misses nothing; one that comes back much later gets
   * a gap, since events may have come and gone meanwhile. Raises LogUnavailable.
   */
  read(channel: string, after: Start, limit: PageLimit, stays?: boolean): Promise<Page>

  /**
   * Brings events to whoever follows the channel now, wherever that is, in the order of the calls, and behind what was
   * appended to the channel before by this ChannelLog. Keeps nothing, and promises nothing: who does not hear of them
   * misses them. Returns the time that they were given. Raises LogUnavailable.
   */
  relay(channel: string, drafts: readonly Draft[]): Promise<number>

  /**
   * Erases an event's data: position, time and type stay, `null` is in place of the data. Returns once the log does not
   * hold it any more; followers are told to forget within 1 s. False where there is no such event (any more); true also
   * where it was erased before. Raises LogUnavailable.
   */
  erase(channel: string, event: Position): Promise<boolean>

  /**
   * Erases all events of a channel, and its end. What idempotency keys gave stays known. Where it had anything another
   * epoch begins, and whoever reads on is told a gap. Returns the head. Raises LogUnavailable.
   */
  clear(channel: string): Promise<Position>

  /** Head, tail and count. Raises LogUnavailable. */
  state(channel: string): Promise<ChannelState>

  /**
   * Follows a channel from its head on, for as long as the feed is open: when the connection behind it breaks
   * it fills in from the log before it goes on. At most one feed per channel is open on one ChannelLog.
   * Returns after `follower.start`; raises LogUnavailable when it can't be opened.
   */
  follow(channel: string, follower: Follower): Promise<Feed>

  /**
   * Sends an event of the node's own through the log and returns when it has come back over every connection
   * that carries a feed: the proof that the log can deliver. Raises LogUnavailable when it has not in time, and
   * AppendsRefused when it has, but the log takes no events. Where part of the log is away, `away` says which.
   */
  probe(): Promise<void>

  /**
   * Why the log can't deliver this channel just now although it delivers others, if so: part of it is away. Its readers
   * would be told "nothing new" for as long as that lasts.
   */
  away?(channel: string): LogUnavailable | undefined

  /** Connects. Raises LogUnavailable when the log can't be reached, LogRefused when it can't be used. */
  open(): Promise<void>

  /** Ends every feed and lets go of every connection and timer. */
  close(): Promise<void>
}

/** Nothing was appended: what was asked for does not go with where the channel is. */
export abstract class NotAppended extends Error {
  readonly head: Position

  constructor(message: string, head: Position) {
    super(message)
    this.head = head
  }
}

/** The head is not what the append was for. */
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

/** The log can't be reached, or can't say in time that it holds an event. Passes: try again later. */
export class LogUnavailable extends Error {
  override readonly name: string = 'LogUnavailable'
  /** Why, in a word, of which there are few: `unreachable`, or the code of what the log answered, such as `OOM`. */
  readonly reason: string

  constructor(message: string, reason = 'unreachable') {
    super(message)
    this.reason = reason
  }
}

/** The log delivers and can be read, but takes no events for now: it is full, or may not write. */
export class AppendsRefused extends LogUnavailable {
  override readonly name = 'AppendsRefused'
}

/** The log is there but can't be used as it is: too old a version, wrong password. Does not pass by itself. */
export class LogRefused extends Error {
  override readonly name = 'LogRefused'
  /** As in LogUnavailable. */
  readonly reason: string

  constructor(message: string, reason = 'refused') {
    super(message)
    this.reason = reason
  }
}
