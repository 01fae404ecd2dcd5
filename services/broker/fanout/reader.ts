// A reader: one client's cursor in one channel. It has no queue: the stretch of the log between its cursor and the head
// waits for it.

import type { Position } from '../event/position.ts'
import type { Channel, Member } from './channel.ts'

/** The connection of a reader: takes what the reader's channel has for it. */
export interface ReaderOwner {
  /** The channel of `reader` has news. Called within a flush: synchronous, does not raise. */
  wake(reader: Reader): void
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
  readonly #owner: ReaderOwner

  constructor(channel: Channel, owner: ReaderOwner, at: Position) {
    this.channel = channel
    this.#owner = owner
    this.epoch = at.epoch
    this.offset = at.offset
  }

  moveTo(position: Position): void {
    this.epoch = position.epoch
    this.offset = position.offset
  }

  wake(): void {
    this.#owner.wake(this)
  }

  begun(): void {
    this.moveTo(this.channel.present(this))
  }
}
