// Reads are sent to Redis in limited numbers, because an append waits for the replies to earlier reads.

import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { Reads } from '../../../../services/broker/log/redis/read-batcher.ts'
import { Names } from '../../../../services/broker/log/redis/scripts.ts'

const LIMIT = { events: 1, bytes: 1 }
const KEYS_OF_ONE = 4

/** A Redis that answers when the test calls `answer`, with events of `size` bytes. */
function setUp({ size = 0, sharded = false }) {
  const calls: { channels: number; answer(): void; fail(): void }[] = []
  const record = Buffer.concat([Buffer.from(`1 e 1 1 0 ${size} 0 \n`), Buffer.alloc(size, '1')])
  const reply = [Buffer.from('e'), Buffer.from(''), 1, 0, Buffer.from('there 0 0'), record]
  const reads = new Reads({
    script: { text: '', sha: '' },
    names: new Names('fw', 0),
    sharded,
    topology: {
      slot: () => 0,
      call: (_slot, { args }) =>
        new Promise((resolve, reject) => {
          const channels = Number(args[1]) / KEYS_OF_ONE
          calls.push({
            channels,
            answer: () => resolve(Array(channels).fill(reply)),
            fail: () => reject(new Error('away')),
          })
        }),
    },
  })
  const read = (count: number) =>
    Promise.allSettled(Array.from({ length: count }, (_, i) => reads.read(`c${i}`, [], LIMIT)))
  /** The number of channels of each call that was sent since the last `answerAll`. */
  const sent = async () => {
    for (let i = 0; i < 3; i++) await turn()
    return calls.map(({ channels }) => channels)
  }
  const answerAll = () => {
    for (const { answer } of calls.splice(0)) answer()
  }
  /** Answers many reads, from which the batcher learns the size of events. */
  const learn = async () => {
    const known = read(100)
    while ((await sent()).length > 0) answerAll()
    await known
  }
  return { calls, read, sent, answerAll, learn }
}

t.test('many small reads go to Redis at once', async t => {
  const { read, sent, answerAll, learn } = setUp({ size: 100 })
  await learn()
  const all = read(200)
  t.strictSame(await sent(), [64, 64, 64, 8])
  answerAll()
  await all
})

t.test('S6: few large events are read at a time, and all are read in the end', async t => {
  const { read, sent, answerAll, learn } = setUp({ size: 500_000 })
  await learn()
  const all = read(20)
  let answered = 0
  for (let calls = await sent(); calls.length > 0; calls = await sent()) {
    const under = calls.reduce((sum, channels) => sum + channels, 0)
    t.ok(under <= 5, `${under} at a time`)
    answered += under
    answerAll()
  }
  t.equal(answered, 20)
  t.ok((await all).every(({ status }) => status === 'fulfilled'))
})

t.test('after Redis has failed to answer, calls do not wait for one timeout after another', async t => {
  const { calls, read, sent, learn } = setUp({ size: 500_000 })
  await learn()
  const all = read(20)
  await sent()
  const [first] = calls.splice(0)
  first?.fail()
  const under = (await sent()).reduce((sum, channels) => sum + channels, first?.channels ?? 0)
  t.equal(under, 20)
  for (const { fail } of calls) fail()
  t.ok((await all).every(({ status }) => status === 'rejected'))
})

t.test('in a cluster, a master that does not answer delays no other', async t => {
  const { read, sent, answerAll, learn } = setUp({ size: 500_000, sharded: true })
  await learn()
  const all = read(20)
  t.equal((await sent()).length, 20)
  answerAll()
  await all
})
