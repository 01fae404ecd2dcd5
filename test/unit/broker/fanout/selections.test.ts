// Filters and conflation in the fan-out: readers share work, and receive the messages of a model of fifty lines.

import fc from 'fast-check'
import t from 'tap'
import { filterOf } from '../../../../services/broker/event/filter.ts'
import type { Hub } from '../../../../services/broker/fanout/hub.ts'
import type { Position } from '../../../../services/broker/event/position.ts'
import { type Selection, selectionOf } from '../../../../services/broker/fanout/selection.ts'
import { MemoryLog } from '../../../../services/broker/log/memory.ts'
import { drafts, hubOf, ids, type Listener, listen, ScriptedLog, settled } from './scripted-log.ts'
import { ModelReader, type Sent, type Wish } from './selection-model.ts'
import { stopTime } from './stopped-time.ts'
import { until } from '../../../support/until.ts'

const e1 = (offset: number) => ({ epoch: 'e1', offset })
/** `listen` with a selection. */
const listenTo = (hub: Hub, name: string, at: Position, selection: Selection | undefined) =>
  listen(hub, name, at, undefined, selection)
const inLang = (lang: string) => filterOf({ key: 'lang', cmp: 'eq', val: lang })
const KOREAN = selectionOf({ filter: inLang('ko') })
const ko = { type: 'a', tags: new Map([['lang', 'ko']]) }
const en = { type: 'a', tags: new Map([['lang', 'en']]) }

t.test('equal filters share their bytes and their evaluation', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  let evaluated = 0
  const counting = (): Selection | undefined => {
    const { key, passes } = inLang('ko')
    return selectionOf({
      filter: {
        key,
        passes: event => {
          evaluated++
          return passes(event)
        },
      },
    })
  }
  const listeners: Listener[] = []
  for (let i = 0; i < 20; i++) listeners.push(await listenTo(hub, 'a', e1(0), counting()))
  const all = await listen(hub, 'a', e1(0))
  log.add('a', [en, ko, en, ko, ko, en])
  await until('all listeners have their events', () => listeners.every(({ lines }) => lines.length === 3))
  t.same(listeners[0]?.received, ['e1-2', 'e1-4', 'e1-5'])
  t.ok(
    listeners.every(({ writes }) => writes[0] === listeners[0]?.writes[0]),
    'one Buffer',
  )
  t.equal(evaluated, 6, 'the filter is evaluated once per event')
  await until('the reader without a filter has all events', () => all.lines.length === 6)
})

t.test('filtered events are not written; the cursor is sent after 1,000 and with a heartbeat', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  const listener = await listenTo(hub, 'a', e1(0), KOREAN)
  log.add('a', drafts(999, en))
  await settled()
  t.same(listener.lines, [])
  log.add('a', [en])
  await settled()
  t.same(listener.lines, ['{"passed":{"channel":"a","cursor":"e1-1000"}}'])
  log.add('a', [ko, en])
  await settled()
  listener.connection.beat()
  listener.connection.beat()
  await settled()
  t.match(listener.lines[1], /"id":"e1-1001"/)
  t.same(listener.lines.slice(2), ['{"passed":{"channel":"a","cursor":"e1-1002"}}'])
})

t.test('a resume over 100,000 filtered events reads each page once', async t => {
  const log = new ScriptedLog()
  log.add('a', [...drafts(100_000, en), ko])
  const hub = hubOf(log, { retentionOf: () => ({ events: 1e6, age: 1e9, bytes: 1e9 }) }, t.teardown)
  const listeners = await Promise.all([1, 2, 3].map(() => listenTo(hub, 'a', e1(0), KOREAN)))
  await until('all listeners have the last event', () =>
    listeners.every(({ received }) => received.at(-1) === 'e1-100001'),
  )
  t.equal(new Set(log.reads).size, log.reads.length)
  t.equal(log.reads.length, Math.ceil(100_001 / 1024))
  const again = await listenTo(hub, 'a', e1(100_000), KOREAN)
  await until('it has the event', () => again.lines.length === 1)
})

t.test(
  'a channel has up to 256 different filters per node; filters of readers that left do not count',
  async t => {
    const log = new ScriptedLog()
    const hub = hubOf(log, {}, t.teardown)
    const of = (n: number) => selectionOf({ filter: inLang(`${n}`) })
    const listeners: Listener[] = []
    for (let i = 0; i < 256; i++) listeners.push(await listenTo(hub, 'a', e1(0), of(i)))
    await t.rejects(listenTo(hub, 'a', e1(0), of(256)), { code: 'FW_TOO_MANY_FILTERS' })
    await listenTo(hub, 'a', e1(0), of(7))
    await listenTo(hub, 'b', e1(0), of(256))
    listeners[0]?.cut()
    await settled()
    await listenTo(hub, 'a', e1(0), of(256))
  },
)

t.test(
  'a pace delivers at most one stretch per interval, to all readers at once, with the newest of each type',
  async t => {
    const time = stopTime(t.teardown)
    const log = new ScriptedLog()
    const hub = hubOf(log, {}, t.teardown)
    const selection = selectionOf({ newest: 'type', every: 100 })
    const listeners = await Promise.all([1, 2, 3].map(() => listenTo(hub, 'a', e1(0), selection)))
    const [first] = listeners as [Listener]
    const times: number[] = []
    for (let sent = 0; times.length < 3; sent++) {
      const before = first.writes.length
      log.add('a', [{ type: `t${sent % 2}` }])
      await time.tick(5)
      if (first.writes.length > before) times.push(Date.now())
    }
    const head = log.head('a').offset
    await time.tick(100)
    t.ok(
      listeners.every(({ received }) => received.at(-1) === `e1-${head}`),
      'all listeners have the last event',
    )
    t.strictSame(
      times.slice(1).map((at, i) => at - (times[i] ?? 0)),
      [100, 100],
      'stretches are 100 ms apart',
    )
    const stretches = first.writes.map(bytes =>
      `${bytes}`
        .trim()
        .split('\n')
        .map(line => JSON.parse(line)),
    )
    t.ok(stretches.every(stretch => new Set(stretch.map(({ type }) => type)).size === stretch.length))
    const skipped = stretches.flat().reduce((sum, each) => sum + (each.skipped ?? 0), 0)
    t.equal(stretches.flat().length + skipped, head, 'delivered and skipped events add up')
    for (const { writes } of listeners) t.same(writes, first.writes)
  },
)

t.test('a reader of only the newest events receives them from a history of many pages', async t => {
  const log = new ScriptedLog()
  log.add(
    'a',
    Array.from({ length: 5000 }, (_, i) => ({ type: `t${i % 20}` })),
  )
  const hub = hubOf(log, {}, t.teardown)
  const listener = await listenTo(hub, 'a', e1(0), selectionOf({ newest: 'type' }))
  await until('it has the newest events', () => listener.lines.length >= 20)
  await settled()
  t.same(listener.received, ids('e1', 4981, 5000))
  t.ok(listener.lines.every(line => JSON.parse(line).skipped === 249))
})

t.test('a rule conflates for readers that are behind, until they have caught up', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, { slowOf: () => 'newest' }, t.teardown)
  const slow = await listen(hub, 'a', e1(0))
  const filtered = await listenTo(hub, 'a', e1(0), KOREAN)
  const fast = await listen(hub, 'a', e1(0))
  for (const each of [slow, filtered]) each.stop()
  const types = Array.from({ length: 90 }, (_, i) => ({ ...ko, type: `t${i % 3}` }))
  log.add('a', [{ ...ko, type: 'first' }])
  await settled()
  log.add('a', [...types, en])
  await settled()
  for (const each of [slow, filtered]) each.read()
  await settled()
  log.add('a', [...types.slice(0, 4), en])
  await settled()
  const idsAndCounts = ({ lines }: Listener) =>
    lines.map(line => JSON.parse(line)).map(({ id, skipped }) => [id, skipped])
  const live = ids('e1', 93, 96).map(id => [id, undefined])
  const newest = [['e1-1', undefined], ...ids('e1', 89, 91).map(id => [id, 29])]
  t.same(idsAndCounts(slow), [...newest, ['e1-92', undefined], ...live, ['e1-97', undefined]])
  t.same(idsAndCounts(filtered), [...newest, ...live])
  t.equal(fast.lines.length, 97, 'a reader that is not behind has all events')
})

t.test('a rule closes readers that are behind', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, { slowOf: () => 'close', stall: 60_000 }, t.teardown)
  const slow = await listen(hub, 'a', e1(0))
  slow.stop()
  log.add('a', drafts(1))
  await settled()
  const later = (ms: number) => slow.connection.endIfStalled(hub.connections.clock.now + ms, 60_000)
  later(1000)
  t.same(slow.closes, [])
  later(2100)
  t.match(slow.closes, [{ code: 4002 }])
})

// The model -------------------------------------------------------------------------------------------------

const wish: fc.Arbitrary<Wish> = fc.constantFrom<Wish[]>(
  {},
  { lang: 'ko' },
  { newest: true },
  { lang: 'ko', newest: true },
)
const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ publish: fc.array(fc.nat(5), { minLength: 1, maxLength: 12 }) }) },
  fc.record({ cut: fc.nat(2), wish }),
  fc.record({ stop: fc.nat(2) }),
  fc.record({ read: fc.nat(2) }),
  fc.constant({ beat: true as const }),
)
const RETENTION = { events: 8, age: 1e9, bytes: 1e9 }
/** Steps in which a heartbeat waits in a full socket, while events arrive that are trimmed later. */
const HEARTBEAT_WAITS = [
  { stop: 1 },
  { beat: true as const },
  { publish: [0] },
  { publish: Array<number>(8).fill(0) },
  { read: 1 },
]

t.test('any mix of publish, trim, filter, conflate, stop, cut and resume matches the model', async t => {
  await fc.assert(
    fc.asyncProperty(fc.tuple(wish, wish, wish), fc.array(step, { maxLength: 25 }), async (wishes, steps) => {
      const log = new MemoryLog({ retentionOf: () => RETENTION, idempotencyWindow: 1000 })
      const closes: (() => void)[] = []
      const hub = hubOf(log, { retentionOf: () => RETENTION }, close => void closes.push(close))
      const { epoch } = await (await hub.open('a')).settle('latest')
      const start = async (wish: Wish, offset: number) => ({
        listener: await listenTo(hub, 'a', { epoch, offset }, selectionFor(wish)),
        model: new ModelReader(wish, offset),
      })
      const readers = [await start(wishes[0], 0), await start(wishes[1], 0), await start(wishes[2], 0)]
      const events: Sent[] = []
      for (const step of steps) {
        if ('publish' in step) {
          const sent = step.publish.map(n => ({ type: `t${n % 3}`, lang: n < 3 ? 'ko' : 'en' }))
          for (const each of sent) events.push({ ...each, offset: events.length + 1 })
          await log.append(
            'a',
            sent.map(({ type, lang }) => ({ type, tags: new Map([['lang', lang]]), data: ONE })),
          )
        } else if ('cut' in step) {
          const { listener } = readers[step.cut] as Reading
          const at = cursorOf(listener)
          listener.cut()
          await settled()
          readers[step.cut] = await start(step.wish, at)
        } else if ('stop' in step) {
          readers[step.stop]?.listener.stop()
          readers[step.stop]?.model.stop()
        } else if ('read' in step) {
          readers[step.read]?.listener.read()
          readers[step.read]?.model.read()
        } else {
          for (const { listener, model } of readers) {
            listener.connection.beat()
            model.beat()
          }
        }
        await settled()
        for (const { listener, model } of readers) {
          model.news(events.slice(-RETENTION.events), Math.max(0, events.length - RETENTION.events))
          const received = linesOf(listener)
          if (`${received}` !== `${model.lines}`)
            throw new Error(`received ${received}\nmodel ${model.lines}`)
        }
      }
      for (const close of closes) close()
    }),
    { numRuns: 150, examples: [[[{}, {}, {}], HEARTBEAT_WAITS]] },
  )
  t.pass()
})

interface Reading {
  readonly listener: Listener
  readonly model: ModelReader
}

const ONE = Buffer.from('1')

function selectionFor({ lang, newest }: Wish): Selection | undefined {
  return selectionOf({ filter: lang === undefined ? undefined : inLang(lang), newest: newest && 'type' })
}

const offsetIn = (position: string) => Number(position.split('-')[1])

/** The client's received messages, in the form of the model, without heartbeats. */
function linesOf({ lines }: Listener): string[] {
  return lines.map(line => {
    const { id, skipped, gap, passed } = JSON.parse(line)
    if (gap !== undefined) return `gap ${offsetIn(gap.from)} ${offsetIn(gap.to)}`
    if (passed !== undefined) return `passed ${offsetIn(passed.cursor)}`
    return skipped === undefined ? `${offsetIn(id)}` : `${offsetIn(id)} skipped ${skipped}`
  })
}

/** The resume position of a client with these messages. */
function cursorOf(listener: Listener): number {
  const last = listener.lines.at(-1)
  if (last === undefined) return listener.began
  const { id, gap, passed } = JSON.parse(last)
  return offsetIn(id ?? gap?.to ?? passed.cursor)
}
