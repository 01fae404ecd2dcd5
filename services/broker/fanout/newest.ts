// The newest events of a channel, and which of them are new to a client that has a cursor.

import type { LogEvent } from '../event/event.ts'
import type { Gap, Position, Start } from '../event/position.ts'
import { LogUnavailable, type Page, type PageLimit } from '../log/log.ts'
import type { Pages } from './glance.ts'
import { ANSWER_BYTES, AT_A_TIME } from './collect.ts'
import { ConcurrencyLimit } from './concurrency-limit.ts'
import { Gathering, type Selection } from './selection.ts'

const ONE: PageLimit = { events: 1, bytes: 1 }
/** For selections: how many events to examine for each event shown, and the maximum. */
const SCANNED_FOR_ONE = 100
const MAX_SCANNED = 10_000

/** The newest events of a channel, and which of them a client has not seen. */
export interface News {
  /** In order. */
  readonly events: readonly LogEvent[]
  readonly head: Position
  /** Events with a greater offset are new. */
  readonly since: number
  /** The number of new events, also those that are not among `events`. */
  readonly fresh: number
  /** Between the start and the head, in order. */
  readonly gaps: readonly Gap[]
}

/**
 * The newest events, at most `limit` of at most `bytes` (but at least one), and which of them are after `start`. With a
 * selection, only those among the channel's last events. Raises LogUnavailable.
 */
export async function newest(
  channel: Pages,
  start: Start,
  limit: number,
  bytes = ANSWER_BYTES,
  selection?: Selection,
): Promise<News> {
  let asked = await channel.page(start === 'latest' ? { last: 1 } : start, ONE)
  // The channel has no events, and another read may find another epoch.
  if (asked.unbegun) {
    const gaps = asked.gap === undefined ? [] : [asked.gap]
    return { events: [], head: asked.start, since: 0, fresh: 0, gaps }
  }
  // Also tells how large the channel's events are, before more of them are read.
  const newest = start === 'latest' ? asked : await channel.page({ last: 1 }, ONE)
  const count = selection === undefined ? limit : Math.min(MAX_SCANNED, limit * SCANNED_FOR_ONE)
  const { events: last, head: known } = await lastEvents(channel, newest, { events: count, bytes })
  // The node may not know yet that its epoch has ended, and may hold events that the log has lost.
  if (asked.cursor.epoch !== known.epoch) asked = await channel.logged(start, ONE)
  // A client that was at another node may be ahead of this one: it does not go back.
  const isAhead = asked.start.epoch === known.epoch && asked.start.offset > known.offset
  const head = isAhead ? asked.start : known
  const gaps = await gapsUpTo(channel, asked, head)
  const from = start === 'latest' ? head : asked.start
  // An epoch may restart the offsets.
  const since = Math.min(from.offset, ...gaps.map(({ to }) => to.offset))
  if (selection === undefined)
    return { events: last, head, since, fresh: Math.max(0, head.offset - since), gaps }
  const gathering = new Gathering(selection, { events: count, bytes })
  for (const event of last) if (!gathering.take(event)) break
  const { events } = gathering
  const fresh = events.filter(({ offset }) => offset > since).length
  return { events: newestOf(events, { events: limit, bytes }), head, since, fresh, gaps }
}

/** The request for one of several channels. */
export interface Look {
  readonly channel: Pages
  readonly start: Start
  readonly selection: Selection | undefined
}

/**
 * The newest events of several channels, at most `limit` and ANSWER_BYTES in total. Older events are dropped before the
 * next channels are read. Raises LogUnavailable.
 */
export async function newestOfAll(looks: readonly Look[], limit: number): Promise<News[]> {
  const few = new ConcurrencyLimit(AT_A_TIME)
  const bytes = Math.floor(ANSWER_BYTES / looks.length)
  const kept = { events: limit, bytes: ANSWER_BYTES }
  const all: (News | undefined)[] = looks.map(() => undefined)
  let held = 0
  const look = async ({ channel, start, selection }: Look, i: number): Promise<void> => {
    const news = await newest(channel, start, limit, bytes, selection)
    all[i] = news
    held += bytesOf(news)
    if (held <= 2 * ANSWER_BYTES) return
    const shown = new Set(shownOf(all, kept).map(({ event }) => event))
    for (const [at, each] of all.entries())
      if (each !== undefined) all[at] = { ...each, events: each.events.filter(event => shown.has(event)) }
    held = all.reduce((sum, each) => sum + (each === undefined ? 0 : bytesOf(each)), 0)
  }
  await Promise.all(looks.map((each, i) => few.run(() => look(each, i))))
  return all as News[]
}

/** The newest events of several channels, oldest first, each with the index of its channel. */
export function shownOf(
  all: readonly (News | undefined)[],
  limit: PageLimit,
): { readonly event: LogEvent; readonly json: Buffer; readonly channel: number }[] {
  const found = all.flatMap((news, channel) =>
    (news?.events ?? []).map(event => ({ event, json: event.json, channel })),
  )
  found.sort((a, b) => a.event.time - b.event.time || a.event.offset - b.event.offset)
  return newestOf(found, limit)
}

function bytesOf({ events }: Pick<Page, 'events'>): number {
  return events.reduce((sum, { json }) => sum + json.length, 0)
}

/** The last events up to the end of the `newest` page, or up to a newer head. Reads few more than it returns. */
async function lastEvents(
  channel: Pages,
  newest: Page,
  limit: PageLimit,
): Promise<{ events: readonly LogEvent[]; head: Position }> {
  const known = newest.more ? await channel.resolve('latest') : newest.cursor
  if (known.offset === 0) return { events: [], head: known }
  // No other event fits beside it.
  const alone = limit.events === 1 || bytesOf(newest) >= limit.bytes
  if (alone && !newest.more && newest.events.length > 0) return { events: newest.events, head: known }
  for (let back = limit.events; ;) {
    let page = await pageAfter(channel, { epoch: known.epoch, offset: known.offset - back }, limit)
    let events: LogEvent[] = []
    let bytes = limit.bytes
    for (;;) {
      const { gap, cursor: head, more } = page
      // Memory may have held events that the log has lost.
      if (gap !== undefined) events = events.filter(({ offset }) => offset <= gap.to.offset)
      events.push(...page.events)
      for (const { json } of page.events) bytes -= json.length
      const reached = head.epoch === known.epoch && head.offset >= known.offset
      if (!more || reached) return { events: newestOf(events, limit), head }
      if (bytes <= 0 && back > 1) break
      page = await channel.page(head, { events: limit.events, bytes: Math.max(1, bytes) })
    }
    // The events are larger than expected: begins nearer to the head.
    back = Math.max(1, Math.min(Math.floor(back / 2), events.length))
  }
}

/** The page after the event at `offset`, in whichever epoch that is. */
async function pageAfter(channel: Pages, { epoch, offset }: Position, limit: PageLimit): Promise<Page> {
  for (let at = { epoch, offset: Math.max(0, offset) }; ;) {
    const page = await channel.page(at, limit)
    const { gap, start } = page
    if (gap === undefined || start.offset >= offset || start.epoch === at.epoch) return page
    // That epoch ended before `offset`: continues with the next one.
    at = { epoch: start.epoch, offset }
  }
}

/** The gaps between a page and the head: its own, and one for each epoch that ended since. */
async function gapsUpTo(channel: Pages, first: Page, head: Position): Promise<Gap[]> {
  const gaps = first.gap === undefined ? [] : [first.gap]
  for (let { epoch } = first.cursor; epoch !== head.epoch;) {
    // After the end of an epoch, a read returns the gap to the next one.
    const { gap } = await channel.logged({ epoch, offset: head.offset }, ONE)
    if (gap === undefined || gap.to.epoch === epoch) {
      throw new LogUnavailable(`the epoch of ${channel.name} changed meanwhile`)
    }
    gaps.push({ from: { epoch, offset: gap.to.offset }, to: gap.to })
    epoch = gap.to.epoch
  }
  return gaps
}

/** The newest of the events that fit the limit; the newest one always fits. */
function newestOf<E extends { readonly json: Buffer }>(events: readonly E[], limit: PageLimit): E[] {
  let bytes = 0
  let from = events.length
  while (from > 0 && events.length - from < limit.events) {
    bytes += (events[from - 1] as E).json.length
    if (bytes > limit.bytes && from < events.length) break
    from--
  }
  return events.slice(from)
}
