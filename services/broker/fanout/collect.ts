// What request wires ask: "what is after my cursors?", once or until there is something.

import type { LogEvent } from '../event/event.ts'
import { LogUnavailable, type Page, type PageLimit } from '../log/log.ts'
import { type Gap, type Position, type Start } from '../event/position.ts'
import type { Channel, Gather } from './channel.ts'
import type { Held, Hub } from './hub.ts'
import { Reader, type Target } from './reader.ts'

/** One answer over several channels. */
export interface Answer {
  /** By time; within a channel in order. */
  readonly events: readonly LogEvent[]
  readonly gaps: readonly { readonly channel: string; readonly gap: Gap }[]
  /** Where each channel's part begins. */
  readonly starts: readonly Position[]
  /** Where each channel's part ends: the cursor of the next request. */
  readonly cursors: readonly Position[]
  /** There is more: ask again at once. */
  readonly more: boolean
}

/** An answer is cut before it holds more data than this, bytes. */
export const ANSWER_BYTES = 4 * 1024 * 1024
const ONE: PageLimit = { events: 1, bytes: 1 }

/**
 * At most `limit` events, shared fairly over the channels: each may have an equal part, and what one leaves
 * goes to the others. Where not each can have one, the turn moves on with the cursors. Raises LogUnavailable.
 */
export async function collect(
  channels: readonly Channel[],
  starts: readonly Start[],
  limit: number,
): Promise<Answer> {
  const share = Math.max(1, Math.floor(limit / channels.length))
  const bytes = Math.floor(ANSWER_BYTES / channels.length)
  const pages = await Promise.all(
    channels.map((channel, i) => channel.page(starts[i] as Start, { events: share, bytes })),
  )
  const turn = pages.reduce((sum, page) => sum + page.start.offset, 0) % channels.length
  const order = pages.map((_, i) => (turn + i) % channels.length)

  const budget = { events: limit, bytes: ANSWER_BYTES }
  const parts: Part[] = []
  for (const i of order) parts[i] = new Part(pages[i] as Page, budget)
  // One more round: what some left, to those who have more.
  for (const i of order) {
    const part = parts[i] as Part
    if (budget.events === 0 || budget.bytes <= 0) break
    if (!part.goesOn) continue
    const page = await (channels[i] as Channel).page(part.cursor, budget)
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
  }
}

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
  if (asked.cursor.epoch !== head.epoch) asked = (await channel.fetch(start, ONE)).page
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
    const { gap } = (await channel.fetch({ epoch, offset: head.offset }, ONE)).page
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

/** What an answer may still take. */
interface Budget {
  events: number
  bytes: number
}

/** One channel's part of an answer. */
class Part {
  readonly events: LogEvent[] = []
  cursor: Position
  more = false
  /** More of the same epoch can be had at once. */
  goesOn = false

  constructor(page: Page, budget: Budget) {
    this.cursor = page.start
    this.take(page, budget)
  }

  /** Takes what fits of a page. The first event of an answer always does. */
  take(page: Page, budget: Budget): void {
    let taken = 0
    for (const event of page.events) {
      const { length } = event.json
      if (budget.events === 0 || (length > budget.bytes && budget.bytes < ANSWER_BYTES)) break
      this.events.push(event)
      this.cursor = { epoch: event.epoch, offset: event.offset }
      budget.events--
      budget.bytes -= length
      taken++
    }
    this.more = page.more || taken < page.events.length
    this.goesOn = this.more && page.events.length > 0
  }
}

/** A long poll: collects as soon as there is something, or when its time is over. */
export class LongPoll implements Target, Held {
  readonly #hub: Hub
  readonly #channels: readonly Channel[]
  #released = false
  #wakeUp: (() => void) | undefined

  constructor(hub: Hub, channels: readonly Channel[]) {
    this.#hub = hub
    this.#channels = channels
  }

  /** Answers within `wait` ms. Raises LogUnavailable. */
  async answer(starts: readonly Start[], limit: number, wait: number): Promise<Answer> {
    const until = Date.now() + wait
    await Promise.all(this.#channels.map(channel => channel.begin()))
    let gatherUntil = Number.POSITIVE_INFINITY
    let from = starts
    for (;;) {
      const versions = this.#channels.map(channel => channel.version)
      const answer = await collect(this.#channels, from, limit)
      const now = Date.now()
      const found = answer.events.length > 0
      // One that is full gains nothing by waiting.
      const gathers = answer.events.length < limit ? gatherFor(answer.events, now, this.#hub.options.low) : 0
      if (found) gatherUntil = Math.min(gatherUntil, now + gathers)
      const end = found ? Math.min(until, gatherUntil) : until
      if (this.#released || answer.gaps.length > 0 || answer.more || end <= now) return answer
      from = answer.starts
      await this.#news(answer.starts, versions, end - now)
    }
  }

  /** Answers now, with what there is. */
  release(): void {
    this.#released = true
    this.#wakeUp?.()
  }

  wake(): void {
    this.#wakeUp?.()
  }

  /** Returns when a channel has news, or after `ms`. */
  async #news(at: readonly Position[], versions: readonly number[], ms: number): Promise<void> {
    const readers = this.#channels.map((channel, i) => new Reader(channel, this, at[i] as Position))
    for (const reader of readers) reader.channel.join(reader)
    this.#hub.held.add(this)
    let timer: NodeJS.Timeout | undefined
    const news = this.#channels.some((channel, i) => channel.version !== versions[i])
    if (!news && !this.#released) {
      await new Promise<void>(resolve => {
        this.#wakeUp = resolve
        timer = setTimeout(resolve, ms)
      })
    }
    clearTimeout(timer)
    this.#wakeUp = undefined
    this.#hub.held.delete(this)
    for (const reader of readers) reader.channel.leave(reader)
  }
}

/** How long a long poll that found these waits for more, ms: 0 unless all are low and few and young. */
function gatherFor(events: readonly LogEvent[], now: number, low: Gather): number {
  const oldest = events[0]
  if (oldest === undefined || events.length >= low.events || events.some(event => !event.low)) return 0
  const bytes = events.reduce((sum, event) => sum + event.bytes, 0)
  return bytes >= low.bytes ? 0 : Math.min(low.age, Math.max(0, oldest.time + low.age - now))
}
