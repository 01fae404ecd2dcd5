// A feed is one channel read by a line, shared by all readers with the same options.

import type { FanwireError } from './errors.ts'
import { Joint } from './joint.ts'
import type { Env, Source } from './link.ts'
import { isPosition, reaches } from './position.ts'
import type { End, Event, Gap, ReadOptions } from './types.ts'

/** A feed's notifications. */
export type Item =
  | { readonly event: Event }
  | { readonly gap: Gap }
  | { readonly end: End }
  | { readonly at: string }
  | { readonly refused: FanwireError }

/** A reader of a feed. It keeps its own position. */
export interface Reader {
  /** The reader's position, or where it begins. */
  readonly cursor: string
  take(item: Item): void
}

/** A reader's position after an item; undefined if it is unchanged. */
export function positionAfter(item: Item): string | undefined {
  if ('event' in item) return item.event.id
  if ('gap' in item) return item.gap.to
  if ('at' in item) return item.at
  return 'end' in item ? item.end.id : undefined
}

/** Whether a reader at `cursor` has received an item. Reported positions do not count. */
export function isKnown(cursor: string, item: Item): boolean {
  const to = positionAfter(item)
  return to !== undefined && !('end' in item) && reaches(cursor, to)
}

/** The source of feeds: a line of this tab, or the leading tab. */
export interface Feeding {
  add(feed: Feed): void
  remove(feed: Feed): void
}

export class Feed implements Source {
  readonly channel: string
  readonly options: ReadOptions
  cursor: string
  readonly #env: Env
  readonly #from: Feeding
  readonly #emptied: () => void
  readonly #readers = new Map<Reader, Joint | undefined>()
  /** Readers that arrived before the feed's position was known. */
  readonly #early = new Set<Reader>()

  constructor(
    env: Env,
    from: Feeding,
    about: { readonly channel: string; readonly options: ReadOptions },
    emptied: () => void,
  ) {
    this.channel = about.channel
    this.options = about.options
    this.cursor = ''
    this.#env = env
    this.#from = from
    this.#emptied = emptied
  }

  join(reader: Reader): void {
    const first = this.#readers.size === 0
    this.#readers.set(reader, undefined)
    if (first) {
      this.cursor = reader.cursor
      this.#from.add(this)
    } else if (isPosition(this.cursor)) this.#joint(reader)
    else this.#early.add(reader)
  }

  leave(reader: Reader): void {
    this.#readers.get(reader)?.close()
    this.#early.delete(reader)
    if (!this.#readers.delete(reader) || this.#readers.size > 0) return
    this.#from.remove(this)
    this.#emptied()
  }

  #joint(reader: Reader): void {
    this.#readers.set(reader, new Joint(this.#env, this, reader, this.cursor))
  }

  opened(at: string): void {
    if (at !== this.cursor && !reaches(this.cursor, at)) this.#deliver({ at })
    if (!isPosition(this.cursor)) return
    for (const reader of this.#early) this.#joint(reader)
    this.#early.clear()
  }

  event(event: Event): void {
    this.#deliver({ event })
  }

  gap(gap: Gap): void {
    this.#deliver({ gap })
  }

  end(end: End): void {
    this.#deliver({ end })
  }

  refused(refused: FanwireError): void {
    this.#deliver({ refused })
  }

  #deliver(item: Item): void {
    if (isKnown(this.cursor, item)) return
    this.cursor = positionAfter(item) ?? this.cursor
    for (const [reader, joint] of [...this.#readers]) {
      if ('refused' in item || !this.#early.has(reader)) (joint ?? reader).take(item)
    }
  }
}
