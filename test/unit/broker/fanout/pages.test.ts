// Responses of the request wires: one page of several channels, at once or when there is an event.

import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import type { Position, Start } from '../../../../services/broker/event/position.ts'
import type { Channel } from '../../../../services/broker/fanout/channel.ts'
import { ANSWER_BYTES, collect } from '../../../../services/broker/fanout/collect.ts'
import { LongPoll } from '../../../../services/broker/fanout/long-poll.ts'
import { newest, newestOfAll, shownOf } from '../../../../services/broker/fanout/newest.ts'
import type { Page } from '../../../../services/broker/log/log.ts'
import { encodeAnswer } from '../../../../services/wires/answer.ts'
import { split } from '../../../contract/clients.ts'
import { drafts, Gate, hubOf, ids, ScriptedLog } from './scripted-log.ts'
import { until } from '../../../support/until.ts'

const e1 = (offset: number) => ({ epoch: 'e1', offset })

t.test('a page shares its limit fairly, and gives unused shares to other channels', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  log.add('a', drafts(100))
  log.add('b', drafts(2))
  log.add('c', drafts(100))
  const channels = await hub.openAll(['a', 'b', 'c', 'd'])
  const answer = await collect(channels, [e1(0), e1(0), e1(0), e1(0)], 40)
  t.strictSame(
    answer.cursors.map(cursor => cursor.offset).sort((x, y) => x - y),
    [0, 2, 10, 28],
  )
  t.equal(answer.events.length, 40)
  t.equal(answer.more, true)
  const rest = await collect(channels, answer.cursors, 1000)
  t.equal(rest.events.length, 202 - 40)
  t.equal(rest.more, false)
})

t.test('each channel gets its turn if the limit is smaller than the number of channels', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  const names = ['a', 'b', 'c', 'd', 'e']
  for (const name of names) log.add(name, drafts(30))
  const channels = await hub.openAll(names)
  for (const limit of [1, 2, 3]) {
    let cursors = names.map(() => e1(0))
    for (let i = 0; i < 15; i++) {
      const answer = await collect(channels, cursors, limit)
      t.equal(answer.events.length, limit)
      cursors = answer.cursors.map(each => ({ ...each }))
    }
    const offsets = cursors.map(cursor => cursor.offset)
    t.ok(Math.max(...offsets) - Math.min(...offsets) <= 1, `${offsets} with ${limit} at a time`)
  }
})

t.test('S6: while events are large, few channels of a page are read at a time', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, { memory: 0 }, t.teardown)
  const names = Array.from({ length: 60 }, (_, i) => `large${i}`)
  for (const name of names) log.add(name, [{ ...drafts(1)[0], data: Buffer.alloc(1_000_000, 'x') }] as never)
  const channels = await hub.openAll(names)
  let [under, most] = [0, 0]
  log.beforeRead = async () => {
    most = Math.max(most, ++under)
    await turn()
    under--
  }
  const starts = names.map(() => e1(0))
  const answer = await collect(channels, starts, 1000)
  t.equal(answer.events.length, 4)
  t.equal(answer.more, true)
  t.ok(most <= 16, `${most} at a time`)
  const seen = new Set<string>()
  let cursors: readonly Position[] = starts
  for (let more = true; more;) {
    const page = await collect(channels, cursors, 1000)
    for (const { channel } of page.events) seen.add(channel)
    ;({ cursors, more } = page)
  }
  t.equal(seen.size, names.length, 'later requests return the other channels')
})

t.test('the newest events come with every gap between them and the cursor', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  log.add('a', drafts(10))
  log.lose('a', 2, 'e2')
  log.add('a', drafts(10))
  log.lose('a', 3, 'e3')
  log.add('a', drafts(10))
  const [channel] = await hub.openAll(['a'])
  if (channel === undefined) throw new Error('no channel')
  const [end1, end2] = [
    { from: e1(8), to: { epoch: 'e2', offset: 8 } },
    { from: { epoch: 'e2', offset: 15 }, to: { epoch: 'e3', offset: 15 } },
  ]
  const head = { epoch: 'e3', offset: 25 }
  t.match(await newest(channel, e1(5), 100), { head, since: 5, fresh: 20, gaps: [end1, end2] })
  t.match(await newest(channel, e1(9), 1), { since: 8, fresh: 17, gaps: [{ ...end1, from: e1(9) }, end2] })
  t.match(await newest(channel, end1.to, 1), { since: 8, fresh: 17, gaps: [end2] })
  t.strictSame((await newest(channel, end2.to, 1)).gaps, [])
  t.strictSame((await newest(channel, 'latest', 100)).gaps, [])
})

t.test(
  'S6: the newest events of many channels are read from few channels at a time, and few are kept',
  async t => {
    const log = new ScriptedLog()
    const hub = hubOf(log, {}, t.teardown)
    const names = Array.from({ length: 20 }, (_, i) => `large.${i}`)
    const data = Buffer.alloc(1_000_000, '1')
    for (const name of [...names, ...names]) log.add(name, [{ data }])
    const all = names.map(name => ({ name, head: log.head(name) }))
    let [reading, most] = [0, 0]
    log.beforeRead = async () => {
      most = Math.max(most, ++reading)
      await turn()
    }
    log.afterRead = async () => void reading--
    const news = await hub.glancing(names, channels =>
      newestOfAll(
        channels.map(channel => ({ channel, start: 'latest', selection: undefined })),
        1000,
      ),
    )
    t.equal(most, 8)
    t.equal(log.reads.length, names.length, 'no large event is read twice')
    t.match(
      news,
      all.map(({ head }) => ({ head, fresh: 0, gaps: [] })),
    )
    const kept = news.flatMap(({ events }) => events)
    t.ok(kept.length <= 9, `${kept.length} events are kept`)
    const whole = await hub.glancing(names, channels =>
      Promise.all(channels.map(channel => newest(channel, 'latest', 1000, 200_000))),
    )
    const shown = (from: typeof news) =>
      shownOf(from, { events: 1000, bytes: ANSWER_BYTES }).map(({ event }) => event.channel)
    t.equal(shown(news).length, 4)
    t.strictSame(shown(news), shown(whole))
  },
)

t.test('S6: the newest events are found across epochs, as many as fit', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  const large = { data: Buffer.alloc(1000, '1') }
  log.add('a', drafts(500, large))
  log.lose('a', 0, 'e2')
  log.add('a', drafts(3, large))
  log.lose('a', 0, 'e3')
  log.add('a', drafts(5, large))
  const [channel] = await hub.openAll(['a'])
  if (channel === undefined) throw new Error('no channel')
  const offsets = async (limit: number, bytes: number) => {
    const { events, head } = await newest(channel, 'latest', limit, bytes)
    t.strictSame(head, { epoch: 'e3', offset: 508 })
    const first = events[0]?.offset ?? 0
    t.strictSame(
      events.map(event => event.offset),
      Array.from({ length: 508 - first + 1 }, (_, i) => first + i),
    )
    return first
  }
  t.equal(await offsets(3, 1e6), 506)
  t.equal(await offsets(5, 1e6), 504, 'the events of the last epoch')
  t.equal(await offsets(6, 1e6), 503, 'one event of the epoch before')
  t.equal(await offsets(20, 1e6), 489, 'events of three epochs')
  t.equal(await offsets(1000, 1e6), 1)
  t.equal(await offsets(20, 1), 508, 'at least one event')
  const reads = log.reads.length
  const first = await offsets(500, 10_000)
  t.ok(first > 508 - 10 && first <= 508 - 4, `from ${first}`)
  t.ok(log.reads.length - reads < 30)
})

t.test('the newest events include those of an epoch that memory does not know yet', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  log.add('a', drafts(10))
  const [channel] = await hub.openAll(['a'])
  if (channel === undefined) throw new Error('no channel')
  log.add('a', drafts(3))
  await until('memory holds them', () => channel.recent.head === 13)
  log.held = true
  log.lose('a', 8, 'e2')
  log.add('a', drafts(2))
  const to = { epoch: 'e2', offset: 5 }
  const head = { epoch: 'e2', offset: 7 }
  for (const from of [e1(12), e1(13)]) {
    t.match(await newest(channel, from, 5), { head, since: 5, fresh: 2, gaps: [{ from, to }] })
  }
})

t.test('a client that is ahead of its node does not go back', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  const [channel] = await hub.openAll(['a'])
  if (channel === undefined) throw new Error('no channel')
  log.add('a', drafts(10))
  await until('memory holds them', () => channel.recent.head === 10)
  log.held = true
  log.add('a', drafts(3))
  t.match(await newest(channel, e1(12), 5), { head: e1(12), fresh: 0, gaps: [] })
  log.release()
  await until('memory holds all', () => channel.recent.head === 13)
  t.match(await newest(channel, e1(12), 5), { head: e1(13), since: 12, fresh: 1, gaps: [] })
})

t.test(
  'the gap of an unknown cursor ends at the head, even if an epoch begins while the newest events are read',
  async t => {
    const unknown = { epoch: 'zzz', offset: 5 }
    let reads = 0
    const page = async (start: Start): Promise<Page> => {
      const at = { epoch: reads === 0 ? 'e1' : 'e2', offset: 0 }
      const gap = start === unknown ? { from: unknown, to: at } : undefined
      return {
        events: [],
        start: at,
        cursor: at,
        more: false,
        gap,
        ...(reads++ === 0 && { unbegun: true }),
      }
    }
    const channel = {
      name: 'a',
      page,
      logged: page,
      resolve: async (start: Start) => (await page(start)).start,
    }
    const { head, gaps } = await newest(channel, unknown, 5)
    t.match(gaps, [{ from: unknown, to: head }])
  },
)

t.test('a response is cut before it is too large, and continues on the next poll', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  const mega = { data: Buffer.from(`"${'x'.repeat(1024 * 1024 - 2)}"`) }
  const names = ['a', 'b', 'c']
  for (const name of names) log.add(name, drafts(5, mega))
  const channels = await hub.openAll(names)
  let cursors = names.map(() => e1(0))
  let seen = 0
  for (let more = true; more;) {
    const answer = await collect(channels, cursors, 1000)
    const bytes = answer.events.reduce((sum, event) => sum + event.json.length, 0)
    t.ok(answer.events.length > 0 && bytes < 6 * 1024 * 1024, `${bytes} bytes`)
    seen += answer.events.length
    ;({ more } = answer)
    cursors = answer.cursors.map(each => ({ ...each }))
  }
  t.equal(seen, 15)
})

t.test('a gap comes with the first page, even without room for events', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  log.add('a', drafts(5))
  log.lose('a', 2, 'e2')
  log.add('a', drafts(2))
  log.add('b', drafts(5))
  const channels = await hub.openAll(['a', 'b'])
  let cursors = [e1(1), e1(0)]
  const gaps: object[] = []
  const seen: string[] = []
  for (let more = true; more;) {
    const answer = await collect(channels, cursors, 1)
    gaps.push(...answer.gaps)
    seen.push(...answer.events.map(event => event.json.toString()))
    ;({ more } = answer)
    cursors = answer.cursors.map(each => ({ ...each }))
  }
  t.strictSame(gaps, [{ channel: 'a', gap: { from: e1(3), to: { epoch: 'e2', offset: 3 } } }])
  const of = (name: string) => seen.map(json => JSON.parse(json)).filter(event => event.channel === name)
  t.strictSame(
    of('a').map(event => event.id),
    [...ids('e1', 2, 3), ...ids('e2', 4, 5)],
  )
  t.strictSame(
    of('b').map(event => event.id),
    ids('e1', 1, 5),
  )
})

t.test('a page reports the gap at the end of an epoch, wherever its cursor was before that', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  log.add('a', drafts(5))
  log.lose('a', 1, 'e2')
  log.add('a', drafts(2))
  const [channel] = await hub.openAll(['a'])
  for (const offset of [0, 2, 4]) {
    const news = await newest(channel as Channel, e1(offset), 10)
    t.strictSame(news.gaps, [{ from: e1(4), to: { epoch: 'e2', offset: 4 } }], `from ${offset}`)
    t.strictSame(
      news.events.filter(event => event.offset > news.since).map(event => event.offset),
      ids('e1', offset + 1, 6).map((_, i) => offset + 1 + i),
    )
  }
})

t.test('a long poll wakes on any of its channels, and on a gap', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  log.add('a', drafts(3))
  const channels = await hub.openAll(['a', 'b'])
  const ask = () => new LongPoll(hub, channels).answer([e1(3), 'latest'], 10, 10_000)
  const waiting = ask()
  await until('held', () => hub.connections.held.size === 1)
  t.equal(hub.stats().readers, 2)
  log.add('b', drafts(1))
  t.equal((await waiting).events.length, 1)
  const other = ask()
  await until('held', () => hub.connections.held.size === 1)
  log.lose('a', 1, 'e2')
  t.strictSame((await other).gaps, [{ channel: 'a', gap: { from: e1(3), to: { epoch: 'e2', offset: 2 } } }])
  t.equal(hub.stats().readers + hub.connections.held.size, 0)
})

t.test('a long poll misses no event that arrives during its read', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  log.add('a', drafts(3))
  const channels = await hub.openAll(['a'])
  log.held = true
  log.add('a', drafts(1))
  const gate = new Gate()
  log.afterRead = gate.pass
  // The cursor is ahead of the node, so the log is read while the feed continues.
  const waiting = new LongPoll(hub, channels).answer([e1(4)], 10, 10_000)
  await until('the read has its result', () => gate.waiting === 1)
  log.release()
  log.add('a', drafts(1))
  gate.open()
  t.strictSame(
    (await waiting).events.map(event => event.offset),
    [5],
  )
})

const low = { priority: 'low' } as const

t.test(
  'low-priority events hold a long poll until enough have come, one of high priority comes, or time is up',
  async t => {
    const log = new ScriptedLog()
    const hub = hubOf(log, {}, t.teardown)
    const answered: string[] = []
    const poll = async (channel: string, wait: number, add: () => void) => {
      const channels = await hub.openAll([channel])
      const waiting = new LongPoll(hub, channels).answer([log.head(channel)], 100, wait)
      add()
      const { events } = await waiting
      answered.push(channel)
      return events.length
    }
    const counts = await Promise.all([
      poll('alone', 10_000, () => log.add('alone', drafts(3, low))),
      poll('high', 10_000, () => log.add('high', [low, low, {}])),
      poll('many', 10_000, () => log.add('many', drafts(64, low))),
      poll('large', 10_000, () =>
        log.add('large', drafts(2, { ...low, data: Buffer.alloc(32 * 1024, '1') })),
      ),
      poll('over', 700, () => log.add('over', drafts(1, low))),
    ])
    t.strictSame(counts, [3, 3, 64, 2, 1])
    t.equal(answered.at(-1), 'alone')
    t.equal(answered.at(-2), 'over', 'at the end of its wait it returns the available events')
  },
)

t.test(
  'a long poll that finds old low-priority events is answered at once; with recent ones it waits',
  async t => {
    const log = new ScriptedLog()
    const hub = hubOf(log, {}, t.teardown)
    const poll = async (channel: string) => {
      const answer = await new LongPoll(hub, await hub.openAll([channel])).answer([e1(0)], 100, 10_000)
      t.equal(answer.events.length, 1)
    }
    log.add('old', drafts(1, low))
    await poll('old')
    log.add('young', drafts(1, low))
    const answered: string[] = []
    await Promise.all(['young', 'old'].map(async channel => answered.push((await poll(channel), channel))))
    t.strictSame(answered, ['old', 'young'])
  },
)

t.test('a waiting poll is released when its wait ends or its client disconnects', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  const channels = await hub.openAll(['a'])
  const answer = await new LongPoll(hub, channels).answer(['latest'], 100, 100)
  t.strictSame([answer.events, answer.cursors, answer.more], [[], [e1(0)], false])
  const gone = new LongPoll(hub, channels)
  const waiting = gone.answer(['latest'], 100, 60_000)
  await until('held', () => hub.connections.held.size === 1)
  gone.release()
  t.strictSame((await waiting).events, [])
  t.equal(hub.stats().readers + hub.connections.held.size, 0)
})

t.test('the events of a response are unchanged and sorted by time', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  const data = ['1.0', '{"__proto__":{"]}":"\\""}}', '[[],{}]', '"\u2028"'].map(each => ({
    data: Buffer.from(each),
  }))
  const added = [...log.add('a', data), ...log.add('b', data)]
  const channels = await hub.openAll(['a', 'b', 'c'])
  const text = encodeAnswer(
    await collect(channels, [e1(0), e1(0), { epoch: 'zz', offset: 3 }], 100),
  ).toString()
  t.strictSame(split(text).sort(), added.map(event => event.json.toString()).sort())
  t.equal(
    text.slice(text.indexOf('],"cursor"')),
    '],"cursor":"e1-4,e1-4,e1-0","gaps":[{"channel":"c","from":"zz-3","to":"e1-0"}]}',
  )
  const times = JSON.parse(text).events.map((event: { time: number }) => event.time)
  t.strictSame(times, times.toSorted())
  const part = encodeAnswer(await collect(channels, [e1(0), e1(0), 'latest'], 3)).toString()
  t.match(part, /\],"cursor":"e1-\d,e1-\d,e1-0","more":true\}$/)
})
