// Selections: which events of a channel a reader wants, whether only the newest ones, and how often.

import { allOf, type Filter } from '../event/filter.ts'
import type { LogEvent } from '../event/event.ts'
import type { Position } from '../event/position.ts'
import type { Page, PageLimit } from '../log/log.ts'

export interface SelectionParts {
  readonly filter?: Filter | undefined
  /** Select only the newest of the events with the same value: `type`, or `tag:<name>`. */
  readonly newest?: string | undefined
  /** The minimum time between two stretches, ms. */
  readonly every?: number | undefined
}

export interface Selection extends SelectionParts {
  /** Equal for equal selections. */
  readonly key: string
}

const TAG = 'tag:'

/** The selection with these parts; undefined if it has all events. */
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

/** Collects selected events out of consecutive ones, for one stretch or one answer. */
export class Gathering {
  readonly #selection: Selection
  readonly #limit: PageLimit
  /** The events in order, keyed by value if only the newest of each value is wanted, otherwise by themselves. */
  readonly #events = new Map<unknown, { readonly event: LogEvent; readonly skipped: number }>()
  #bytes = 0

  constructor(selection: Selection, limit: PageLimit) {
    this.#selection = selection
    this.#limit = limit
  }

  /** Takes the next event, or skips it. Returns false if there is no room for it. */
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

/** The event, with the number of older events of its value that were skipped. */
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
  /** The limit of the page. */
  readonly limit: PageLimit
  /** The page ends once this many events were read. */
  readonly scanned: number
}

/**
 * The page of selected events, which begins with those of `first`. Continues with `read` until the page is full or the
 * reach is exhausted.
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
    // The gap has to be reported before the events after it.
    if (next.gap !== undefined) return done
    page = next
  }
}
