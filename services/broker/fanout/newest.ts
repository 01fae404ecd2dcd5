// The newest events of a channel, and which of them are new to a client that has a cursor.

import type { LogEvent } from '../event/event.ts'
import type { Gap, Position, Start } from '../event/position.ts'
import { LogUnavailable, type Page, type PageLimit } from '../log/log.ts'
import type { Channel } from './channel.ts'
import { ANSWER_BYTES } from './collect.ts'

const ONE: PageLimit = { events: 1, bytes: 1 }

/** The newest events of a channel, and what of it is news to somebody. */
export interface News {
  /** In order. */
  readonly events: readonly LogEvent[]
  readonly head: Position
  /** Events with a greater offset are news. */
  readonly since: number
  /** How many there are, also those that are not among `events`. */
  readonly fresh: number
  /** On the way to the head, in order. */
  readonly gaps: readonly Gap[]
}

/**
 * At most `limit` events of at most so many bytes, the newest (one in any case), and what lies after `start`. Raises
 * LogUnavailable.
 */
export async function newest(
  channel: Channel,
  start: Start,
  limit: number,
  bytes = ANSWER_BYTES,
): Promise<News> {
  let asked = await channel.page(start, ONE)
  // There is nothing, and a further look may find another epoch.
  if (asked.unbegun) {
    const gaps = asked.gap === undefined ? [] : [asked.gap]
    return { events: [], head: asked.start, since: 0, fresh: 0, gaps }
  }
  const known = start === 'latest' ? asked.start : await channel.resolve('latest')
  const { events, head } = await lastEvents(channel, known, { events: limit, bytes })
  // Memory may not have heard yet that its epoch has ended, and hold what the log has lost.
  if (asked.cursor.epoch !== head.epoch) asked = (await channel.reads.page(start, ONE)).page
  const gaps = await gapsUpTo(channel, asked, head)
  // An epoch that knows nothing of the one before begins anew.
  const since = Math.min(asked.start.offset, ...gaps.map(({ to }) => to.offset))
  return { events, head, since, fresh: Math.max(0, head.offset - since), gaps }
}

/** The last events up to `known`, or where the head is by then. Reads not much more than it gives. */
async function lastEvents(
  channel: Channel,
  known: Position,
  limit: PageLimit,
): Promise<{ events: readonly LogEvent[]; head: Position }> {
  if (known.offset === 0) return { events: [], head: known }
  for (let back = limit.events; ;) {
    let page = await pageAfter(channel, { epoch: known.epoch, offset: known.offset - back }, limit)
    let events: LogEvent[] = []
    let bytes = limit.bytes
    for (;;) {
      const { gap, cursor: head, more } = page
      // Memory may have held what the log has lost.
      if (gap !== undefined) events = events.filter(({ offset }) => offset <= gap.to.offset)
      events.push(...page.events)
      for (const { json } of page.events) bytes -= json.length
      const reached = head.epoch === known.epoch && head.offset >= known.offset
      if (!more || reached) return { events: newestOf(events, limit), head }
      if (bytes <= 0 && back > 1) break
      page = await channel.page(head, { events: limit.events, bytes: Math.max(1, bytes) })
    }
    // They are larger than was thought: from nearer to the head.
    back = Math.max(1, Math.min(Math.floor(back / 2), events.length))
  }
}

/** The page after the event at `offset`, whichever epoch that is of. */
async function pageAfter(channel: Channel, { epoch, offset }: Position, limit: PageLimit): Promise<Page> {
  for (let at = { epoch, offset: Math.max(0, offset) }; ;) {
    const page = await channel.page(at, limit)
    const { gap, start } = page
    if (gap === undefined || start.offset >= offset || start.epoch === at.epoch) return page
    // An epoch that begins later: the oldest one, or the next one, reaches up to there or tells what follows it.
    at = { epoch: start.epoch, offset }
  }
}

/** The gaps that a reader meets from a page on: there are further ones where epochs ended on its way to the head. */
async function gapsUpTo(channel: Channel, first: Page, head: Position): Promise<Gap[]> {
  const gaps = first.gap === undefined ? [] : [first.gap]
  for (let { epoch } = first.cursor; epoch !== head.epoch;) {
    // Beyond an epoch's end there is nothing but the gap.
    const { gap } = (await channel.reads.page({ epoch, offset: head.offset }, ONE)).page
    if (gap === undefined || gap.to.epoch === epoch) {
      throw new LogUnavailable(`the epoch of ${channel.name} has changed meanwhile`)
    }
    gaps.push({ from: { epoch, offset: gap.to.offset }, to: gap.to })
    epoch = gap.to.epoch
  }
  return gaps
}

/** What there is room for, from the newest back; that one always fits. */
export function newestOf<E extends { readonly json: Buffer }>(events: readonly E[], limit: PageLimit): E[] {
  let bytes = 0
  let from = events.length
  while (from > 0 && events.length - from < limit.events) {
    bytes += (events[from - 1] as E).json.length
    if (bytes > limit.bytes && from < events.length) break
    from--
  }
  return events.slice(from)
}
