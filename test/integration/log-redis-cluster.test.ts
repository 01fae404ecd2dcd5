// The log on a Redis Cluster: the contract, failovers and slot migrations.

import t from 'tap'
import { LogRefused, LogUnavailable } from '../../services/broker/log/log.ts'
import { RedisLog, type RedisLogOptions } from '../../services/broker/log/redis/log.ts'
import { slotOf } from '../../services/broker/log/redis/slots.ts'
import { append, draft, drafts, record } from '../contract/log.ts'
import { NODE_TIMEOUT_MS, startCluster } from '../support/redis-groups.ts'
import { type RedisServer, startRedis } from '../support/redis-server.ts'
import { openRedisLog, redisContract, redisLogOptions, works } from '../support/redis-logs.ts'
import { storm } from '../support/redis-storm.ts'
import { until } from '../support/until.ts'

const cluster = await startCluster(3, 1, { acl: true })
t.teardown(() => cluster.stop())

// Heads are compared rarely, because feeds must follow migrations without comparisons.
const options = (more: Partial<RedisLogOptions> = {}): RedisLogOptions =>
  redisLogOptions(cluster.url, { compareEvery: 60_000, ...more })

/** Names of channels in the same slot. */
function sameSlot(count: number, slot = slotOf('first')): string[] {
  const names: string[] = []
  for (let i = 0; names.length < count; i++) if (slotOf(`s${i}`) === slot) names.push(`s${i}`)
  return names
}

/** Channels in slots of three different masters. */
const SPREAD = ['a', 'b', 'c']

redisContract(t, 'cluster', options)

t.test('slots match those of Redis', async t => {
  const raw = cluster.raw(cluster.servers[0] as RedisServer)
  for (const name of ['', '123456789', 'fw:{a}:m', '{}x', '{x', 'a}b{c}', '{a}{b}', 'x'.repeat(200)]) {
    t.equal(slotOf(name), await raw.call('CLUSTER', 'KEYSLOT', name), name)
  }
  t.equal(new Set(SPREAD.map(name => Math.floor(slotOf(name) / 5462))).size, 3)
})

t.test('many channels are followed and compared across all masters', async t => {
  const log = await openRedisLog(t, options({ compareEvery: 400 }))
  const names = Array.from({ length: 600 }, (_, i) => `c${i}`)
  await Promise.all(names.map(name => append(log, name, drafts(1))))
  const recorders = await Promise.all(names.map(name => record(log, name)))
  for (const server of cluster.servers.slice(0, 3))
    await cluster.raw(server).call('CLIENT', 'KILL', 'TYPE', 'pubsub')
  const heads = await Promise.all(names.map(async name => append(log, name, drafts(2))))
  for (const [i, recorder] of recorders.entries())
    await recorder.reaches(heads[i] ?? { epoch: '', offset: 0 })
  for (const recorder of recorders) if (recorder.faults.length || recorder.gaps.length) t.fail('a gap')
  await until('the probe succeeds', () => works(log))
  await until('all feeds have reconnected', () => log.reconnects >= 3)
})

t.test('a probe covers every master; an unavailable one is named and fails its own channels', async t => {
  // No replica takes over while its master is paused.
  const nodeTimeout = (ms: number) =>
    Promise.all(
      cluster.servers.map(each => cluster.raw(each).call('CONFIG', 'SET', 'cluster-node-timeout', ms)),
    )
  t.teardown(() => nodeTimeout(NODE_TIMEOUT_MS))
  await nodeTimeout(60_000)
  const log = await openRedisLog(t, options({ timeout: 5000 }))
  await log.probe()
  for (const name of SPREAD) {
    const server = await cluster.owner(slotOf(name))
    const address = `127.0.0.1:${server?.port}`
    server?.pause()
    try {
      await until('the log notices it', async () => {
        await log.probe()
        return log.away(name) !== undefined
      })
      t.match(log.away(name), { name: 'LogUnavailable', message: new RegExp(address) })
      const error = await log.append(name, [draft(1)]).catch(error => error)
      t.ok(error instanceof LogUnavailable && error.message.includes(address), `${error}`)
      for (const other of SPREAD.filter(each => each !== name)) {
        t.equal(log.away(other), undefined)
        await append(log, other, [draft(1)])
      }
    } finally {
      server?.resume()
    }
    await until('the master is available', async () => (await works(log)) && log.away(name) === undefined)
    await append(log, name, [draft(2)])
  }
  for (const server of cluster.servers.slice(0, 3)) server.pause()
  await until('all masters are unavailable', async () => !(await works(log)))
  for (const server of cluster.servers.slice(0, 3)) server.resume()
  await cluster.settled()
  await until('all masters are available', () => works(log))
})

t.test('a slot moves away and back while events are appended and followed', async t => {
  const slot = slotOf('first')
  const names = sameSlot(3)
  const fresh = sameSlot(12).slice(3)
  // Short, so that idempotency windows rotate while the slot moves.
  const settings = options({ idempotencyWindow: 150 })
  const logs = [await openRedisLog(t, settings), await openRedisLog(t, settings)]
  const events = await storm(t, logs, [...names, 'a', 'b'])
  const { refused } = events
  await events.more(10)
  const { master: home } = await cluster.pair(slot)
  const away = cluster.servers.slice(0, 3).find(server => server !== home) as RedisServer
  for (const to of [away, home]) {
    await cluster.move(slot, to, async there => {
      await new Promise(resolve => setTimeout(resolve, 400))
      if (there !== 'half') for (const name of names) await append(logs[1] as RedisLog, name, [draft(-1)])
      const late = await logs[0]?.append(fresh.pop() ?? '', [draft(1)]).catch(error => error)
      t.ok(late instanceof LogUnavailable, 'an append to a new channel is rejected during the migration')
    })
    await events.more(10)
  }
  await cluster.settled()
  const recorders = await events.end()
  const gaps = recorders.map(each => each.gaps.length)
  t.ok(
    gaps.slice(0, 6).every(count => count >= 2),
    `each migration starts an epoch: ${gaps}`,
  )
  t.same(gaps.slice(6), [0, 0, 0, 0], 'channels of other slots have no gap')
  t.ok(
    refused.every(each => /TRYAGAIN|MOVED|ASK/.test(each)),
    `${[...new Set(refused)]}`,
  )
  await until('the probe succeeds', () => works(logs[0] as RedisLog))
})

t.test('a replica takes over in an orderly failover, and hands back', async t => {
  const settings = options()
  const logs = [await openRedisLog(t, settings), await openRedisLog(t, settings)]
  const events = await storm(t, logs, SPREAD)
  const [watched = ''] = sameSlot(1, slotOf('a'))
  const watch = await record(logs[0] as RedisLog, watched)
  await events.more(10)
  for (let i = 0; i < 2; i++) {
    await cluster.failover(slotOf('a'))
    await events.more(20)
  }
  await cluster.settled()
  await events.end()
  const [log] = logs as [RedisLog]
  await watch.reaches(await append(log, watched, drafts(1)))
  await until('messages arrive again, so that nothing is read', async () => {
    const { reads } = log
    await watch.reaches(await append(log, watched, drafts(1)))
    return log.reads === reads
  })
  for (const log of logs) await until('the probe succeeds', () => works(log))
})

t.test('a master dies, and the events that its replica lacks are inside a gap', async t => {
  const settings = options()
  const logs = [await openRedisLog(t, settings), await openRedisLog(t, settings)]
  const events = await storm(t, logs, SPREAD)
  await events.more(10)
  for (let i = 0; i < 2; i++) {
    const { master, replica } = await cluster.pair(slotOf('b'))
    replica.pause()
    await events.more(10)
    await master.kill()
    const refusal = events.refusal()
    replica.resume()
    await refusal
    await until('the replica is the master', async () => (await cluster.owner(slotOf('b'))) === replica)
    await events.more(20)
    await master.restart()
    await cluster.settled()
    await events.more(5)
  }
  const [a, , b, , c] = await events.end()
  t.ok((b?.gaps.length ?? 0) >= 2)
  t.same([...(a?.gaps ?? []), ...(c?.gaps ?? [])], [], 'channels of other masters have no gap')
  for (const log of logs) await until('the probe succeeds', () => works(log))
})

t.test('W4: Redis and Valkey report whether they are a cluster', async t => {
  const single = await startRedis()
  t.teardown(() => single.stop())
  const wrong = [
    [`redis+cluster://127.0.0.1:${single.port}`, /not a cluster: .* redis:\/\//],
    [`redis://127.0.0.1:${cluster.servers[0]?.port}`, /cluster: .* redis\+cluster:\/\//],
  ] as const
  for (const [url, message] of wrong) {
    const error = await new RedisLog(options({ url })).open().catch(error => error)
    t.ok(error instanceof LogRefused && message.test(error.message), `${error}`)
  }
  const away = `redis+cluster://127.0.0.1:${single.port},127.0.0.1:${cluster.servers[1]?.port}`
  await (await openRedisLog(t, options({ url: away }))).probe()
  await single.stop()
  await (await openRedisLog(t, options({ url: away }))).probe()
})

t.test('the rights in infra/redis.acl were sufficient for these tests', async t => {
  for (const server of cluster.servers) t.same(await cluster.raw(server).call('ACL', 'LOG'), [])
})

t.test('close leaves no connection and no timer', async t => {
  const count = () =>
    process.getActiveResourcesInfo().filter(each => /TCP|Timeout|Immediate/.test(each)).length
  const before = count()
  const log = new RedisLog(options())
  await log.open()
  await Promise.all(SPREAD.map(name => record(log, name)))
  await Promise.all(SPREAD.map(name => log.append(name, drafts(3))))
  await log.probe()
  t.ok(count() > before)
  await log.close()
  await until('the connections are closed', () => count() <= before)
})
