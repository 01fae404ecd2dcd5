// The log on a master named by sentinels, with a password and in a separate database: the contract and failovers.

import t from 'tap'
import { LogUnavailable } from '../../services/broker/log/log.ts'
import { RedisLog, type RedisLogOptions } from '../../services/broker/log/redis/log.ts'
import { append, drafts, record } from '../contract/log.ts'
import { startSentinel } from '../support/redis-groups.ts'
import type { RedisServer } from '../support/redis-server.ts'
import { openRedisLog, redisContract, redisLogOptions, works } from '../support/redis-logs.ts'
import { storm } from '../support/redis-storm.ts'
import { until } from '../support/until.ts'

const group = await startSentinel(3, 'secret word')
t.teardown(() => group.stop())

const options = (more: Partial<RedisLogOptions> = {}): RedisLogOptions =>
  redisLogOptions(`${group.url}/2`, more)

redisContract(t, 'sentinel', options)

t.test('the log connects to the master and the database named in the URL', async t => {
  const settings = options()
  const log = await openRedisLog(t, settings)
  await append(log, 'a', drafts(1))
  const raw = group.raw(await group.master())
  t.equal(await raw.exists(`${settings.prefix}:{a}:m`), 0)
  await raw.select(2)
  t.equal(await raw.exists(`${settings.prefix}:{a}:m`), 1)
  await raw.select(0)
})

t.test('a name unknown to the sentinels, or unreachable sentinels, make the log unavailable', async t => {
  for (const url of [group.url.replace(group.name, 'other'), 'redis+sentinel://127.0.0.1:1/x']) {
    const log = new RedisLog(options({ url, timeout: 5000 }))
    const error = await log.open().catch(error => error)
    t.ok(error instanceof LogUnavailable && /sentinel/i.test(error.message), `${error}`)
    t.notMatch(`${error.stack}`, /secret/)
  }
  const some = group.url.replace('@', '@127.0.0.1:1,')
  await (await openRedisLog(t, options({ url: some }))).probe()
})

t.test('a replica takes over when a sentinel orders it', async t => {
  const logs = [
    await openRedisLog(t, options({ prefix: 'order' })),
    await openRedisLog(t, options({ prefix: 'order' })),
  ]
  const events = await storm(t, logs, ['a', 'b'])
  await events.more(10)
  const replica = await group.replica()
  // The sentinel may abort a failover without notice, so it is ordered repeatedly.
  for (let order = 1; (await group.master()) !== replica; order++) {
    await group
      .watch(group.sentinels[0] as RedisServer)
      .call('SENTINEL', 'FAILOVER', group.name)
      .catch(error => {
        // The earlier order may still be in progress, or the replica may not have been seen since.
        if (!/INPROG|NOGOODSLAVE/.test(`${error}`)) throw error
      })
    await until(`failover ${order}`, async () => (await group.master()) === replica, 10_000).catch(error => {
      if (order === 6) throw error
    })
  }
  await until('the logs have reconnected', () => logs.every(log => log.reconnects >= 2))
  await events.more(20)
  const recorders = await events.end()
  t.ok(
    recorders.every(each => each.gaps.length >= 1),
    'the failover starts an epoch',
  )
  for (const log of logs) await until('the probe succeeds', () => works(log))
})

t.test('a master dies, and the events that its replica lacks are inside a gap', async t => {
  const logs = [
    await openRedisLog(t, options({ prefix: 'dies' })),
    await openRedisLog(t, options({ prefix: 'dies' })),
  ]
  const events = await storm(t, logs, ['a', 'b'])
  await events.more(10)
  for (let i = 0; i < 2; i++) {
    const replica = await group.replica()
    const master = await group.master()
    replica.pause()
    await events.more(10)
    await master.kill()
    const refusal = events.refusal()
    replica.resume()
    await refusal
    await until('the replica is the master', async () => (await group.master()) === replica)
    await events.more(20)
    await master.restart()
  }
  await group.replica()
  await events.more(5)
  const recorders = await events.end()
  t.ok(
    recorders.every(each => each.gaps.length >= 2),
    'each failover starts an epoch',
  )
  t.ok(events.refused.length > 0)
  for (const log of logs) await until('the probe succeeds', () => works(log))
})

t.test('close leaves no connection and no timer', async t => {
  const count = () =>
    process.getActiveResourcesInfo().filter(each => /TCP|Timeout|Immediate/.test(each)).length
  await until('most connections are closed', () => count() < 1000)
  const before = count()
  const log = new RedisLog(options())
  await log.open()
  await record(log, 'a')
  await log.append('a', drafts(3))
  await log.probe()
  t.ok(count() > before)
  await log.close()
  await until('the connections are closed', () => count() <= before)
})
