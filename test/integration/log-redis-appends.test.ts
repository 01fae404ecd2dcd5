// Appends to Redis have a fast path for the common case, which must write the same data as the general path.

import { Redis } from 'ioredis'
import t from 'tap'
import { openRedisLog, redisLogOptions } from '../support/redis-logs.ts'
import { anyRedis } from '../support/redis-server.ts'
import { ALL, dataOf, draft } from '../contract/log.ts'
import { until } from '../support/until.ts'

const redis = await anyRedis({ acl: true })
t.teardown(() => redis.stop())
const raw = new Redis(redis.url)
t.teardown(() => raw.disconnect())

t.test(
  'an append without a key writes the same data as one with a key, whatever must be trimmed',
  async t => {
    const options = redisLogOptions(redis.url, {
      retentionOf: () => ({ events: 7, age: 3_600_000, bytes: 60 }),
    })
    const log = await openRedisLog(t, options)
    const state = async (channel: string) => {
      const [head, sum, floor, before, over] = await raw.hmget(
        `${options.prefix}:{${channel}}:m`,
        ...['h', 'u', 'f', 'fu', 'o'],
      )
      const { events } = await log.read(channel, 'earliest', ALL)
      return {
        head,
        sum,
        floor,
        before,
        over,
        data: events.map(dataOf),
        ids: events.map(({ offset }) => offset),
      }
    }
    for (let i = 1; i <= 40; i++) {
      // The longest value alone exceeds the retention.
      const value = 'x'.repeat([0, 1, 9, 30, 70][i % 5] as number)
      const more = i % 3 === 0 ? ({ type: 'a', priority: 'low' } as const) : {}
      const [[plain], [keyed]] = await Promise.all([
        log.append('plain', [draft(value, more)]),
        log.append('keyed', [draft(value, { ...more, idempotencyKey: `k${i}` })]),
      ])
      t.strictSame([plain?.position.offset, keyed?.position.offset], [i, i])
      const [short, long] = [await state('plain'), await state('keyed')]
      if (JSON.stringify(short) !== JSON.stringify(long)) t.strictSame(short, long, `after event ${i}`)
    }
    const ttl = await raw.pttl(`${options.prefix}:{plain}:m`)
    t.ok(ttl > 0, 'its keys expire')
  },
)

t.test('a quiet channel loses its expired idempotency keys, and nothing else', async t => {
  const options = redisLogOptions(redis.url, { idempotencyWindow: 5000 })
  const log = await openRedisLog(t, options)
  const key = (suffix: string) => `${options.prefix}:{quiet}:${suffix}`
  const keyed = (n: number) => draft(n, { idempotencyKey: `k${n}` })
  const [first] = await log.append('quiet', [1, 2, 3].map(keyed))
  const remembered = async () => (await raw.hlen(key('i0'))) + (await raw.hlen(key('i1')))
  await until('the keys are gone', async () => (await remembered()) === 2)
  const left = await Promise.all(['i0', 'i1'].map(suffix => raw.pttl(key(suffix))))
  t.ok(
    left.every(ms => ms > 0 && ms <= 2 ** 31),
    'the hashes still expire with their channel',
  )
  const [again, replay] = [await log.append('quiet', [keyed(1)]), await log.append('quiet', [keyed(1)])]
  t.strictSame(again[0]?.position, { epoch: first?.position.epoch, offset: 4 }, 'the epoch continues')
  t.equal(replay[0]?.replayed, true)
})

t.test('long idempotency keys take little memory in Redis, and are distinguished', async t => {
  const options = redisLogOptions(redis.url)
  const log = await openRedisLog(t, options)
  const keyed = (key: string) => log.append('long', [draft(1, { idempotencyKey: key })])
  const long = 'k'.repeat(127)
  const keys = [...'abc'].map(end => long + end)
  for (const key of keys) t.equal((await keyed(key))[0]?.replayed, false)
  for (const [i, key] of keys.entries())
    t.match((await keyed(key))[0], { replayed: true, position: { offset: i + 1 } })
  const fields = await Promise.all(
    ['i0', 'i1'].map(suffix => raw.hkeys(`${options.prefix}:{long}:${suffix}`)),
  )
  t.equal(fields.flat().length, 5, 'three keys and two windows')
  t.ok(fields.flat().every(field => field.length <= 64))
})
