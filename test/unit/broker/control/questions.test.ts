import t, { type Test } from 'tap'
import { answersOf } from '../../../../services/broker/control/channels.ts'
import type { NodeInfo } from '../../../../services/broker/control/nodes.ts'
import { type Answers, Questions } from '../../../../services/broker/control/questions.ts'
import { LogUnavailable } from '../../../../services/broker/log/log.ts'
import { stopPerformanceNow } from '../../../support/stopped-clock.ts'
import { sharedLog, silent } from './shared-log.ts'

type Items = Readonly<Record<string, number>>

const info = (id: string): NodeInfo => ({
  id,
  started: 0,
  role: 'all',
  version: '1',
  host: 'here',
  pid: 1,
  connections: 0,
  channels: 0,
})

/** Starts nodes by name, each with the readers of its channels. The `dead` nodes are known but do not run. */
async function cluster(t: Test, all: Readonly<Record<string, Items>>, dead: readonly string[] = []) {
  const shared = sharedLog()
  const known = [...Object.keys(all), ...dead].map(info)
  const nodes = Object.entries(all).map(([id, items]) => {
    const log = shared.view()
    const questions = new Questions({ log, logger: silent, nodes: { id, list: () => known } }).answer(
      'channels',
      function* ({ match = '' }) {
        for (const [channel, readers] of Object.entries(items))
          if (channel.startsWith(match)) yield [channel, () => ({ readers })]
      },
    )
    return { questions, log }
  })
  for (const { questions } of nodes) {
    t.equal(await questions.open(), true)
    t.teardown(() => questions.close())
  }
  const [first] = nodes
  if (first === undefined) throw new Error('no nodes')
  return { ...shared, nodes, ...first }
}

const LONG = { timeout: 30_000 }

t.test('every node answers, and an item from several nodes is one entry', async t => {
  const { questions } = await cluster(t, { a: { news: 1, chat: 2 }, b: { news: 3 }, c: {} })
  t.strictSame(await questions.ask('channels', {}, LONG), {
    entries: [
      { key: 'chat', items: [{ node: 'a', item: { readers: 2 } }] },
      {
        key: 'news',
        items: [
          { node: 'a', item: { readers: 1 } },
          { node: 'b', item: { readers: 3 } },
        ],
      },
    ],
    next: undefined,
    silent: [],
  })
  const { entries } = await questions.ask('channels', { match: 'ch' }, LONG)
  t.strictSame(
    entries.map(({ key }) => key),
    ['chat'],
  )
})

t.test('a node that does not answer in time is named', async t => {
  const { questions } = await cluster(t, { a: { news: 1 }, b: { news: 2 } }, ['dead'])
  const { entries, silent } = await questions.ask('channels', {}, { timeout: 50 })
  t.equal(entries[0]?.items.length, 2)
  t.strictSame(silent, [info('dead')])
  const nobody = await questions.ask('connections', {}, { timeout: 50 })
  t.strictSame(
    nobody.silent.map(({ id }) => id),
    ['a', 'b', 'dead'],
    'no node answers an unknown question',
  )
})

t.test('pages hold all entries, once and in order', async t => {
  const names = (count: number, step: number) =>
    Object.fromEntries(Array.from({ length: count }, (_, i) => [`c${(i * step) % 9973}`, step]))
  const all = { a: names(5000, 7), b: names(333, 11), c: names(1, 1), d: {} }
  const { questions } = await cluster(t, all)
  const keys: string[] = []
  let items = 0
  for (let after: string | undefined = ''; after !== undefined;) {
    const page: Answers<'channels'> = await questions.ask('channels', {}, { ...LONG, limit: 500, after })
    t.ok(page.entries.length <= 500)
    keys.push(...page.entries.map(({ key }) => key))
    items += page.entries.reduce((sum, each) => sum + each.items.length, 0)
    after = page.next
  }
  const expected = [...new Set(Object.values(all).flatMap(each => Object.keys(each)))].sort()
  t.strictSame(keys, expected)
  t.equal(items, 5334)
})

t.test('an answer is bounded in bytes', async t => {
  const long = 'x'.repeat(400)
  const many = Object.fromEntries(Array.from({ length: 3000 }, (_, i) => [`${long}${i}`, i]))
  const { questions, log } = await cluster(t, { a: many, b: { [`${long}0`]: 1, zebra: 1 } })
  let largest = 0
  const { append } = log
  log.append = (channel, drafts) => {
    if (channel.startsWith(answersOf('')))
      largest = Math.max(largest, ...drafts.map(({ data }) => data.length))
    return append.call(log, channel, drafts)
  }
  const keys: string[] = []
  for (let after: string | undefined = ''; after !== undefined;) {
    const page: Answers<'channels'> = await questions.ask('channels', {}, { ...LONG, limit: 5000, after })
    keys.push(...page.entries.map(({ key }) => key))
    after = page.next
  }
  t.equal(keys.length, 3001)
  t.equal(new Set(keys).size, 3001)
  t.ok(largest > 100_000 && largest < 300 * 1024, `${largest} bytes`)
})

t.test('a node looks for items in slices, even if it finds none', async t => {
  const clock = stopPerformanceNow(t)
  const { questions } = await cluster(t, { a: {} })
  let looked = 0
  const turns = new Set<number>()
  const count = () => void (turns.add(looked), (counting = setImmediate(count)))
  let counting = setImmediate(count)
  t.teardown(() => clearImmediate(counting))
  questions.answer('channels', function* () {
    for (looked = 1; looked <= 6; looked++) {
      clock.forward(1)
      yield undefined
    }
  })
  t.strictSame((await questions.ask('channels', {}, LONG)).entries, [])
  t.ok(turns.has(2) && turns.has(4), 'others had their turn in between')
})

t.test('concurrent questions do not mix up answers, and leave no feed open', async t => {
  const { questions, log } = await cluster(t, { a: { x1: 1, y1: 1 }, b: { x2: 2 } })
  const before = log.follows
  const [x, y] = await Promise.all([
    questions.ask('channels', { match: 'x' }, LONG),
    questions.ask('channels', { match: 'y' }, LONG),
  ])
  t.strictSame(
    x.entries.map(({ key }) => key),
    ['x1', 'x2'],
  )
  t.strictSame(
    y.entries.map(({ key }) => key),
    ['y1'],
  )
  t.equal(log.follows, before + 1, 'both questions share a feed')
  await questions.ask('channels', {}, LONG)
  t.equal(log.follows, before + 2, 'the shared feed was closed')
})

t.test('a question is rejected if the log is unavailable', async t => {
  const { questions, log } = await cluster(t, { a: {} })
  log.broken = new LogUnavailable('away')
  await t.rejects(questions.ask('channels', {}, { timeout: 10 }), LogUnavailable)
})

t.test('close ends the pending questions', async t => {
  const { questions } = await cluster(t, { a: {} }, ['dead'])
  const answer = questions.ask('channels', {}, LONG)
  questions.close()
  t.ok((await answer).silent.some(({ id }) => id === 'dead'))
})
