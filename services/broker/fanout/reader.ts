// A reader: one client's cursor in one channel. It has no queue; what waits for it is the stretch of the log
// between its cursor and the head.

import type { Position } from '../event/position.ts'
import type { Channel } from './channel.ts'

/** Who is behind a reader, and takes what its channel has for it. */
export interface Target {
  /** The channel has news. Called within the flush: synchronous, never awaits, does not throw. */
  wake(reader: Reader): void
}

export class Reader implements Position {
  readonly channel: Channel
  readonly target: Target
  epoch: string
  offset: number
  /** Its place in the channel's list of readers; -1 once it has left. */
  slot = -1
  /** Waits for a read from the log. */
  fetching = false
  /** The log has vouched for this cursor, so it may stand ahead of what the node has seen. */
  vouched = false

  constructor(channel: Channel, target: Target, at: Position) {
    this.channel = channel
    this.target = target
    this.epoch = at.epoch
    this.offset = at.offset
  }

  moveTo(position: Position): void {
    this.epoch = position.epoch
    this.offset = position.offset
  }
}
