// The contract of ChannelLog as a suite that every engine must pass. Its sentences are those of
// services/broker/log/log.ts and of docs/protocol.md#gaps and ARCHITECTURE.md#the-logs-promises.

import { setTimeout as delay } from 'node:timers/promises'
import fc from 'fast-check'
import type { Test } from 'tap'
import { dataOf as textOf, type Draft, type LogEvent } from '../../services/broker/event/event.ts'
import type {
  ChannelLog,
  Feed,
  Follower,
  Page,
  Receipt,
  Retention,
  RetentionOf,
} from '../../services/broker/log/log.ts'
import { readBackwards } from '../../services/broker/log/backwards.ts'
import { LogUnavailable } from '../../services/broker/log/log.ts'
import type { Gap, Position, Start } from '../../services/broker/event/position.ts'
import { printTags } from '../../services/broker/event/tags.ts'
import { printPosition } from '../../services/broker/event/position.ts'
import { until, WAIT_LIMIT_MS } from '../support/until.ts'

export interface LogSettings {
  readonly retention?: Partial<Retention>
  /** Replaces `retention`. */
  readonly retentionOf?: RetentionOf
  /** In ms. */
  readonly idempotencyWindow?: number
}

/** A separate, open log without channels; the suite closes it. */
export type MakeLog = (settings: LogSettings) => Promise<ChannelLog>

export const RETENTION: Retention = { events: 10_000, age: 3_600_000, bytes: 64 * 1024 * 1024 }
/** The retention of a log with these settings. */
export const retentionIn = ({ retention, retentionOf }: LogSettings): RetentionOf =>
  retentionOf ?? (() => ({ ...RETENTION, ...retention }))

export const ALL = { events: 100_000, bytes: Number.MAX_SAFE_INTEGER }

export function draft(value: unknown, more: Partial<Draft> = {}): Draft {
  return { data: Buffer.from(JSON.stringify(value)), ...more }
}

/** `count` drafts whose data are the numbers from `from` on. */
export function drafts(count: number, from = 1): Draft[] {
  return Array.from({ length: count }, (_, i) => draft(from + i))
}

export function dataOf(event: LogEvent): unknown {
  return JSON.parse(event.json.toString()).data
}

/** Everything after a position, page by page. */
export async function readAll(log: ChannelLog, channel: string, after: Start, limit = ALL): Promise<Page[]> {
  const pages: Page[] = []
  for (let at = after; ;) {
    const page = await log.read(channel, at, limit)
    pages.push(page)
    if (!page.more) return pages
    at = page.cursor
  }
}

/** A follower that records everything it receives, and detects at once when that breaks the contract. */
export class Recorder implements Follower {
  readonly received: (LogEvent | Gap)[] = []
  readonly faults: string[] = []
  started: Position | undefined
  at: Position | undefined
  feed: Feed | undefined
  calls = 0
  ended = false
  forgot = 0
  readonly passing: LogEvent[] = []
  #waiting: (() => void)[] = []

  start(at: Position, ended = false): void {
    this.ended = ended
    if (this.started !== undefined) this.faults.push('started twice')
    this.started = at
    this.at = at
  }

  begun(at: Position): void {
    if (this.at?.offset !== 0 || at.offset !== 0) this.faults.push(`begun at ${printPosition(at)}`)
    this.started = at
    this.at = at
    this.#wake()
  }

  events(events: readonly LogEvent[]): void {
    this.calls++
    if (events.length === 0) this.faults.push('received an empty batch')
    for (const event of events) {
      if (this.at === undefined) this.faults.push('received events before the start')
      else if (event.epoch !== this.at.epoch || event.offset !== this.at.offset + 1)
        this.faults.push(`${printPosition(event)} after ${printPosition(this.at)}`)
      this.at = { epoch: event.epoch, offset: event.offset }
      if (this.ended) this.faults.push(`${printPosition(event)} after the end`)
      this.ended = event.kind === 'end'
      this.received.push(event)
    }
    this.#wake()
  }

  forget(): void {
    this.forgot++
    this.#wake()
  }

  transient(events: readonly LogEvent[]): void {
    if (this.at === undefined || events.length === 0)
      this.faults.push('received transient events too soon, or an empty batch')
    this.passing.push(...events)
    this.#wake()
  }

  gap(gap: Gap, ended = false): void {
    this.ended = ended
    if (this.at === undefined || printPosition(gap.from) !== printPosition(this.at))
      this.faults.push(`a gap from ${printPosition(gap.from)} after ${this.at && printPosition(this.at)}`)
    this.at = gap.to
    this.received.push(gap)
    this.#wake()
  }

  get delivered(): LogEvent[] {
    return this.received.filter(each => 'json' in each)
  }

  get gaps(): Gap[] {
    return this.received.filter(each => 'from' in each)
  }

  /** Waits until it is at `position`. */
  async reaches(position: Position): Promise<void> {
    const isThere = () => this.at !== undefined && printPosition(this.at) === printPosition(position)
    await this.until(isThere, `it is at ${printPosition(position)}`)
  }

  /** Waits until `isSo` returns true. `what` describes the condition. */
  async until(isSo: () => boolean, what: string): Promise<void> {
    const end = performance.now() + WAIT_LIMIT_MS
    while (!isSo()) {
      const left = end - performance.now()
      if (left <= 0) {
        const at = this.at ? printPosition(this.at) : 'nowhere'
        throw new Error(`the feed is at ${at}: not ${what}`)
      }
      await new Promise<void>(resolve => {
        const timer = setTimeout(resolve, left)
        this.#waiting.push(() => {
          clearTimeout(timer)
          resolve()
        })
      })
    }
  }

  #wake(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const wake of waiting) wake()
  }
}

/** Follows a channel like a lasting reader. */
export async function record(log: ChannelLog, channel: string): Promise<Recorder> {
  const recorder = await glance(log, channel)
  await recorder.feed?.unbegun?.begin()
  return recorder
}

/** Follows a channel like a one-time reader. */
export async function glance(log: ChannelLog, channel: string): Promise<Recorder> {
  const recorder = new Recorder()
  recorder.feed = await log.follow(channel, recorder)
  return recorder
}

export async function append(log: ChannelLog, channel: string, more: readonly Draft[]): Promise<Position> {
  const receipts = await log.append(channel, more)
  const last = receipts.at(-1)
  if (last === undefined) throw new Error('no receipt')
  return last.position
}

export function logContract(t: Test, name: string, make: MakeLog): void {
  const withLog = (title: string, settings: LogSettings, body: (t: Test, log: ChannelLog) => Promise<void>) =>
    t.test(`${name}: ${title}`, async t => {
      const log = await make(settings)
      t.teardown(() => log.close())
      await body(t, log)
    })

  withLog('offsets are consecutive from 1, and a call gets one receipt per draft', {}, async (t, log) => {
    const first = await log.append('a', [draft('x')])
    const more = await log.append('a', drafts(3))
    t.same(await log.append('a', []), [])
    const all = [...first, ...more]
    t.same(
      all.map(each => each.position.offset),
      [1, 2, 3, 4],
    )
    t.equal(new Set(all.map(each => each.position.epoch)).size, 1)
    t.match(all[0]?.position.epoch, /^[a-z0-9]{1,16}$/)
    t.ok(all.every(each => !each.replayed && Math.abs(each.time - Date.now()) < 60_000))
    const other = await append(log, 'b', [draft(1)])
    t.equal(other.offset, 1, 'each channel has separate offsets')
    t.not(other.epoch, all[0]?.position.epoch)
  })

  withLog('calls take effect in the order in which they were made', {}, async (t, log) => {
    const calls = Array.from({ length: 300 }, (_, i) => log.append('a', drafts((i % 3) + 1, i * 10)))
    const receipts = (await Promise.all(calls)).flat()
    t.same(
      receipts.map(each => each.position.offset),
      receipts.map((_, i) => i + 1),
    )
    const [page] = await readAll(log, 'a', 'earliest')
    const sent = calls.flatMap((_, i) => drafts((i % 3) + 1, i * 10))
    t.same(
      page?.events.map(dataOf),
      sent.map(each => JSON.parse(each.data.toString())),
    )
  })

  withLog('a read returns the events after a position', {}, async (t, log) => {
    const { epoch } = await append(log, 'a', drafts(10))
    for (let offset = 0; offset <= 10; offset++) {
      const page = await log.read('a', { epoch, offset }, ALL)
      t.equal(page.gap, undefined)
      t.same(page.start, { epoch, offset })
      t.same(
        page.events.map(dataOf),
        drafts(10 - offset, offset + 1).map(each => JSON.parse(`${each.data}`)),
      )
      t.same(page.cursor, { epoch, offset: 10 })
      t.equal(page.more, false)
    }
  })

  withLog('a page is limited in events and bytes, and has at least one event', {}, async (t, log) => {
    const sizes = [5, 1, 40, 2, 2, 2, 100, 3]
    const { epoch } = await append(
      log,
      'a',
      sizes.map(size => draft('x'.repeat(Math.max(0, size - 2)))),
    )
    const bytes = sizes.map(size => Math.max(2, size))
    const expected = (at: number, limit: { events: number; bytes: number }) => {
      let count = 0
      let sum = 0
      while (at + count < bytes.length && count < limit.events) {
        sum += bytes[at + count] ?? 0
        if (sum > limit.bytes && count > 0) break
        count++
      }
      return count
    }
    for (const limit of [1, 2, 3, 5, 8, 100].flatMap(events =>
      [1, 2, 5, 6, 7, 46, 47, 48, 60, 1000].map(bytes => ({ events, bytes })),
    )) {
      let at = 0
      for (const page of await readAll(log, 'a', 'earliest', limit)) {
        const count = expected(at, limit)
        if (page.events.length !== count) t.equal(page.events.length, count, `${at} ${JSON.stringify(limit)}`)
        at += count
        t.same(page.cursor, { epoch, offset: at })
        t.equal(page.more, at < sizes.length)
      }
      t.equal(at, sizes.length)
    }
  })

  withLog('an unknown position is a gap', { retention: { events: 5 } }, async (t, log) => {
    const { epoch } = await append(log, 'a', drafts(12))
    const gapOf = async (from: Position) => {
      const page = await log.read('a', from, ALL)
      t.same(page.gap?.from, from)
      t.same(page.start, page.gap?.to)
      return [printPosition(page.start).replace(epoch, 'e'), page.events.length]
    }
    t.same(await gapOf({ epoch, offset: 6 }), ['e-7', 5], 'fallen off')
    t.same(await gapOf({ epoch, offset: 0 }), ['e-7', 5], 'fallen off')
    t.same(await gapOf({ epoch, offset: 13 }), ['e-12', 0], 'beyond the head')
    t.same(await gapOf({ epoch, offset: Number.MAX_SAFE_INTEGER }), ['e-12', 0], 'beyond the head')
    t.same(await gapOf({ epoch: 'other', offset: 9 }), ['e-7', 5], 'another epoch')
    t.same(await gapOf({ epoch: `${epoch}x`.slice(-16), offset: 12 }), ['e-7', 5], 'another epoch')
    const page = await log.read('a', { epoch, offset: 7 }, ALL)
    t.equal(page.gap, undefined, 'just before the tail')
    t.equal(page.events.length, 5)
    for (const start of ['earliest', 'latest'] as const) {
      const page = await log.read('a', start, ALL)
      t.equal(page.gap, undefined)
      t.equal(page.events.length, start === 'earliest' ? 5 : 0)
      t.same(page.start, { epoch, offset: start === 'earliest' ? 7 : 12 })
    }
  })

  withLog(
    'backward pages contain each event once while events are appended and trimmed',
    { retention: { events: 30 } },
    async (t, log) => {
      const { epoch } = await append(log, 'a', drafts(25))
      const read = (before: Position | 'head', limit = 10) =>
        readBackwards(log, 'a', { before, after: 'earliest', limit })
      const seen: unknown[] = []
      const first = await read('head')
      t.same([first.cursor, first.final, first.gaps], [{ epoch, offset: 25 }, false, []])
      for (let page = first; ;) {
        seen.unshift(...page.events.map(dataOf))
        if (page.before === undefined) break
        await append(log, 'a', drafts(4, 100))
        page = await read(page.before)
        t.notHas(page, { cursor: {} })
      }
      t.same(
        seen,
        Array.from({ length: 22 }, (_, i) => i + 4),
        'all except the events trimmed meanwhile',
      )
      const final = await read({ epoch, offset: 20 }, 5)
      t.same([final.final, final.events.map(dataOf)], [true, [15, 16, 17, 18, 19]])
      const between = { before: { epoch, offset: 20 }, after: { epoch, offset: 17 }, limit: 100 }
      t.same((await readBackwards(log, 'a', between)).events.map(dataOf), [18, 19])
      const unknown = { epoch: 'unknown', offset: 3 }
      t.match(await read(unknown), { events: [], before: undefined, gaps: [{ from: unknown }], final: false })
      t.match(await readBackwards(log, 'empty', { before: 'head', after: 'earliest', limit: 1 }), {
        events: [],
        before: undefined,
        gaps: [],
        cursor: { offset: 0 },
      })
      const large = Array.from({ length: 9 }, () => draft('x'.repeat(1 << 20)))
      await append(log, 'large', large)
      const page = await readBackwards(log, 'large', { before: 'head', after: 'earliest', limit: 1000 })
      t.ok(page.events.length >= 1 && page.events.length < 5)
      t.equal(page.events.at(-1)?.offset, 9, 'the newest of events that are too large')
      t.equal(page.before?.offset, page.events[0]?.offset)
    },
  )

  withLog('a read starts at the newest events or at a time', { retention: { events: 9 } }, async (t, log) => {
    const times: number[] = []
    for (let i = 1; i <= 12; i++) {
      const [receipt] = await log.append('a', [draft(i)])
      times.push(receipt?.time ?? 0)
      if (i % 3 === 0) await delay(2)
    }
    const all = Array.from({ length: 9 }, (_, i) => i + 4)
    const from = async (start: Start) => {
      const pages = await readAll(log, 'a', start, { events: 2, bytes: 1000 })
      t.ok(pages.every(({ gap }) => gap === undefined))
      return pages.flatMap(({ events }) => events.map(dataOf))
    }
    for (const last of [1, 2, 8, 9, 10, 10_000])
      t.same(await from({ last }), all.slice(-last), `last ${last}`)
    const head = times.at(-1) ?? 0
    for (const since of new Set([0, ...times, ...times.map(time => time + 1), head + 1, 8e12])) {
      t.same(
        await from({ since }),
        all.filter(n => (times[n - 1] ?? 0) >= since),
        `since ${since}`,
      )
    }
    const page = await log.read('a', { since: head + 1 }, ALL)
    t.same([page.start, page.more], [page.cursor, false])
    for (const start of [{ last: 3 }, { since: 1 }]) {
      const { start: at, events } = await log.read('empty', start, ALL)
      t.same([at.offset, events], [0, []])
    }
  })

  withLog('the first lasting reader of an empty channel starts its epoch', {}, async (t, log) => {
    const { cursor, start, more, events } = await log.read('a', 'earliest', ALL, true)
    t.equal(cursor.offset, 0)
    t.same(start, cursor)
    t.equal(more, false)
    t.same(events, [])
    const { head, tail, count } = await log.state('a')
    t.same([head, tail, count], [cursor, undefined, 0])
    t.same((await log.read('a', cursor, ALL)).gap, undefined)
    t.same(await append(log, 'a', [draft(1)]), { epoch: cursor.epoch, offset: 1 })
    const page = await log.read('a', cursor, ALL)
    t.equal(page.gap, undefined)
    t.equal(page.events.length, 1)
    const recorder = await record(log, 'followed-first')
    t.equal(recorder.feed?.unbegun, undefined)
    const receipts = await log.append('followed-first', [draft(1)])
    t.equal(receipts[0]?.position.epoch, recorder.started?.epoch)
  })

  withLog('W6: a reader that returns to an empty channel receives all events since', {}, async (t, log) => {
    const { cursor, events } = await log.read('a', 'earliest', ALL)
    const { head } = await log.state('a')
    t.same([cursor.offset, events, head.offset], [0, [], 0])
    await append(log, 'a', drafts(3))
    for (const after of [cursor, head]) {
      const page = await log.read('a', after, ALL)
      t.same(page.events.map(dataOf), [1, 2, 3])
      t.equal(page.gap, undefined)
    }
  })

  withLog('W6: a feed opened before the first event reports no gap', {}, async (t, log) => {
    const recorder = await glance(log, 'a')
    const head = await append(log, 'a', drafts(2))
    await recorder.reaches(head)
    t.same([recorder.gaps, recorder.faults], [[], []])
    t.same(recorder.started, { epoch: head.epoch, offset: 0 })
    t.equal(recorder.feed?.unbegun, undefined)
    t.same(recorder.delivered.map(dataOf), [1, 2])
  })

  withLog(
    'retention by count and by bytes is exact',
    { retention: { events: 7, bytes: 60 } },
    async (t, log) => {
      const calls = fc.array(fc.array(fc.integer({ min: 2, max: 80 }), { minLength: 1, maxLength: 12 }), {
        minLength: 1,
        maxLength: 12,
      })
      let channel = 0
      await fc.assert(
        fc.asyncProperty(calls, async calls => {
          const name = `c${channel++}`
          const sizes: number[] = []
          for (const call of calls) {
            sizes.push(...call)
            const head = await append(
              log,
              name,
              call.map(size => draft('x'.repeat(size - 2))),
            )
            let count = 0
            let bytes = 0
            for (const size of sizes.toReversed()) {
              bytes += size
              if (count === 7 || (bytes > 60 && count > 0)) break
              count++
            }
            const page = await log.read(name, 'earliest', ALL)
            const tail = { epoch: head.epoch, offset: sizes.length - count + 1 }
            const state = await log.state(name)
            t.strictSame([state.head, state.tail, state.count], [head, tail, count])
            t.same(
              page.events.map(each => each.bytes),
              sizes.slice(-count),
            )
          }
        }),
        { numRuns: 25 },
      )
    },
  )

  const retentions = new Map<string, Retention>()
  const retentionOf = (channel: string) => retentions.get(channel) ?? RETENTION
  withLog('each channel has its own retention, which may change', { retentionOf }, async (t, log) => {
    retentions.set('few', { ...RETENTION, events: 3 })
    retentions.set('small', { ...RETENTION, bytes: 4 })
    retentions.set('brief', { ...RETENTION, age: 50 })
    await Promise.all(['few', 'small', 'brief', 'all'].map(channel => log.append(channel, drafts(9))))
    const count = async (channel: string) => (await log.state(channel)).count
    t.same([await count('few'), await count('small'), await count('all')], [3, 4, 9])
    await until('the events of the brief channel have gone', async () => (await count('brief')) === 0)
    retentions.set('few', { ...RETENTION, events: 5 })
    t.equal(await count('few'), 3, 'trimmed events do not return')
    await log.append('few', drafts(9))
    t.equal(await count('few'), 5)
    retentions.set('all', { ...RETENTION, events: 2 })
    t.equal(await count('all'), 2)
    t.same((await log.read('all', 'earliest', ALL)).events.map(dataOf), [8, 9])
  })

  withLog('retention by age empties a silent channel', { retention: { age: 400 } }, async (t, log) => {
    const first = await log.append('a', drafts(3))
    const { epoch } = await append(log, 'a', drafts(2, 4))
    await until('some events have gone', async () => (await log.state('a')).count < 5)
    const { head, tail, count } = await log.state('a')
    t.same(head, { epoch, offset: 5 })
    t.equal(tail?.offset, count === 0 ? undefined : 6 - count)
    await until('all events have gone', async () => (await log.state('a')).count === 0)
    t.ok(Date.now() - (first[0]?.time ?? 0) > 100)
    const state = await log.state('a')
    t.same([state.head, state.tail], [head, undefined])
    const from = { epoch, offset: 2 }
    t.same((await log.read('a', from, ALL)).gap, { from, to: head })
    const page = await log.read('a', 'earliest', ALL)
    t.same([page.gap, page.events, page.cursor, page.more], [undefined, [], head, false])
    t.same(await append(log, 'a', [draft(6)]), { epoch, offset: 6 })
    t.same((await log.state('a')).tail, { epoch, offset: 6 })
    t.same((await log.read('a', 'earliest', ALL)).events.map(dataOf), [6])
  })

  withLog('retention by age trims only old events', { retention: { age: 150 } }, async (t, log) => {
    const receipts: Receipt[] = []
    // Runs for at least 500 ms, and for at least eleven rounds on a slow machine.
    const end = Date.now() + 500
    while (Date.now() < end || receipts.length <= 10) {
      receipts.push(...(await log.append('a', drafts(1, receipts.length + 1))))
      const before = receipts.at(-1)?.time ?? 0
      const { events } = await log.read('a', 'earliest', ALL)
      const after = (await log.append('b', [draft(1)]))[0]?.time ?? 0
      const kept = new Set(events.map(each => each.offset))
      for (const { time, position } of receipts) {
        // By the log's clock, the read was between `before` and `after`.
        if (time >= after - 150 && !kept.has(position.offset)) t.fail('an event left too early')
        if (time < before - 150 && kept.has(position.offset)) t.fail('an event stayed too long')
      }
      await new Promise(resolve => setTimeout(resolve, 3))
    }
  })

  withLog('a duplicate idempotency key gets the first result', {}, async (t, log) => {
    const once = await log.append('a', [draft(1, { idempotencyKey: 'k' })])
    await log.append('a', drafts(2))
    const again = await log.append('a', [draft('other', { idempotencyKey: 'k' })])
    t.same(again, [{ ...once[0], replayed: true }])
    t.equal((await log.state('a')).count, 3)
    const elsewhere = await log.append('b', [draft(1, { idempotencyKey: 'k' })])
    t.equal(elsewhere[0]?.replayed, false, 'keys are per channel')
    const odd = '!"#$%&()*+,-./:;<=>?@[]^_`{|}~'
    t.equal((await log.append('a', [draft(1, { idempotencyKey: odd })]))[0]?.replayed, false)
    t.equal((await log.append('a', [draft(1, { idempotencyKey: odd })]))[0]?.replayed, true)
  })

  withLog('of concurrent duplicates, one appends', {}, async (t, log) => {
    const calls = Array.from({ length: 40 }, (_, i) =>
      log.append('a', [draft(i, { idempotencyKey: `k${i % 2}` })]),
    )
    const receipts = (await Promise.all(calls)).flat()
    t.equal(receipts.filter(each => !each.replayed).length, 2)
    t.equal(new Set(receipts.map(each => printPosition(each.position))).size, 2)
    t.equal((await log.state('a')).count, 2)
  })

  withLog('a key is deduplicated within one call, too', {}, async (t, log) => {
    await log.append('a', [draft(0, { idempotencyKey: 'old' })])
    const keys = ['x', undefined, 'x', 'old', 'y', 'x', undefined, 'y']
    const call = keys.map((key, i) => draft(i, key === undefined ? {} : { idempotencyKey: key }))
    const receipts = await log.append('a', call)
    t.same(
      receipts.map(each => [each.position.offset, each.replayed]),
      [
        [2, false],
        [3, false],
        [2, true],
        [1, true],
        [4, false],
        [2, true],
        [5, false],
        [4, true],
      ],
    )
    t.same((await log.read('a', 'earliest', ALL)).events.map(dataOf), [0, 0, 1, 4, 6])
    const repeated = await log.append(
      'a',
      call.filter(each => each.idempotencyKey),
    )
    t.ok(repeated.every(each => each.replayed))
  })

  withLog('a key is remembered for the window, and no longer', { idempotencyWindow: 150 }, async (t, log) => {
    const keyed = [draft(1, { idempotencyKey: 'k' })]
    const [first] = await log.append('a', keyed)
    let repeats = 0
    let next: Receipt | undefined
    await until('the key is forgotten', async () => {
      const before = (await log.append('clock', [draft(1)]))[0]?.time ?? 0
      next = (await log.append('a', keyed))[0]
      if (next?.replayed && before > (first?.time ?? 0) + 150) t.fail('known for too long')
      if (next?.replayed) repeats++
      return next?.replayed === false
    })
    t.ok(repeats > 0)
    t.ok((next?.time ?? 0) - (first?.time ?? 0) > 150, 'known for the whole window')
    t.equal(next?.position.offset, 2)
  })

  withLog(
    'an event keeps its type, tags, encoding and priority, and its data byte for byte',
    {},
    async (t, log) => {
      const recorder = await record(log, 'a')
      const texts = [
        '{"a" : 1.0e+2,  "a":-0 , "\\u0000\\ud800":"\\\\"}',
        JSON.stringify('}{\u0000\u001f\u2028 ÿ漢字🙂 $5\r\n*3\r\n'),
        '123456789012345678901234567890.10',
        `"${'漢🙂'.repeat(100_000)}"`,
        '"',
      ]
      const sent: Draft[] = texts.map(text => ({ data: Buffer.from(text) }))
      sent.push({ data: Buffer.from(Array.from({ length: 256 }, (_, i) => i)) })
      sent.push(draft('AAAA', { encoding: 'base64', type: 'x.y:z~@-_' }))
      sent.push(draft({}, { tags: new Map([['lang', 'ko']]), type: 'post' }))
      sent.push(
        draft(
          {},
          {
            tags: new Map([
              ['__proto__', 'a|b &=+%'],
              ['k', '"漢🙂\n'],
              ['2', ''],
              ['1', 'x'],
            ]),
            encoding: 'base64',
          },
        ),
      )
      sent.push(draft(1, { priority: 'low' }), draft(2, { priority: 'low', encoding: 'base64', type: 'a' }))
      const receipts = await log.append('a', sent)
      const head = receipts.at(-1)?.position
      if (head) await recorder.reaches(head)
      const { events } = await log.read('a', 'earliest', ALL)
      t.equal(events.length, sent.length)
      for (const [i, { data, type, tags, encoding, priority }] of sent.entries()) {
        const at = receipts[i]
        const head =
          `{"channel":"a","id":"${at && printPosition(at.position)}","time":${at?.time}` +
          `${type ? `,"type":"${type}"` : ''}${tags ? `,"tags":${printTags(tags)}` : ''}${encoding ? ',"encoding":"base64"' : ''},"data":`
        const json = Buffer.concat([Buffer.from(head), data, Buffer.from('}')])
        for (const event of [events[i], recorder.delivered[i]]) {
          t.ok(event?.json.equals(json), `event ${i}`)
          t.ok(event && textOf(event).equals(data), `the data of event ${i}`)
          t.equal(event?.channel, 'a')
          t.equal(event?.type, type)
          t.same([...(event?.tags ?? [])], [...(tags ?? [])])
          t.equal(event?.encoding, encoding)
          t.equal(event?.low, priority === 'low')
          t.equal(event?.bytes, data.length)
          t.equal(event?.time, at?.time)
        }
      }
    },
  )

  withLog('large events are accepted', {}, async (t, log) => {
    const recorder = await record(log, 'a')
    const data = Buffer.from(JSON.stringify('0123456789abcdef'.repeat(65_536)))
    const head = await append(log, 'a', [{ data }, { data }, draft(1), { data }])
    await recorder.reaches(head)
    t.same(
      recorder.delivered.map(each => each.bytes),
      [data.length, data.length, 1, data.length],
    )
    t.ok(recorder.delivered[3]?.json.includes(data))
    const pages = await readAll(log, 'a', 'earliest', { events: 100, bytes: data.length })
    t.same(
      pages.map(page => page.events.length),
      [1, 1, 1, 1],
    )
  })

  withLog('time never goes back', {}, async (t, log) => {
    for (let i = 0; i < 50; i++) await log.append('a', drafts(1 + (i % 3)))
    const { events } = await log.read('a', 'earliest', ALL)
    t.ok(events.every((event, i) => i === 0 || event.time >= (events[i - 1]?.time ?? 0)))
  })

  withLog('a feed starts at the head and delivers later appends', {}, async (t, log) => {
    const before = await append(log, 'a', drafts(3))
    const recorder = await record(log, 'a')
    t.same(recorder.started, before)
    const head = await append(log, 'a', drafts(5, 4))
    await recorder.reaches(head)
    t.same(recorder.delivered.map(dataOf), [4, 5, 6, 7, 8])
    await append(log, 'b', drafts(5))
    recorder.feed?.close()
    await append(log, 'a', drafts(5))
    const next = await record(log, 'a')
    await next.reaches(await append(log, 'a', drafts(1, 99)))
    t.equal(recorder.delivered.length, 5, 'nothing is delivered after the close')
    t.same(next.delivered.map(dataOf), [99])
    t.same([...recorder.faults, ...next.faults], [])
  })

  withLog('events of a followed channel reach only its feed', {}, async (t, log) => {
    const names = ['a', 'a:', 'A', 'a.b', '~', '@', '-', 'x'.repeat(200)]
    const recorders = await Promise.all(names.map(name => record(log, name)))
    const heads = await Promise.all(names.map(name => append(log, name, [draft(name)])))
    for (const [i, recorder] of recorders.entries()) {
      const head = heads[i]
      if (head) await recorder.reaches(head)
      t.same(recorder.delivered.map(dataOf), [names[i]])
    }
  })

  withLog('a feed misses and repeats nothing while appends race with its opening', {}, async (t, log) => {
    const step = fc.oneof(
      fc.record({ append: fc.integer({ min: 1, max: 5 }) }),
      fc.record({ pause: fc.nat(3) }),
      fc.constant({ follow: true }),
      fc.constant({ close: true }),
    )
    let channel = 0
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40, size: 'max' }), async steps => {
        const name = `r${channel++}`
        const opened: Recorder[] = []
        const appends: Promise<unknown>[] = []
        let opening: Promise<unknown> = Promise.resolve()
        let current: Recorder | undefined
        let sent = 0
        for (const step of steps) {
          if ('append' in step) {
            appends.push(log.append(name, drafts(step.append, sent + 1)))
            sent += step.append
          } else if ('pause' in step) {
            for (let i = 0; i < step.pause; i++) await new Promise(resolve => setImmediate(resolve))
          } else if ('follow' in step && current === undefined) {
            const recorder = new Recorder()
            current = recorder
            opened.push(recorder)
            opening = log.follow(name, recorder).then(feed => {
              recorder.feed = feed
            })
          } else if ('close' in step && current?.feed !== undefined) {
            current.feed.close()
            current = undefined
          }
        }
        await Promise.all(appends)
        await opening
        const { head } = await log.state(name)
        if (sent > 0) await current?.reaches(head)
        current?.feed?.close()
        for (const recorder of opened) {
          const from = recorder.started?.offset ?? 0
          t.same(recorder.faults, [])
          t.same(recorder.gaps, [])
          t.same(
            recorder.delivered.map(dataOf),
            recorder.delivered.map((_, i) => from + i + 1),
          )
        }
        t.equal(head.offset, sent)
      }),
      { numRuns: 40 },
    )
  })

  withLog('probes are answered, also several at once', {}, async (t, log) => {
    await log.probe()
    await Promise.all([log.probe(), log.probe(), log.probe()])
    await append(log, 'a', [draft(1)])
    await log.probe()
    t.equal((await log.state('a')).count, 1)
  })

  withLog('after the close everything is refused and nothing is delivered', {}, async (t, log) => {
    const recorder = await record(log, 'a')
    const head = await append(log, 'a', [draft(1)])
    await recorder.reaches(head)
    const late = log.append('a', [draft(2)]).catch(error => error)
    await log.close()
    await log.close()
    await late
    const calls = recorder.calls
    const refused = await Promise.allSettled<unknown>([
      log.append('a', [draft(1)]),
      log.read('a', 'latest', ALL),
      log.state('a'),
      log.follow('b', new Recorder()),
      log.probe(),
    ])
    for (const each of refused) {
      t.ok(each.status === 'rejected' && each.reason instanceof LogUnavailable, JSON.stringify(each))
    }
    recorder.feed?.close()
    t.ok(recorder.calls - calls <= 0)
  })
}
