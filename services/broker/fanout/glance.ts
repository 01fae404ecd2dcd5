// Looks at channels that nobody on this node follows. A look leaves nothing behind, whatever names strangers make up; a
// channel that is looked at again and again is followed after a while, and answers from memory.

import { isPosition, type Position, type Start } from '../event/position.ts'
import { Allowance } from '../log/allowance.ts'
import type { ChannelLog, Page, PageLimit } from '../log/log.ts'
import { dropOldest } from '../event/newest.ts'

/** A channel that can be asked for pages. */
export interface Pages {
  readonly name: string
  /** The page after `start`. Raises LogUnavailable. */
  page(start: Start, limit: PageLimit): Promise<Page>
  /** The same, from the log. Raises LogUnavailable. */
  logged(start: Start, limit: PageLimit): Promise<Page>
  /** The position that a start means. Raises LogUnavailable. */
  resolve(start: Start): Promise<Position>
}

/** One that is not followed. */
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

/** Names that are remembered, and how many of them are followed in a second. */
const REMEMBERED = 10_000
const FOLLOWED_A_SECOND = 100

/** The channels that were looked at lately. */
export class Glanced {
  readonly #within: number
  readonly #at = new Map<string, number>()
  readonly #followed = new Allowance(FOLLOWED_A_SECOND)

  /** `within`: ms in which the second look comes. */
  constructor(within: number) {
    this.#within = within
  }

  /** Notes a look at a channel. True: it is looked at often, and should be followed. */
  look(name: string): boolean {
    const now = performance.now()
    const before = this.#at.get(name)
    this.#at.delete(name)
    if (before !== undefined && now - before <= this.#within && this.#followed.take()) return true
    this.#at.set(name, now)
    dropOldest(this.#at, REMEMBERED)
    return false
  }
}
