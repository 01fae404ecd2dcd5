// A reader: one client's cursor in one channel. It has no queue: the stretch of the log between its cursor and the head
// waits for it.

import type { Position } from '../event/position.ts'
import type { Channel, Member } from './channel.ts'
import { type Selection, selectionOf } from './selection.ts'
import type { Passing } from './passing.ts'
import type { Stretches } from './stretches.ts'
import type { Pace, Paced, View } from './view.ts'

/** The rights that a reader had in its channel when it began to read. */
export interface ReadGrant {
  /** The key of the grant's filter; undefined if it grants all events. */
  readonly filter: string | undefined
  /** Whether it also had the right to history. */
  readonly looksBack: boolean
}

/** A reader's connection: receives the news of the reader's channel. */
export interface ReaderOwner {
  /** The channel of `reader` has news. Called within a flush: synchronous, does not raise. */
  wake(reader: Reader): void
  /** The channel of `reader` has transient events. Synchronous, does not raise. */
  pass(reader: Reader, passing: Passing): void
}

export class Reader implements Position, Member {
  readonly channel: Channel
  epoch: string
  offset: number
  /** It has received all events after this offset that its selection takes, up to `offset`. */
  from: number
  slot = -1
  /** Whether it waits for a read from the log. */
  fetching = false
  /** Whether the log has confirmed this cursor, which may be ahead of the feed. */
  confirmed = false
  /** Its source in memory: the channel's stretches, or those of its view. */
  stretches: Stretches
  /** Undefined if it wants all events. */
  view: View | undefined
  /** The last offset that was reported to the client; only kept while it receives a selection. */
  reportedOffset: number
  /** Set by callers that may revoke the channel. */
  grant: ReadGrant | undefined
  /** Whether the client was notified that the channel has ended. */
  ended = false
  readonly #owner: ReaderOwner
  /** The view that it returns to when it has caught up; `false` if it has not left it. */
  #usual: View | undefined | false = false

  constructor(channel: Channel, owner: ReaderOwner, at: Position, view?: View) {
    this.channel = channel
    this.#owner = owner
    this.epoch = at.epoch
    this.offset = at.offset
    this.from = at.offset
    this.reportedOffset = at.offset
    this.view = view
    this.grant = undefined
    this.stretches = (view ?? channel).stretches
  }

  moveTo(position: Position): void {
    this.epoch = position.epoch
    this.offset = position.offset
  }

  /** Continues from a position, without the events before it. */
  beginAt(position: Position): void {
    this.moveTo(position)
    this.from = position.offset
  }

  get atHead(): boolean {
    const { epoch, head } = this.channel.recent
    return !this.fetching && this.epoch === epoch && this.offset >= head
  }

  wake(): void {
    this.#owner.wake(this)
  }

  pass(passing: Passing): void {
    this.#owner.pass(this, passing)
  }

  begun(): void {
    this.beginAt(this.channel.present(this))
  }

  /** Called when it is behind: until it has caught up, it receives only the newest event of each type. */
  skipToNewest(): void {
    const { channel, view } = this
    const filter = view?.selection.filter
    const selection = selectionOf({ filter, newest: view?.selection.newest ?? 'type' })
    if (this.#usual !== false || this.atHead || selection === undefined) return
    // Without room for another view, it receives all events.
    if (!channel.hasRoomFor(selection)) return
    if (view === undefined) this.reportedOffset = this.offset
    this.#usual = view
    this.view = channel.view(selection)
    this.stretches = this.view.stretches
  }

  /** Ends `skipToNewest` once it has caught up. */
  caughtUp(): void {
    if (this.#usual === false || !this.atHead) return
    if (this.view !== undefined) this.channel.letGoOf(this.view)
    this.view = this.#usual
    this.stretches = (this.view ?? this.channel).stretches
    this.#usual = false
    // As a slow reader, it may have missed events.
    this.from = this.offset
  }

  leave(): void {
    this.channel.leave(this)
    for (const view of [this.view, this.#usual]) if (view) this.channel.letGoOf(view)
    this.view = undefined
    this.#usual = false
  }
}

/** A reader that catches up when its turn comes. */
class PacedReader extends Reader implements Paced {
  readonly #pace: Pace
  /** Whether its turn has come, and it has not read everything yet. */
  #due = false

  constructor(channel: Channel, owner: ReaderOwner, at: Position, view: View, pace: Pace) {
    super(channel, owner, at, view)
    this.#pace = pace
    pace.readers.add(this)
  }

  turn(): void {
    this.#due = true
    this.wake()
    if (this.#pace.passing !== undefined) super.pass(this.#pace.passing)
  }

  override pass(passing: Passing): void {
    this.#pace.hold(passing)
  }

  override wake(): void {
    if (this.#due) {
      super.wake()
      this.#due = !this.atHead
    } else if (!this.atHead || (this.channel.ended && !this.ended)) this.#pace.news()
  }

  override leave(): void {
    this.#pace.readers.delete(this)
    super.leave()
  }
}

/** Creates a reader, which does not join the channel yet. Raises FW_TOO_MANY_FILTERS. */
export function createReader(
  channel: Channel,
  owner: ReaderOwner,
  at: Position,
  selection: Selection | undefined,
): Reader {
  const view = selection && channel.view(selection)
  return view?.pace === undefined
    ? new Reader(channel, owner, at, view)
    : new PacedReader(channel, owner, at, view, view.pace)
}
