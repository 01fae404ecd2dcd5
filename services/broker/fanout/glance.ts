// Reads channels that nobody on this node follows. A single read leaves no state, so made-up names cost no memory. A
// channel that is read repeatedly is followed after a while, and then read from memory.

import { isPosition, type Position, type Start } from '../event/position.ts'
import { Allowance } from '../log/allowance.ts'
import type { ChannelLog, Page, PageLimit } from '../log/log.ts'
import { ownCopy } from '../event/names.ts'
import { dropOldest } from '../event/newest.ts'

/** A channel from which pages can be read. */
export interface Pages {
  readonly name: string
  /** The page after `start`. Raises LogUnavailable. */
  page(start: Start, limit: PageLimit): Promise<Page>
  /** Like `page`, always from the log. Raises LogUnavailable. */
  logged(start: Start, limit: PageLimit): Promise<Page>
  /** The position that a start means. Raises LogUnavailable. */
  resolve(start: Start): Promise<Position>
}

/** A channel that is not followed. */
export class Glance implements Pages {
  readonly name: string
  readonly #log: ChannelLog

  constructor(name: string, log: ChannelLog) {
    this.name = name
    this.#log = log
  }

  page(start: Start, limit: PageLimit): Promise<Page> {
    return this.logged(start, limit)
  }

  logged(start: Start, limit: PageLimit): Promise<Page> {
    return this.#log.read(this.name, start, limit, isPosition(start))
  }

  async resolve(start: Start): Promise<Position> {
    return isPosition(start) ? start : (await this.page(start, { events: 1, bytes: 1 })).start
  }
}

/** The maximum number of remembered names, and of channels that are followed per second. */
const REMEMBERED = 10_000
const FOLLOWED_A_SECOND = 100

/** The channels that were read recently. */
export class Glanced {
  readonly #within: number
  readonly #at = new Map<string, number>()
  readonly #followed = new Allowance(FOLLOWED_A_SECOND)

  /** A second read within `within` ms counts as repeated. */
  constructor(within: number) {
    this.#within = within
  }

  /** Notes a read of a channel. Returns true if it is read repeatedly and should be followed. */
  look(name: string): boolean {
    const now = performance.now()
    const before = this.#at.get(name)
    this.#at.delete(name)
    if (before !== undefined && now - before <= this.#within && this.#followed.take()) return true
    this.#at.set(ownCopy(name), now)
    dropOldest(this.#at, REMEMBERED)
    return false
  }
}
