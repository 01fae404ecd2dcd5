// Appends to Redis have a fast path for the common case; it must leave the same data as the general one.

import { Redis } from 'ioredis'
import t from 'tap'
import { openRedisLog, redisLogOptions } from '../support/redis-logs.ts'
import { anyRedis } from '../support/redis-server.ts'
import { ALL, dataOf, draft } from '../contract/log.ts'

const redis = await anyRedis({ acl: true })
t.teardown(() => redis.stop())
const raw = new Redis(redis.url)
t.teardown(() => raw.disconnect())

t.test(
  'an event without a key leaves the same data as one with a key, whatever has to be trimmed',
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
      // The longest is more than is kept.
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
