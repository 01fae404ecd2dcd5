// Finds where a subscriber resumes. An update's id is its position, or a name that its publisher chose. Each node
// remembers the names in the part of the log that it has read.

import type { LogEvent } from '../../broker/event/event.ts'
import { parsePosition, type Position } from '../../broker/event/position.ts'
import { UPDATES, updateOf } from '../../broker/event/update.ts'
import type { Channel } from '../../broker/fanout/channel.ts'
import { glanceFor, openFor, type Opener } from '../open-for.ts'
import { idOf } from './framing.ts'
import { dropOldest } from '../../broker/event/newest.ts'

const PAGE = { events: 1000, bytes: 1024 * 1024 }
/** How many names a node remembers, the latest ones. */
const MOST_IDS = 100_000

export interface Beginning {
  readonly start: Position | 'earliest' | 'latest'
  /** Whether it may have missed updates after the one that it named. */
  readonly lost: boolean
  /** The id of the update before the first one that it receives; undefined if it does not resume. */
  readonly before: string | undefined
  /** The current head of the log. */
  readonly head: Position
}

/** The positions of updates with a publisher's name, up to where the log was read. */
export class Names {
  readonly #positions = new Map<string, Position>()
  #at: Position | 'earliest' = 'earliest'
  #reading: Promise<void> = Promise.resolve()

  /** The first update with that name in the log. Raises LogUnavailable. */
  async find(channel: Channel, name: string): Promise<Position | undefined> {
    const found = this.#positions.get(name)
    if (found !== undefined) return found
    this.#reading = this.#reading.catch(() => {}).then(() => this.#read(channel))
    await this.#reading
    return this.#positions.get(name)
  }

  async #read(channel: Channel): Promise<void> {
    for (;;) {
      const page = await channel.page(this.#at, PAGE)
      for (const event of page.events) this.#take(event)
      this.#at = page.cursor
      if (!page.more) return
    }
  }

  #take(event: LogEvent): void {
    const { id } = updateOf(event)
    if (id === undefined || this.#positions.has(id)) return
    this.#positions.set(id, { epoch: event.epoch, offset: event.offset })
    dropOldest(this.#positions, MOST_IDS)
  }
}

const WANTED = { channels: [UPDATES], starts: ['latest'] } as const

/** Raises LogUnavailable. */
export async function beginningOf(
  opener: Opener,
  names: Names,
  after: string | undefined,
): Promise<Beginning> {
  const beginnings = await openFor(opener, WANTED, channels =>
    Promise.all(channels.map(channel => beginningIn(channel, names, after))),
  )
  return beginnings[0] as Beginning
}

async function beginningIn(channel: Channel, names: Names, after: string | undefined): Promise<Beginning> {
  const head = await channel.settle('latest')
  if (after === undefined) return { start: head, lost: false, before: undefined, head }
  if (after === 'earliest') return { start: 'earliest', lost: false, before: 'earliest', head }
  const position = await positionOf(channel, names, after)
  const page = position && (await channel.page(position, { ...PAGE, events: 1 }))
  if (position === undefined || page?.gap !== undefined)
    return { start: 'earliest', lost: true, before: 'earliest', head }
  return { start: position, lost: false, before: after, head }
}

/** The position of the update with that id. A publisher's name does not begin with #, but it may look like a position. */
async function positionOf(channel: Channel, names: Names, id: string): Promise<Position | undefined> {
  if (id.startsWith('#')) return parsePosition(id.slice(1))
  return (await names.find(channel, id)) ?? parsePosition(id)
}

/** An id, encoded for a header. */
export function headerText(id: string): string {
  return id.replace(/[^\x21-\x7e]|"/gu, encodeURIComponent)
}

/** The id of the newest update. Raises LogUnavailable. */
export async function newestId(opener: Opener): Promise<string> {
  const limit = { ...PAGE, events: 1 }
  const pages = await glanceFor(opener, WANTED, channels =>
    Promise.all(channels.map(channel => channel.page({ last: 1 }, limit))),
  )
  const event = pages[0]?.events[0]
  return event === undefined ? 'earliest' : idOf(event)
}
