// Erases events from their channel, and their copies from the log of updates. If an event holds the state of a stream,
// the state is kept.

import { type Position, printPosition } from './event/position.ts'
import { eventIn, type Update, UPDATES, updateOf } from './event/update.ts'
import type { ChannelLog } from './log/log.ts'
import { keepState } from './streams/keep.ts'

const PAGE = { events: 1000, bytes: 1024 * 1024 }

export interface EraserParts {
  readonly log: Pick<ChannelLog, 'read' | 'append' | 'erase' | 'clear'>
  /** Whether the log of updates has copies of all events. */
  readonly keepsUpdates: boolean
}

export class Eraser {
  readonly #parts: EraserParts

  constructor(parts: EraserParts) {
    this.#parts = parts
  }

  /** Erases an event's data. Returns false if the event does not exist (any more). Raises LogUnavailable. */
  async erase(channel: string, event: Position): Promise<boolean> {
    const id = printPosition(event)
    await keepState(this.#parts.log, channel, event)
    const erased = await this.#parts.log.erase(channel, event)
    const copies = await this.#eraseCopies(update => eventIn(update, channel) === id)
    return erased || copies > 0
  }

  /** Erases all events of a channel. Returns its head. Raises LogUnavailable. */
  async clear(channel: string): Promise<Position> {
    const head = await this.#parts.log.clear(channel)
    // Events of the current epoch were published afterwards.
    const present = `${head.epoch}-`
    await this.#eraseCopies(update => eventIn(update, channel)?.startsWith(present) === false)
    return head
  }

  /** Erases copies in the log of updates. Returns their number. */
  async #eraseCopies(isCopy: (update: Update) => boolean): Promise<number> {
    const { log, keepsUpdates } = this.#parts
    if (!keepsUpdates) return 0
    let erased = 0
    let after: Position | 'earliest' = 'earliest'
    for (;;) {
      const { events, cursor, more } = await log.read(UPDATES, after, PAGE)
      for (const event of events) if (isCopy(updateOf(event)) && (await log.erase(UPDATES, event))) erased++
      if (!more) return erased
      after = cursor
    }
  }
}
