// A reader of `/v1/refresh`: parses the page's HTML, and follows its reload URL. A page shows earlier rows again, so
// the reader takes only gaps and rows marked as new. After a long outage, a page reports the number of new events that
// it does not show: the reader counts them as a gap.

import { setTimeout as sleep } from 'node:timers/promises'
import { parsePosition, printPosition } from '../../../services/broker/event/position.ts'
import type { Given } from '../account.ts'
import { type ReportedGap, Reader, Refused, textOf } from './reader.ts'

/** Events per page, the maximum that may be requested: more than arrive between two reloads. */
const LIMIT = 1000
const PATH = '/v1/refresh'

/** The contents of a page. */
interface Page {
  /** The events that are marked as new, oldest first. */
  readonly fresh: readonly Given[]
  readonly gaps: readonly ReportedGap[]
  /** Number of new events that the page does not show: the oldest ones. */
  readonly hidden: number
  /** The query of the URL to which the page reloads. */
  readonly again: string
  /** Seconds until the reload. */
  readonly every: number
}

export class RefreshReader extends Reader {
  /** The URL to which the last page reloads. */
  #again: string | undefined

  protected override async session(): Promise<undefined> {
    const { signal } = this
    while (!signal.aborted) {
      const answer = await this.get(this.#again ?? `${PATH}?${this.query()}&limit=${LIMIT}&every=1`)
      const body = await textOf(answer)
      const { refresh } = answer.headers
      // A browser reloads only a page with a Refresh header.
      if (answer.statusCode !== 200 && refresh === undefined) {
        throw new SyntaxError(`a page would stay at ${answer.statusCode} ${body} for ever`)
      }
      if (answer.statusCode !== 200) throw new Refused(answer.statusCode, body)
      const page = readPage(body, `${refresh}`)
      const cursor = new URLSearchParams(page.again).get('cursor') ?? ''
      if (!this.hasCursor) this.stands(this.before(page.fresh, cursor))
      this.#take(page, cursor)
      this.stands(cursor)
      this.#again = `${PATH}${page.again}`
      await sleep(page.every * 1000 * (0.5 + Math.random()), undefined, { signal })
    }
  }

  /** A page shows its gaps above its events: each gap applies at the position where it starts. */
  #take({ fresh, gaps, hidden }: Page, cursor: string): void {
    const left = [...gaps]
    let skipped = 0
    const skip = (channel: string, to: string) => {
      const missed = offsetOf(to) - offsetOf(this.cursorOf(channel))
      if (hidden === 0 || missed <= 0) return
      skipped += missed
      this.gap({ channel, from: this.cursorOf(channel), to })
    }
    /** Takes the gaps before a position, and skips the hidden events before it. */
    const reach = (channel: string, to: string) => {
      for (;;) {
        const from = this.cursorOf(channel)
        const next = left.find(gap => gap.channel === channel && (gap.from === from || !sameEpoch(from, to)))
        if (next === undefined) break
        left.splice(left.indexOf(next), 1)
        skip(channel, next.from)
        this.gap(next)
      }
      skip(channel, to)
    }
    for (const event of fresh) {
      const { epoch, offset } = parsePosition(event.id) ?? { epoch: '', offset: 1 }
      reach(event.channel, printPosition({ epoch, offset: offset - 1 }))
      this.event(event)
    }
    for (const [i, channel] of this.options.channels.entries()) reach(channel, cursor.split(',')[i] ?? '')
    for (const gap of left) this.gap(gap)
    if (skipped !== hidden)
      throw new SyntaxError(`${hidden} new events are not shown, but ${skipped} are missing`)
  }
}

/** Raises if the page is malformed. */
function readPage(html: string, refresh: string): Page {
  const [, every = '', again = ''] = /^(\d+); url=(\?.*)$/.exec(refresh) ?? []
  const meta = /<meta http-equiv="refresh" content="([^"]*)">/.exec(html)?.[1] ?? ''
  if (unescape(meta) !== refresh) throw new SyntaxError(`it reloads to ${meta} and to ${refresh}`)
  const several = new URLSearchParams(again).getAll('channel').length > 1
  const [only = ''] = new URLSearchParams(again).getAll('channel')
  const rows = html.match(/<li[^>]*>.*?<\/li>/gs) ?? []
  const fresh: Given[] = []
  let hidden = 0
  const gaps: ReportedGap[] = []
  for (const row of rows) {
    if (row.startsWith('<li class="new">')) fresh.push(readEvent(row))
    else if (row.startsWith('<li class="gap">')) gaps.push(readGap(row))
    else if (row.includes('not shown')) hidden = countOf(/>and ([\d,]+) more event/.exec(row))
  }
  const told = countOf(/<b>([\d,]+) new<\/b>/.exec(html))
  if (told !== fresh.length + hidden) {
    throw new SyntaxError(`${told} are announced as new, ${fresh.length} marked, ${hidden} not shown`)
  }
  if (!several && fresh.some(({ channel }) => channel !== only)) throw new SyntaxError('another channel')
  return { fresh: fresh.reverse(), gaps, hidden, again, every: Number(every) }
}

function readEvent(row: string): Given {
  const [, channel = '', id = ''] = /<a href="channels\/([^/]*)\/events\/([^"]*)">/.exec(row) ?? []
  const [, time = ''] = /<time datetime="([^"]*)">/.exec(row) ?? []
  const [, type] = /<i>([^<]*)<\/i>/.exec(row) ?? []
  const members = row.matchAll(/<dt>([^<]*)<\/dt><dd><div class="data( json)?">([^<]*)<\/div><\/dd>/g)
  const data = Object.fromEntries(
    [...members].map(([, name = '', json, text = '']) => {
      return [unescape(name), json === undefined ? unescape(text) : JSON.parse(unescape(text))]
    }),
  )
  return {
    channel: decodeURIComponent(channel),
    id,
    time: Date.parse(time),
    ...(type === undefined ? {} : { type: unescape(type) }),
    data: data as Given['data'],
  }
}

function readGap(row: string): ReportedGap {
  const told = />([^<]*): events after (\S+), up to (\S+), may be lost</.exec(row)
  if (told === null) throw new SyntaxError(`it received ${row}`)
  const [, channel = '', from = '', to = ''] = told
  return { channel: unescape(channel), from, to }
}

function countOf(found: RegExpExecArray | null): number {
  return Number((found?.[1] ?? '0').replaceAll(',', ''))
}

function offsetOf(position: string): number {
  return parsePosition(position)?.offset ?? 0
}

function sameEpoch(one: string, other: string): boolean {
  return parsePosition(one)?.epoch === parsePosition(other)?.epoch
}

function unescape(text: string): string {
  return text.replace(/&#(\d+);/g, (_, code) => String.fromCharCode(code))
}
