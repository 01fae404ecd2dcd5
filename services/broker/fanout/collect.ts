// Collects the events after the cursors of several channels.

import type { LogEvent } from '../event/event.ts'
import { type Gap, isPosition, type Position, type Start } from '../event/position.ts'
import type { Page, PageLimit } from '../log/log.ts'
import type { Pages } from './glance.ts'
import { selectedPage, type Selection } from './selection.ts'
import { STRETCH } from './stretches.ts'

/** The answer to one request for several channels. */
export interface Answer {
  /** Sorted by time, and in order within each channel. */
  readonly events: readonly LogEvent[]
  readonly gaps: readonly { readonly channel: string; readonly gap: Gap }[]
  /** Where each channel's part begins. */
  readonly starts: readonly Position[]
  /** Where each channel's part ends: the cursor of the next request. */
  readonly cursors: readonly Position[]
  /** Whether there is more: the client may request the next page at once. */
  readonly more: boolean
  /** Ended channels whose end is reached. `fresh`: this answer reached it. */
  readonly ends: readonly { readonly channel: string; readonly at: Position; readonly fresh: boolean }[]
}

/** Bytes of data at which an answer is cut. */
export const ANSWER_BYTES = 4 * 1024 * 1024
/** How many channels of one answer are read at a time, since each page may have one large event. */
export const AT_A_TIME = 8
/** Events per channel in the first round, while their size is unknown; and the maximum bytes of later rounds. */
const FIRST = 16
const READ_BYTES = 2 * ANSWER_BYTES

/**
 * Collects at most `limit` events: each channel has an equal share, and channels with more events use what the others
 * leave. If there are more channels than `limit`, they take turns as the cursors advance. Raises LogUnavailable.
 */
export async function collect(
  channels: readonly Pages[],
  starts: readonly Start[],
  limit: number,
  selections: readonly (Selection | undefined)[] = [],
): Promise<Answer> {
  const share = Math.max(1, Math.floor(limit / channels.length))
  const bytes = Math.floor(ANSWER_BYTES / channels.length)
  const turn =
    starts.reduce((sum, start) => sum + (isPosition(start) ? start.offset : 0), 0) % channels.length
  const order = channels.map((_, i) => (turn + i) % channels.length)

  const budget = { events: limit, bytes: ANSWER_BYTES }
  const pages: Pick<Page, 'gap' | 'start'>[] = []
  const parts: Part[] = []
  // Keeps only the events that are taken. While events are large, few channels are read at a time.
  let [bytesRead, most] = [0, FIRST]
  for (let at = 0; at < order.length; at += most) {
    if (at > 0) most = Math.max(AT_A_TIME, Math.floor((READ_BYTES * at) / Math.max(1, bytesRead)))
    const some = order.slice(at, at + most)
    const read = await Promise.all(
      some.map(i =>
        pageOf(channels[i] as Pages, starts[i] as Start, { events: share, bytes }, selections[i]),
      ),
    )
    for (const [n, i] of some.entries()) {
      const page = read[n] as Page
      for (const { json } of page.events) bytesRead += json.length
      parts[i] = new Part(page, budget)
      pages[i] = { gap: page.gap, start: page.start }
    }
  }

  // One more round: channels with more events take what the others left.
  for (const i of order) {
    const part = parts[i] as Part
    if (budget.events === 0 || budget.bytes <= 0) break
    // A part that conflates events takes one page only.
    if (!part.hasNext || selections[i]?.newest !== undefined) continue
    const page = await pageOf(channels[i] as Pages, part.cursor, budget, selections[i])
    if (page.gap === undefined) part.take(page, budget)
  }

  const events = parts.flatMap(part => part.events)
  return {
    events: channels.length === 1 ? events : events.sort((a, b) => a.time - b.time),
    gaps: pages.flatMap(({ gap }, i) =>
      gap === undefined ? [] : [{ channel: channels[i]?.name ?? '', gap }],
    ),
    starts: pages.map(page => page.start),
    cursors: parts.map(part => part.cursor),
    more: parts.some(part => part.more),
    ends: parts.flatMap(({ ended, cursor }, i) => {
      const fresh = pages[i]?.start.offset !== cursor.offset
      return ended ? [{ channel: channels[i]?.name ?? '', at: cursor, fresh }] : []
    }),
  }
}

/** How many events of a channel one answer may examine. The client's next request continues after them. */
const SCANNED = 10_000

/** A page of a channel's selected events. Raises LogUnavailable. */
export async function pageOf(
  channel: Pages,
  start: Start,
  limit: PageLimit,
  selection: Selection | undefined,
): Promise<Page> {
  if (selection === undefined) return channel.page(start, limit)
  const read = (after: Start) => channel.page(after, STRETCH)
  return selectedPage(selection, await read(start), { limit, scanned: SCANNED }, read)
}

/** The space left in an answer. */
interface Budget {
  events: number
  bytes: number
}

/** One channel's part of an answer. */
class Part {
  readonly events: LogEvent[] = []
  cursor: Position
  more = false
  /** Whether the channel ends at `cursor`. */
  ended = false
  /** Whether there is a next page after `cursor`. */
  hasNext = false

  constructor(page: Page, budget: Budget) {
    this.cursor = page.start
    this.take(page, budget)
  }

  /** Takes the events of a page that fit. The first event of an answer always fits. */
  take(page: Page, budget: Budget): void {
    let taken = 0
    for (const event of page.events) {
      const { length } = event.json
      if (budget.events === 0 || (length > budget.bytes && budget.bytes < ANSWER_BYTES)) break
      this.cursor = { epoch: event.epoch, offset: event.offset }
      taken++
      if (event.kind === 'end') continue
      this.events.push(event)
      budget.events--
      budget.bytes -= length
    }
    if (taken === page.events.length) this.cursor = page.cursor
    this.more = page.more || taken < page.events.length
    this.hasNext = this.more && page.events.length > 0
    this.ended = !this.more && (page.ended === true || page.events.at(-1)?.kind === 'end')
  }
}
