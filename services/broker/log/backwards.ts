// Pages of a channel's history, backwards: finds the stretch of the log before a position.

import { type Gap, type Position, samePosition } from '../event/position.ts'
import type { LogEvent } from '../event/event.ts'
import { epochOf, floorOf, type History, headOf, place } from './history.ts'
import { type ChannelLog, type ChannelState, LogUnavailable } from './log.ts'

/** The newest events between two positions, both excluded. */
export interface Asked {
  /** `head`: up to and including the newest event. */
  readonly before: Position | 'head'
  readonly after: Position | 'earliest'
  readonly limit: number
}

export interface HistoryPage {
  /** Consecutive events of one epoch, in the log's order. */
  readonly events: readonly LogEvent[]
  /** Between older events and these, or around them. */
  readonly gaps: readonly Gap[]
  /** Where following continues, if the page reaches the head. */
  readonly cursor: Position | undefined
  /** The `before` of the previous page; undefined if nothing older was requested or is readable. */
  readonly before: Position | undefined
  /** Whether the page can never change: it is between two positions that the log knows. */
  readonly final: boolean
}

/** A stretch of the log. */
export interface Backwards extends Omit<HistoryPage, 'events' | 'before'> {
  /** Its events have the offsets after `begin`, up to `last`. */
  readonly begin: number
  readonly last: number
  /** Whether there are events before it. */
  readonly more: boolean
}

/** The history in a channel's state. */
function historyOf({ head, count, epochs }: ChannelState): History {
  return { epoch: head.epoch, ended: epochs, head: head.offset, floor: head.offset - count }
}

/** Where an epoch begins and ends; undefined if it is not remembered. */
function extentOf({ ended, epoch, head }: History, name: string): { begin: number; end: number } | undefined {
  const at = name === epoch ? ended.length : ended.findIndex(each => each.epoch === name)
  if (at === -1) return undefined
  return { begin: ended[at - 1]?.end ?? 0, end: ended[at]?.end ?? head }
}

/** The newest offset before a position, and the gap if the log does not know the position. */
function placeBefore(history: History, before: Position | 'head'): { last: number; gap?: Gap | undefined } {
  if (before === 'head') return { last: history.head }
  const extent = extentOf(history, before.epoch)
  if (extent === undefined) return { last: history.floor, gap: { from: before, to: floorOf(history) } }
  if (before.offset <= extent.end + 1) return { last: Math.max(history.floor, before.offset - 1) }
  return { last: Math.max(history.floor, extent.end), gap: place(history, before).gap }
}

/** Finds the stretch of a page backwards. A page holds events of one epoch only. */
export function placeBackwards(history: History, { before, after, limit }: Asked): Backwards {
  const { head, floor } = history
  const { last, gap: beyond } = placeBefore(history, before)
  const from = place(history, after)
  const oldest = Math.max(floor, from.start.offset)
  const epoch = epochOf(history, last)
  const begins = extentOf(history, epoch)?.begin ?? 0
  const begin = Math.min(last, Math.max(oldest, begins, last - limit))
  const more = begin > oldest
  const reachesHead = last === head && (before === 'head' || before.epoch === history.epoch)
  const gaps: Gap[] = []
  if (begin === oldest && from.gap !== undefined) gaps.push(from.gap)
  else if (more && begin === begins) {
    gaps.push({ from: { epoch: epochOf(history, begin), offset: begin }, to: { epoch, offset: begin } })
  }
  // Events that were lost at the end of the newest event's epoch.
  if (before === 'head' && last > floor && epoch !== history.epoch) {
    gaps.push({ from: { epoch, offset: last }, to: headOf(history) })
  }
  if (beyond !== undefined) gaps.push(beyond)
  const isKnown = before !== 'head' && before.offset <= (extentOf(history, before.epoch)?.end ?? 0)
  const ends = begin > floor || (after !== 'earliest' && samePosition(from.start, after))
  return {
    begin,
    last,
    more,
    gaps,
    cursor: reachesHead ? headOf(history) : undefined,
    final: isKnown && ends && gaps.length === 0,
  }
}

/** The maximum bytes of data in a page, unless its only event is larger. */
const PAGE_BYTES = 4 * 1024 * 1024
/** How often the log may change between the two reads of a page. */
const MAX_TRIES = 5

/** Reads a page backwards. Raises LogUnavailable. */
export async function readBackwards(log: ChannelLog, channel: string, asked: Asked): Promise<HistoryPage> {
  let { limit } = asked
  for (let tries = 0; tries < MAX_TRIES;) {
    const history = historyOf(await log.state(channel))
    const { begin, last, more, ...placed } = placeBackwards(history, { ...asked, limit })
    const count = last - begin
    if (count === 0) return { ...placed, events: [], before: undefined }
    const start = { epoch: epochOf(history, last), offset: begin }
    const page = await log.read(channel, start, { events: count, bytes: PAGE_BYTES })
    const { events } = page
    if (events.length === count && samePosition(page.start, start)) {
      const before = more ? { epoch: start.epoch, offset: begin + 1 } : undefined
      return { ...placed, events, before }
    }
    // If the page was too large, requests fewer events. Otherwise something was trimmed, erased or lost meanwhile.
    if (page.gap === undefined && count > 1) limit = Math.min(events.length, Math.floor(count / 2)) || 1
    else tries++
  }
  throw new LogUnavailable(`the history of ${channel} changes too fast to be read: try again`)
}
