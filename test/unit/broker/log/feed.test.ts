// The feed of one channel in the worst cases: messages are late or lost, a read is executed at one time and answered
// at another, and epochs end at any time.

import fc from 'fast-check'
import t from 'tap'
import { beginEpoch, type History, headOf, pageOf, place } from '../../../../services/broker/log/history.ts'
import type { Page, PageLimit } from '../../../../services/broker/log/log.ts'
import { LogUnavailable } from '../../../../services/broker/log/log.ts'
import type { Position, Start } from '../../../../services/broker/event/position.ts'
import { printPosition } from '../../../../services/broker/event/position.ts'
import { RedisFeed } from '../../../../services/broker/log/redis/feed.ts'
import { parseRecords } from '../../../../services/broker/log/redis/records.ts'
import { Recorder } from '../../../contract/log.ts'
import { until } from '../../../support/until.ts'

interface Read {
  readonly after: Start
  readonly limit: PageLimit
  page: Page | undefined
  answer(page: Page): void
  fail(error: Error): void
}

/** Lets pending callbacks run. */
const settle = () => new Promise(resolve => setImmediate(resolve))

/** A log that appends and reads at once, with its messages in transit to and from the feed. */
class Model {
  history: History = { epoch: 'e0', ended: [], head: 0, floor: 0 }
  readonly records: Buffer[] = []
  readonly messages: Buffer[] = []
  readonly reads: Read[] = []
  readonly recorder = new Recorder()
  holes = 0
  readonly feed = new RedisFeed({
    channel: 'a',
    follower: this.recorder,
    read: (_, after, limit) =>
      new Promise<Page>((answer, fail) => {
        this.reads.push({ after, limit, page: undefined, answer, fail })
      }),
    hole: () => {
      this.holes++
    },
    closed() {},
  })

  /** Appends events, and sends them to the feed as one message. */
  append(count: number): void {
    const from = this.records.length
    for (let i = 0; i < count; i++) {
      const head = this.history.head + 1
      this.history = { ...this.history, head }
      this.records.push(Buffer.from(`1 ${this.history.epoch} ${head} 1 0 ${`${head}`.length} 0 \n${head}`))
    }
    this.messages.push(Buffer.concat(this.records.slice(from)))
  }

  /** Loses the newest `count` events, and begins an epoch. */
  lose(count: number): void {
    const begin = this.history.ended.at(-1)?.end ?? 0
    const head = Math.max(begin, this.history.head - count)
    this.records.length = head
    this.history = beginEpoch({ ...this.history, head }, `e${this.history.ended.length + 1}`)
  }

  deliver(): void {
    const message = this.messages.shift()
    if (message) this.feed.message(message)
  }

  execute(): void {
    const read = this.reads[0]
    if (read === undefined || read.page !== undefined) return
    const placed = place(this.history, read.after as Position)
    const events: Parameters<typeof parseRecords>[2] = []
    const most = placed.start.offset + Math.min(read.limit.events, 3)
    for (const record of this.records.slice(placed.start.offset, most)) parseRecords('a', record, events)
    read.page = pageOf(this.history, placed, events)
  }

  answer(): void {
    const read = this.reads[0]
    if (read?.page === undefined) return
    this.reads.shift()
    read.answer(read.page)
  }

  async opened(): Promise<void> {
    const begun = this.feed.open()
    this.execute()
    this.answer()
    await begun
  }

  /** Delivers all messages and answers all reads until nothing is pending. */
  async finish(): Promise<void> {
    for (let left = 1000; left > 0; left--) {
      while (this.messages.length > 0) this.deliver()
      this.execute()
      this.answer()
      await settle()
      if (this.reads.length === 0 && this.messages.length === 0) return
    }
    throw new Error('the feed does not come to rest')
  }
}

const step = fc.oneof(
  { weight: 4, arbitrary: fc.tuple(fc.constant('append' as const), fc.integer({ min: 1, max: 4 })) },
  { weight: 4, arbitrary: fc.tuple(fc.constant('deliver' as const)) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('drop' as const)) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('renew' as const)) },
  { weight: 3, arbitrary: fc.tuple(fc.constant('execute' as const)) },
  { weight: 3, arbitrary: fc.tuple(fc.constant('answer' as const)) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('lose' as const), fc.nat(3)) },
  { weight: 2, arbitrary: fc.tuple(fc.constant('settle' as const)) },
)
const steps = (more: { lose: boolean; drop: boolean }) =>
  fc
    .array(step, { minLength: 10, maxLength: 60, size: 'max' })
    .map(all =>
      all.filter(
        ([name]) => (more.lose || name !== 'lose') && (more.drop || (name !== 'drop' && name !== 'renew')),
      ),
    )

async function play(model: Model, all: readonly (readonly [string, number?])[]): Promise<void> {
  for (const [name, count = 0] of all) {
    if (name === 'append') model.append(count)
    else if (name === 'lose') model.lose(count)
    else if (name === 'deliver') model.deliver()
    else if (name === 'execute') model.execute()
    else if (name === 'answer') model.answer()
    else if (name === 'settle') await settle()
    else if (name === 'renew') model.feed.fill()
    else model.messages.shift()
  }
}

t.test(
  'without lost messages or events, everything after the head is delivered without further reads',
  async t => {
    await fc.assert(
      fc.asyncProperty(steps({ lose: false, drop: false }), async all => {
        const model = new Model()
        const begun = model.feed.open()
        await play(model, all)
        await model.finish()
        await begun
        t.same([model.recorder.faults, model.recorder.gaps, model.holes], [[], [], 0])
        t.same(model.recorder.at, headOf(model.history))
      }),
      { numRuns: 200 },
    )
  },
)

t.test('lost messages are read from the log', async t => {
  await fc.assert(
    fc.asyncProperty(steps({ lose: false, drop: true }), async all => {
      const model = new Model()
      const begun = model.feed.open()
      await play(model, all)
      await model.finish()
      await begun
      if (model.feed.isBehind(headOf(model.history))) model.feed.fill()
      await model.finish()
      t.same([model.recorder.faults, model.recorder.gaps], [[], []])
      t.same(model.recorder.at, headOf(model.history))
    }),
    { numRuns: 200 },
  )
})

t.test('lost events are reported as gaps, whatever arrives late from ended epochs', async t => {
  await fc.assert(
    fc.asyncProperty(steps({ lose: true, drop: true }), async all => {
      const model = new Model()
      const begun = model.feed.open()
      await play(model, all)
      await model.finish()
      await begun
      if (model.feed.isBehind(headOf(model.history))) model.feed.fill()
      await model.finish()
      const { faults, delivered, at } = model.recorder
      t.same(faults, [])
      t.same(at, headOf(model.history))
      t.equal(new Set(delivered.map(printPosition)).size, delivered.length)
    }),
    { numRuns: 300 },
  )
})

t.test('messages that arrive during a read follow its result at once', async t => {
  const model = new Model()
  await model.opened()
  model.append(1)
  model.messages.shift()
  model.append(1)
  model.deliver()
  t.equal(model.reads.length, 1, 'a missing offset causes a read')
  model.execute()
  model.append(2)
  model.deliver()
  model.answer()
  await settle()
  t.equal(model.reads.length, 0)
  t.equal(model.recorder.at?.offset, 4)
  t.same(model.recorder.faults, [])
})

t.test('a message of another epoch is checked with the log, even with a known offset', async t => {
  const model = new Model()
  model.append(3)
  await model.opened()
  model.messages.length = 0
  model.lose(3)
  model.append(2)
  model.deliver()
  await model.finish()
  t.same(model.recorder.gaps, [{ from: { epoch: 'e0', offset: 3 }, to: { epoch: 'e1', offset: 0 } }])
  t.same(model.recorder.at, { epoch: 'e1', offset: 2 })
})

t.test('a reconnect during a read makes it read again', async t => {
  const model = new Model()
  await model.opened()
  model.append(1)
  model.feed.fill()
  model.execute()
  model.append(1)
  model.messages.length = 0
  model.feed.fill()
  model.answer()
  await model.finish()
  t.equal(model.recorder.at?.offset, 2)
})

t.test('a reconnect while the feed opens makes it look at the head again', async t => {
  const model = new Model()
  const begun = model.feed.open()
  model.execute()
  model.append(1)
  model.messages.length = 0
  model.feed.fill()
  model.answer()
  await model.finish()
  await begun
  t.same(model.recorder.started, { epoch: 'e0', offset: 1 })
})

t.test('a message in an unknown form is read from the log', async t => {
  const model = new Model()
  await model.opened()
  model.append(1)
  model.messages.length = 0
  model.feed.message(Buffer.from('2 something new\n'))
  await model.finish()
  t.equal(model.recorder.at?.offset, 1)
})

t.test('a failed read is retried after a delay, until the feed is closed', async t => {
  const model = new Model()
  await model.opened()
  model.append(2)
  model.messages.length = 0
  model.feed.fill()
  for (let tries = 0; tries < 2; tries++) {
    const from = Date.now()
    model.reads.shift()?.fail(new LogUnavailable('away'))
    await until('the read is retried', () => model.reads.length > 0)
    t.ok(Date.now() - from >= 45)
  }
  await model.finish()
  t.equal(model.recorder.at?.offset, 2)
  model.feed.fill()
  model.reads.shift()?.fail(new LogUnavailable('away'))
  await settle()
  model.feed.close()
  model.feed.message(Buffer.from('1 e0 3 1 0 1 0 \n3'))
  await settle()
  t.equal(model.reads.length, 0)
  t.equal(model.recorder.at?.offset, 2)
})

t.test('events of one chunk are delivered together', async t => {
  const model = new Model()
  await model.opened()
  for (let i = 0; i < 5; i++) model.append(2)
  while (model.messages.length > 0) model.deliver()
  await settle()
  t.equal(model.recorder.delivered.length, 10)
  t.equal(model.recorder.calls, 1)
})

t.test('messages beyond the buffer limit of a read are read from the log', async t => {
  const model = new Model()
  await model.opened()
  model.feed.fill()
  model.execute()
  const data = JSON.stringify('x'.repeat(1024 * 1024))
  for (let offset = 1; offset <= 6; offset++) {
    model.records.push(Buffer.from(`1 e0 ${offset} 1 0 ${data.length} 0 \n${data}`))
    model.history = { ...model.history, head: offset }
    model.feed.message(model.records.at(-1) as Buffer)
  }
  model.answer()
  await model.finish()
  t.equal(model.recorder.at?.offset, 6)
  t.same(model.recorder.faults, [])
})
