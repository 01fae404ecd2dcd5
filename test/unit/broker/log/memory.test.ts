import t from 'tap'
import { HeadMoved } from '../../../../services/broker/log/log.ts'
import { MemoryLog } from '../../../../services/broker/log/memory.ts'
import {
  ALL,
  draft,
  drafts,
  type LogSettings,
  logContract,
  record,
  retentionIn,
} from '../../../contract/log.ts'
import { logActsContract } from '../../../contract/log-acts.ts'

const make = async (settings: LogSettings, now?: () => number) => {
  const { idempotencyWindow = 60_000 } = settings
  const log = new MemoryLog({
    retentionOf: retentionIn(settings),
    idempotencyWindow,
    ...(now && { now }),
  })
  await log.open()
  return log
}

logContract(t, 'memory', settings => make(settings))
logActsContract(t, 'memory', settings => make(settings))

t.test('a feed is notified synchronously when the append takes effect', async t => {
  const log = await make({})
  const recorder = await record(log, 'a')
  const appended = log.append('a', drafts(2))
  t.equal(recorder.delivered.length, 2)
  await appended
})

t.test('an event is kept for exactly its maximum age', async t => {
  let now = 1000
  const log = await make({ retention: { age: 100 } }, () => now)
  await log.append('a', [draft(1)])
  now = 1050
  await log.append('a', [draft(2)])
  now = 1100
  t.equal((await log.state('a')).count, 2)
  now = 1101
  t.equal((await log.state('a')).count, 1)
  now = 1151
  t.equal((await log.state('a')).count, 0)
})

t.test('a clock that goes back affects neither time nor events', async t => {
  let now = 5000
  const log = await make({ retention: { age: 100 } }, () => now)
  await log.append('a', [draft(1)])
  now = 1000
  const [receipt] = await log.append('a', [draft(2)])
  t.equal(receipt?.time, 5000)
  t.equal((await log.state('a')).count, 2)
})

t.test('empty channels are dropped, the longest idle first', async t => {
  const log = await make({})
  const { cursor } = await log.read('first', 'latest', ALL)
  await log.append('held', [draft(1)])
  const recorder = await record(log, 'followed')
  for (let i = 0; i < 9000; i++) await log.state(`stranger-${i}`)
  t.same(
    (await log.read('first', 'latest', ALL)).cursor,
    cursor,
    'the channel is not dropped yet; this read makes it recently used',
  )
  for (let i = 9000; i < 18_000; i++) await log.state(`stranger-${i}`)
  t.same(
    (await log.read('first', 'latest', ALL)).cursor,
    cursor,
    'channels that were idle for longer were dropped first',
  )
  for (let i = 18_000; i < 29_000; i++) await log.state(`stranger-${i}`)
  t.not((await log.read('first', 'latest', ALL)).cursor.epoch, cursor.epoch)
  t.equal((await log.state('held')).count, 1)
  t.same((await log.state('followed')).head, recorder.started)
})

t.test('channels that only refused conditional appends are dropped, too', async t => {
  const log = await make({})
  const refused = async (name: string) => {
    const error = await log
      .append(name, [draft(1, { ifHead: { epoch: 'x', offset: 1 } })])
      .catch(error => error)
    if (!(error instanceof HeadMoved)) throw new Error(`${name} was not refused`)
    return error.head.epoch
  }
  const epoch = await refused('first')
  t.equal(await refused('first'), epoch)
  for (let i = 0; i < 11_000; i++) await refused(`stranger-${i}`)
  t.not(await refused('first'), epoch)
})

t.test('channels with only expired events are dropped, too', async t => {
  let now = 1000
  const log = await make({ retention: { age: 100 }, idempotencyWindow: 100 }, () => now)
  const [receipt] = await log.append('old', [draft(1)])
  now = 2000
  for (let i = 0; i < 11_000; i++) await log.state(`stranger-${i}`)
  t.not((await log.state('old')).head.epoch, receipt?.position.epoch)
})

t.test('the cost of an append does not grow with the number of appends', async t => {
  const log = await make({ retention: { events: 50_000 } })
  const append = async (count: number) => {
    for (let i = 0; i < count; i++) await log.append('a', [draft(i)])
  }
  // Nanoseconds per append in the fastest of 50 rounds, because a busy machine interrupts some rounds.
  const cost = async () => {
    let least = Infinity
    for (let round = 0; round < 50; round++) {
      const from = process.hrtime.bigint()
      await append(100)
      least = Math.min(least, Number(process.hrtime.bigint() - from) / 100)
    }
    return least
  }
  await append(50_000)
  const first = await cost()
  await append(30_000)
  const last = await cost()
  t.ok(last < first * 10 + 5000, `${first} ns, then ${last} ns`)
})
