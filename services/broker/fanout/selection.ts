// Selections: which events of a channel a reader wants, whether only the newest, and how often.

import { allOf, type Filter } from '../event/filter.ts'
import type { LogEvent } from '../event/event.ts'
import type { Position } from '../event/position.ts'
import type { Page, PageLimit } from '../log/log.ts'

export interface SelectionParts {
  readonly filter?: Filter | undefined
  /** Of the events with the same value, only the newest: `type`, or `tag:<name>`. */
  readonly newest?: string | undefined
  /** At most one stretch in that time, ms. */
  readonly every?: number | undefined
}

export interface Selection extends SelectionParts {
  /** Equal for equal selections. */
  readonly key: string
}

const TAG = 'tag:'

/** Undefined if everything is wanted. */
export function selectionOf({ filter, newest, every }: SelectionParts): Selection | undefined {
  if (filter === undefined && newest === undefined && every === undefined) return undefined
  return { filter, newest, every, key: `${every ?? ''} ${newest ?? ''} ${filter?.key ?? ''}` }
}

/** The selection, restricted to events that match the filter. */
export function narrowed(
  selection: Selection | undefined,
  filter: Filter | undefined,
): Selection | undefined {
  if (filter === undefined) return selection
  return selectionOf({ ...selection, filter: allOf([selection?.filter, filter]) })
}

/** Every reader receives the end of its channel. */
export function letsThrough(filter: Filter | undefined, event: LogEvent): boolean {
  return filter === undefined || event.kind === 'end' || filter.passes(event)
}

/** Collects from consecutive events, for one stretch or one answer. */
export class Gathering {
  readonly #selection: Selection
  readonly #limit: PageLimit
  /** By value if only the newest of each is wanted, otherwise by themselves. In the order of the events. */
  readonly #events = new Map<unknown, { readonly event: LogEvent; readonly skipped: number }>()
  #bytes = 0

  constructor(selection: Selection, limit: PageLimit) {
    this.#selection = selection
    this.#limit = limit
  }

  /** Takes the next event, or skips it. False: there is no room for it. */
  take(event: LogEvent): boolean {
    const { filter, newest } = this.#selection
    if (!letsThrough(filter, event)) return true
    const value = newest === undefined || event.kind === 'end' ? event : valueOf(event, newest)
    const older = this.#events.get(value)
    const bytes = this.#bytes + event.json.length - (older?.event.json.length ?? 0)
    const { size } = this.#events
    if (older !== undefined) this.#events.delete(value)
    else if (size > 0 && (size >= this.#limit.events || bytes > this.#limit.bytes)) return false
    this.#events.set(value, { event, skipped: older === undefined ? 0 : older.skipped + 1 })
    this.#bytes = bytes
    return true
  }

  get full(): boolean {
    return this.#events.size >= this.#limit.events || this.#bytes >= this.#limit.bytes
  }

  get events(): LogEvent[] {
    return Array.from(this.#events.values(), ({ event, skipped }) => withSkipped(event, skipped))
  }
}

/** Events without a type, or without the tag, share one value. */
function valueOf({ type, tags }: LogEvent, newest: string): string | undefined {
  return newest === 'type' ? type : tags?.get(newest.slice(TAG.length))
}

const DATA = '"data":'

/** The event, with a note that `skipped` older ones of its value were skipped. */
function withSkipped(event: LogEvent, skipped: number): LogEvent {
  if (skipped === 0) return event
  const { json } = event
  const member = Buffer.from(`"skipped":${skipped},`)
  const at = event.dataStart - DATA.length
  const parts = [json.subarray(0, at), member, json.subarray(at)]
  return { ...event, skipped, json: Buffer.concat(parts), dataStart: event.dataStart + member.length }
}

/** How much may be read for one page of a selection. */
export interface Reach {
  /** What the page may have. */
  readonly limit: PageLimit
  /** Once as many events were read, the page ends. */
  readonly scanned: number
}

/**
 * The page of what a selection takes after `first`. Continues with `read` until the page is full or the reach is
 * exhausted.
 */
export async function selectedPage(
  selection: Selection,
  first: Page,
  { limit, scanned }: Reach,
  read: (after: Position) => Promise<Page>,
): Promise<Page> {
  const gathering = new Gathering(selection, limit)
  let page = first
  for (let count = 0; ;) {
    const taken = page.events.findIndex(event => !gathering.take(event))
    if (taken !== -1) {
      const last = page.events[taken - 1]
      const cursor = last === undefined ? page.start : { epoch: last.epoch, offset: last.offset }
      return { ...first, events: gathering.events, cursor, more: true }
    }
    count += page.events.length
    const { cursor, more } = page
    const done = { ...first, events: gathering.events, cursor, more }
    if (!more || page.events.length === 0 || count >= scanned) return done
    if (selection.newest === undefined && gathering.full) return done
    const next = await read(cursor)
    // It is reported before what follows it.
    if (next.gap !== undefined) return done
    page = next
  }
}
