// A reader: one client's cursor in one channel. It has no queue: the stretch of the log between its cursor and the head
// waits for it.

import type { Position } from '../event/position.ts'
import type { Channel, Member } from './channel.ts'
import { type Selection, selectionOf } from './selection.ts'
import type { Passing } from './passing.ts'
import type { Stretches } from './stretches.ts'
import type { Pace, Paced, View } from './view.ts'

/** The part of a channel that a reader's grant let through when it began to read. */
export interface ReadGrant {
  /** The key of its filter; undefined: everything. */
  readonly filter: string | undefined
  /** It also had the right to history. */
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
  slot = -1
  /** Waits for a read from the log. */
  fetching = false
  /** The log has confirmed this cursor, so it may be ahead of what the node has seen. */
  confirmed = false
  /** Its source in memory: everything, or what its view selects. */
  stretches: Stretches
  /** Undefined: it wants everything. */
  view: View | undefined
  /** The last offset whose position the client knows; only kept while there is a view. */
  reportedOffset: number
  /** Set by the caller that may take the channel away from it. */
  grant: ReadGrant | undefined
  /** The client was notified that the channel has ended. */
  ended = false
  readonly #owner: ReaderOwner
  /** The selection that it returns to when it has caught up; `false`: it has not left it. */
  #usual: View | undefined | false = false

  constructor(channel: Channel, owner: ReaderOwner, at: Position, view?: View) {
    this.channel = channel
    this.#owner = owner
    this.epoch = at.epoch
    this.offset = at.offset
    this.reportedOffset = at.offset
    this.view = view
    this.grant = undefined
    this.stretches = (view ?? channel).stretches
  }

  moveTo(position: Position): void {
    this.epoch = position.epoch
    this.offset = position.offset
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
    this.moveTo(this.channel.present(this))
  }

  /** It is behind: of the events that wait for it, it now receives only the newest of each type. */
  skipToNewest(): void {
    const { channel, view } = this
    const filter = view?.selection.filter
    const selection = selectionOf({ filter, newest: view?.selection.newest ?? 'type' })
    if (this.#usual !== false || this.atHead || selection === undefined) return
    // Without room for one more view it receives all of them.
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
  }

  leave(): void {
    this.channel.leave(this)
    for (const view of [this.view, this.#usual]) if (view) this.channel.letGoOf(view)
    this.view = undefined
    this.#usual = false
  }
}

/** Catches up when its turn comes. */
class PacedReader extends Reader implements Paced {
  readonly #pace: Pace
  /** Its turn has come, and it has not read everything yet. */
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

/** Does not join the channel. Raises FW_TOO_MANY_FILTERS. */
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
