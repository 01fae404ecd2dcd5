// The Redis engine: the contract, and faults that only Redis has.

import { rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import fc from 'fast-check'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { freePort } from '../../infra/local/ports.ts'
import { beginEpoch, type History, place } from '../../services/broker/log/history.ts'
import { LogRefused, LogUnavailable } from '../../services/broker/log/log.ts'
import type { Position } from '../../services/broker/event/position.ts'
import type { Receipt } from '../../services/broker/log/log.ts'
import { printPosition } from '../../services/broker/event/position.ts'
import { RedisLog, type RedisLogOptions } from '../../services/broker/log/redis/log.ts'
import {
  ALL,
  append,
  dataOf,
  draft,
  drafts,
  glance,
  RETENTION,
  Recorder,
  readAll,
  record,
} from '../contract/log.ts'
import { proxyRedis } from '../support/redis-proxy.ts'
import { openRedisLog, redisContract, redisLogOptions, silent } from '../support/redis-logs.ts'
import { anyRedis, cutAof, type RedisServer, startRedis } from '../support/redis-server.ts'
import { until } from '../support/until.ts'

const options = (url: string, more: Partial<RedisLogOptions> = {}): RedisLogOptions =>
  redisLogOptions(url, { compareEvery: 400, ...more })

/** Starts a separate Redis with a log on it, and a client to manipulate it. */
async function own(t: Test, args: readonly string[] = [], more: Partial<RedisLogOptions> = {}) {
  const redis = await startRedis({ args, acl: true })
  t.teardown(() => redis.stop())
  const settings = options(redis.url, { prefix: 'fw', ...more })
  const log = await openRedisLog(t, settings)
  return { redis, log, settings, raw: client(t, redis) }
}

function client(t: Test, redis: RedisServer): Redis {
  const raw = new Redis(redis.port, { retryStrategy: () => 50 })
  raw.on('error', () => {})
  t.teardown(() => raw.disconnect())
  return raw
}

/** Retries an append with a key until the log confirms it, like a publisher. */
async function insist(log: RedisLog, channel: string, value: number): Promise<Position> {
  for (;;) {
    try {
      return await append(log, channel, [draft(value, { idempotencyKey: `k${value}` })])
    } catch (error) {
      if (!(error instanceof LogUnavailable)) throw error
      await new Promise(resolve => setTimeout(resolve, 20))
    }
  }
}

async function unavailable(t: Test, call: Promise<unknown>, message = /./): Promise<void> {
  const error = await call.then(
    () => undefined,
    error => error,
  )
  t.ok(error instanceof LogUnavailable && message.test(error.message), String(error))
}

function sound(t: Test, recorder: Recorder): void {
  t.same(recorder.faults, [])
}

const shared = await anyRedis({ acl: true })
t.teardown(() => shared.stop())

redisContract(t, 'redis', more => options(shared.url, more))

/** The bytes of all values in Redis, including expired and deleted parts of a value. */
async function dumped(raw: Redis): Promise<Buffer> {
  const keys = await raw.keys('*')
  const dumps = await Promise.all(keys.map(key => raw.dumpBuffer(key)))
  return Buffer.concat(dumps.filter(dump => dump !== null))
}

t.test('erased data is gone from every value in Redis, and other nodes are notified', async t => {
  const { log, settings, raw } = await own(t, ['--rdbcompression', 'no'])
  const other = await openRedisLog(t, settings)
  const follower = await record(other, 'a')
  const secret = 'a-secret-that-nobody-may-keep'
  const { epoch } = await append(log, 'a', drafts(150))
  await append(log, 'a', [
    draft(secret, { tags: new Map([['who', 'tagged-secret']]), type: 'post', idempotencyKey: 'k' }),
  ])
  await append(log, 'a', drafts(150))
  await follower.reaches({ epoch, offset: 301 })
  t.ok((await dumped(raw)).includes(secret))
  t.equal(await log.erase('a', { epoch, offset: 151 }), true)
  t.notOk((await dumped(raw)).includes('secret'))
  await follower.until(() => follower.forgot === 1, 'the erasure is reported')
  const [page] = await readAll(other, 'a', 'earliest')
  t.same([page?.events.length, page?.events[150]?.kind, page?.gap], [301, 'erased', undefined])
  t.ok((await raw.pttl('fw:{a}:s')) > 0, 'the rewritten stream expires with the other keys')
  await append(log, 'a', [draft(secret)])
  const head = await log.clear('a')
  t.notOk((await dumped(raw)).includes('secret'))
  await follower.reaches(head)
  t.same([follower.faults, follower.gaps.length], [[], 1])
})

t.test('two nodes erase in a long history, in parts, at the same time and during publishes', async t => {
  const kept = { retentionOf: () => ({ ...RETENTION, events: 10_000 }) }
  const { log, settings, raw } = await own(t, ['--rdbcompression', 'no'], kept)
  const other = await openRedisLog(t, settings)
  const secrets = [5, 1500, 2995]
  let { epoch } = await append(log, 'a', [draft(0)])
  for (let from = 1; from < 3000; from += 500) {
    const some = Array.from({ length: 500 }, (_, i) =>
      draft(secrets.includes(from + i) ? 'secret' : from + i),
    )
    ;({ epoch } = await append(log, 'a', some))
  }
  const [page] = await readAll(other, 'a', 'earliest', { events: 10_000, bytes: 1e9 })
  const before = page?.events.map(dataOf) ?? []
  const publish = async () => {
    for (let i = 0; i < 20; i++) await append(log, 'a', [draft(`later ${i}`)])
  }
  const erased = secrets.map((n, i) => (i === 1 ? other : log).erase('a', { epoch, offset: n + 1 }))
  const [, ...results] = await Promise.all([publish(), ...erased])
  t.same(results, [true, true, true])
  t.notOk((await dumped(raw)).includes('secret'))
  t.equal(await raw.exists('fw:{a}:c'), 0)
  const [after] = await readAll(other, 'a', 'earliest', { events: 10_000, bytes: 1e9 })
  const later = Array.from({ length: 20 }, (_, i) => `later ${i}`)
  t.strictSame(after?.events.map(dataOf), before.map(data => (data === 'secret' ? null : data)).concat(later))
  t.ok((await raw.pttl('fw:{a}:s')) > 60_000, 'the stream expires with the other keys')
})

t.test(
  'a partial copy left by an erasure is used by the next erasure, and cleared with the channel',
  async t => {
    const { log, raw } = await own(t, ['--rdbcompression', 'no'])
    const { epoch } = await append(log, 'a', [draft('secret'), ...drafts(3, 2)])
    // Leaves a partial copy, like a node that is killed during an erasure.
    const leave = async () => {
      await raw.hset('fw:{a}:m', 'k', 3)
      for (const [id, fields] of await raw.xrange('fw:{a}:s', '-', '2'))
        await raw.xadd('fw:{a}:c', id, ...fields)
    }
    await leave()
    t.equal(await log.erase('a', { epoch, offset: 4 }), true)
    t.strictSame((await log.read('a', { epoch, offset: 0 }, ALL)).events.map(dataOf), [
      'secret',
      2,
      null,
      null,
    ])
    await leave()
    await log.clear('a')
    t.notOk((await dumped(raw)).includes('secret'))
    t.equal(await raw.exists('fw:{a}:c'), 0)
  },
)

t.test('a node that missed an erasure finds it at the next comparison', async t => {
  const { log, raw } = await own(t)
  const { epoch } = await append(log, 'a', drafts(3))
  const follower = await record(log, 'a')
  // Counts an erasure without publishing its message, as if the message was lost.
  await raw.hset('fw:{a}:m', 'z', 1)
  await follower.until(() => follower.forgot === 1, 'the erasure is reported')
  t.same(follower.at, { epoch, offset: 3 })
  await append(log, 'a', [draft(4)])
  await follower.reaches({ epoch, offset: 4 })
  t.equal(follower.forgot, 1)
})

t.test('an ended channel stays ended in another epoch, even if only its stream survived', async t => {
  const { log, raw } = await own(t)
  const end = await append(log, 'a', [draft(1), { data: Buffer.alloc(0), end: true }])
  await raw.hset('fw:{a}:m', 'r', 'of another Redis')
  const state = await log.state('a')
  t.not(state.head.epoch, end.epoch)
  t.equal(state.ended, true)
  await raw.del('fw:{a}:m')
  t.same([(await log.state('a')).ended, (await log.read('a', 'latest', ALL)).ended], [true, true])
  await t.rejects(log.append('a', [draft(2)]), { name: 'ChannelEnded' })
})

t.test('a transient event costs one PUBLISH and nothing more', async t => {
  const { log, raw } = await own(t, [], { compareEvery: 60_000 })
  const follower = await record(log, 'a')
  await append(log, 'a', [draft(1)])
  let stats = ''
  // The log compares heads at times, which is counted too: relays until that did not happen meanwhile.
  await until('a relay calls no script', async () => {
    const { length } = follower.passing
    await raw.config('RESETSTAT')
    await log.relay('a', [draft('t')])
    await follower.until(() => follower.passing.length > length, 'it is delivered')
    stats = await raw.info('commandstats')
    return !stats.includes('cmdstat_evalsha')
  })
  t.match(stats, /cmdstat_publish:calls=1,/)
  t.notMatch(stats, /cmdstat_(evalsha|xadd|hset)/)
})

t.test('two nodes on one Redis have one log', async t => {
  const settings = options(shared.url)
  const [a, b] = [await openRedisLog(t, settings), await openRedisLog(t, settings)]
  const [left, right] = [await record(a, 'x'), await record(b, 'x')]
  const appends = Array.from({ length: 200 }, (_, i) => (i % 2 ? a : b).append('x', drafts(1 + (i % 3))))
  await Promise.all(appends)
  const { head } = await a.state('x')
  await Promise.all([left.reaches(head), right.reaches(head)])
  t.same(left.delivered, right.delivered)
  t.equal(left.delivered.length, head.offset)
  t.same((await b.read('x', 'earliest', ALL)).events, left.delivered)
  sound(t, left)
  sound(t, right)
  const keyed = [draft(1, { idempotencyKey: 'k' })]
  const [first] = await a.append('x', keyed)
  t.same(await b.append('x', keyed), [{ ...first, replayed: true }])
})

t.test('logs with different prefixes or databases are isolated', async t => {
  const settings = options(shared.url)
  const logs = [
    await openRedisLog(t, settings),
    await openRedisLog(t, options(shared.url)),
    await openRedisLog(t, { ...settings, url: `${shared.url.replace(/\/\d*$/, '')}/1` }),
  ]
  const recorders = await Promise.all(logs.map(log => record(log, 'x')))
  for (const [i, log] of logs.entries()) {
    const head = await append(log, 'x', [draft(i)])
    t.equal(head.offset, 1)
    await recorders[i]?.reaches(head)
  }
  await Promise.all(logs.map(log => log.probe()))
  for (const [i, recorder] of recorders.entries()) t.same(recorder.delivered.map(dataOf), [i])
  for (const log of logs) t.equal(log.holesFilled, 0)
})

t.test('a loss of keys starts a new epoch, and readers that cross it are notified', async t => {
  const { log, raw } = await own(t)
  const seen = new Set<string>()
  for (const lost of ['all', 'm', 's', 'i0', 'i1', 'm s', 's i0', 'm i0 i1', 's i0 i1', 'i0 i1']) {
    const channel = `lost-${lost.replaceAll(' ', '-')}`
    const recorder = await record(log, channel)
    await append(log, channel, drafts(5))
    const head = await append(log, channel, [draft(6, { idempotencyKey: 'k' })])
    await recorder.reaches(head)
    seen.add(printPosition(head))
    if (lost === 'all') await raw.flushall()
    else t.equal(await raw.del(lost.split(' ').map(key => `fw:{${channel}}:${key}`)), lost.split(' ').length)
    const next = await append(log, channel, [draft(7, { idempotencyKey: 'k' })])
    t.not(next.epoch, head.epoch, `${lost}: another epoch`)
    t.equal(
      next.offset,
      lost === 'all' || lost === 'm s' ? 1 : 7,
      `${lost}: offsets continue from the survivors`,
    )
    await recorder.reaches(next)
    t.equal(recorder.gaps.length, 1, lost)
    t.same(recorder.gaps[0]?.from, head)
    t.equal(dataOf(recorder.delivered.at(-1) as never), 7)
    sound(t, recorder)
    for (let offset = 0; offset <= 6; offset++) {
      const pages = await readAll(log, channel, { epoch: head.epoch, offset })
      t.equal(pages.filter(page => page.gap).length, 1, `${lost}: one gap from ${offset}`)
      t.equal(dataOf(pages.at(-1)?.events.at(-1) as never), 7)
      t.same(pages.at(-1)?.cursor, next)
    }
    t.equal(
      await raw.exists(['m', 's', 'i0', 'i1'].map(key => `fw:{${channel}}:${key}`)),
      4,
      'all keys exist',
    )
    recorder.feed?.close()
  }
})

t.test('a read detects a loss of keys, as an append does', async t => {
  const { log, raw } = await own(t)
  for (const lost of ['m', 's', 'i0', 'i1']) {
    const head = await append(log, lost, drafts(3))
    await raw.del(`fw:{${lost}}:${lost}`)
    const page = await log.read(lost, head, ALL)
    t.same(page.gap, { from: head, to: page.cursor })
    t.not(page.cursor.epoch, head.epoch)
    t.equal(page.cursor.offset, 3)
    t.same(await append(log, lost, [draft(1)]), { epoch: page.cursor.epoch, offset: 4 })
  }
})

t.test('reads of the newest events, and since a time, reach back into an ended epoch', async t => {
  const { log, raw } = await own(t)
  const before = await log.append('a', drafts(3))
  await raw.del('fw:{a}:i0')
  await new Promise(resolve => setTimeout(resolve, 2))
  const after = await log.append('a', drafts(2, 4))
  const [end, begin] = [before.at(-1) as Receipt, after[0] as Receipt]
  t.not(begin.position.epoch, end.position.epoch)
  const { epochs: ended } = await log.state('a')
  t.same(ended.at(-1), { epoch: end.position.epoch, end: 3 })
  for (const start of [{ last: 4 }, { since: end.time }] as const) {
    const pages = await readAll(log, 'a', start)
    t.equal(pages[0]?.gap, undefined)
    t.same(
      pages.map(({ gap, events }) => [gap?.to, events.length]),
      [
        [undefined, 'last' in start ? 2 : 3],
        [{ epoch: begin.position.epoch, offset: 3 }, 2],
      ],
    )
  }
  for (const start of [{ last: 2 }, { since: begin.time }] as const) {
    const page = await log.read('a', start, ALL)
    t.same([page.gap, page.start], [undefined, { epoch: begin.position.epoch, offset: 3 }])
    t.same(page.events.map(dataOf), [4, 5])
  }
})

t.test('entries deleted by hand count as lost', async t => {
  const { log, raw } = await own(t)
  const head = await append(log, 'a', drafts(10))
  await raw.xdel('fw:{a}:s', '5-0')
  const pages = await readAll(log, 'a', { epoch: head.epoch, offset: 2 })
  const end = pages.at(-1)?.cursor
  t.not(end?.epoch, head.epoch)
  t.equal(pages.filter(page => page.gap).length, 1)
  t.same(await append(log, 'a', [draft(11)]), { epoch: end?.epoch, offset: 11 })
  // The stream is ahead of the other keys.
  await raw.xadd('fw:{a}:s', '20-0', 'x', 'y')
  const ahead = await append(log, 'a', [draft(21)])
  t.equal(ahead.offset, 21)
  t.not(ahead.epoch, end?.epoch)
  t.same((await log.read('a', 'earliest', ALL)).events.map(dataOf), [21])
  // Two losses that one call finds begin one epoch.
  const { epoch } = await append(log, 'b', drafts(10))
  await raw.xdel('fw:{b}:s', '5-0')
  await raw.del('fw:{b}:i0')
  const page = await log.read('b', { epoch, offset: 2 }, ALL)
  await append(log, 'b', [draft(11)])
  const next = await log.read('b', page.cursor, ALL)
  t.same([next.events.map(dataOf), next.more], [[11], false])
})

t.test('a restart starts an epoch: the persisted events can be read to the end', async t => {
  const { log, redis, raw } = await own(t, ['--appendonly', 'yes', '--appendfsync', 'always'])
  const head = await append(log, 'a', drafts(10))
  const recorder = await record(log, 'a')
  await redis.restart('SIGKILL')
  const next = await insist(log, 'a', 11)
  t.equal(next.offset, 11)
  t.not(next.epoch, head.epoch)
  await recorder.reaches(next)
  t.same(recorder.gaps, [{ from: head, to: { epoch: next.epoch, offset: 10 } }])
  sound(t, recorder)
  const pages = await readAll(log, 'a', { epoch: head.epoch, offset: 4 })
  t.same(
    pages.map(page => [page.gap, page.events.map(dataOf)]),
    [
      [undefined, [5, 6, 7, 8, 9, 10]],
      [{ from: head, to: { epoch: next.epoch, offset: 10 } }, [11]],
    ],
  )
  t.equal(await raw.ping(), 'PONG')
  await until('the probe succeeds', () => log.probe().then(() => true))
  t.ok(log.reconnects >= 2)
})

t.test(
  'an event restored one restart later by a truncated file is ignored: its replacement is reported as lost',
  async t => {
    const { log, redis } = await own(t, ['--appendonly', 'yes', '--appendfsync', 'always'])
    await append(log, 'a', drafts(9))
    await append(log, 'a', [draft(10)])
    await redis.kill()
    // Cuts within the last transaction, which Redis leaves open in the file: later appends become part of it.
    await cutAof(redis, 20)
    await redis.restart()
    const next = await insist(log, 'a', 11)
    t.equal(next.offset, 10, 'the tenth was lost')
    const later = await append(log, 'a', drafts(3, 12))
    t.equal(later.offset, 13)
    await redis.restart('SIGKILL')
    const newest = await insist(log, 'a', 15)
    t.equal(newest.offset, 14)
    const pages = await readAll(log, 'a', { epoch: next.epoch, offset: 9 })
    for (const { start, events } of pages)
      for (const { epoch } of events) t.equal(epoch, start.epoch, 'all events of a page are of its epoch')
    t.same(pages[0]?.gap, { from: { epoch: next.epoch, offset: 9 }, to: { epoch: next.epoch, offset: 10 } })
    t.same(
      pages.flatMap(({ events }) => events.map(dataOf)),
      [12, 13, 14, 15],
    )
    t.same(
      (await readAll(log, 'a', 'earliest')).flatMap(({ events }) => events.map(dataOf)),
      [12, 13, 14, 15],
    )
  },
)

t.test('a restart without a file loses everything, and reports it', async t => {
  const { log, redis } = await own(t)
  const head = await append(log, 'a', drafts(10))
  const recorder = await record(log, 'a')
  await redis.restart('SIGKILL')
  const next = await insist(log, 'a', 1)
  t.equal(next.offset, 1)
  t.not(next.epoch, head.epoch)
  await recorder.reaches(next)
  t.equal(recorder.gaps.length, 1)
  t.same(recorder.gaps[0]?.from, head)
  sound(t, recorder)
})

t.test('an old file does not restore old positions in a new epoch', async t => {
  const { log, redis, raw } = await own(t)
  await append(log, 'a', drafts(5))
  await raw.save()
  const lost = await append(log, 'a', drafts(3, 6))
  const recorder = await record(log, 'a')
  await redis.restart('SIGKILL')
  const next = await insist(log, 'a', 100)
  t.equal(next.offset, 6, 'offsets continue from the survivors')
  t.not(next.epoch, lost.epoch)
  await recorder.reaches(next)
  t.same(recorder.gaps, [{ from: lost, to: { epoch: next.epoch, offset: 5 } }])
  t.same(recorder.delivered.map(dataOf), [100])
  const page = await log.read('a', { epoch: lost.epoch, offset: 7 }, ALL)
  t.same(page.gap?.to, { epoch: next.epoch, offset: 5 })
})

t.test('a replica that takes over starts an epoch, and one that has not is rejected', async t => {
  const { log, redis, settings } = await own(t, ['--repl-diskless-sync-delay', '0'])
  const replica = await startRedis({
    args: ['--replicaof', `127.0.0.1 ${redis.port}`],
  })
  t.teardown(() => replica.stop())
  const rawReplica = client(t, replica)
  await until('the replica is in sync', async () =>
    (await rawReplica.info('replication')).includes('master_link_status:up'),
  )
  // Attaching the replica already changed the identity of the master, and so started an additional epoch.
  const head = await append(log, 'a', drafts(5))
  await until('the replica has the events', async () => (await rawReplica.xlen('fw:{a}:s')) === 5)
  const other = await openRedisLog(t, { ...settings, url: replica.url })
  await unavailable(t, other.append('a', [draft(1)]))
  await unavailable(t, other.read('a', 'earliest', ALL))
  await redis.kill()
  await rawReplica.replicaof('NO', 'ONE')
  const next = await insist(other, 'a', 6)
  t.equal(next.offset, 6)
  t.not(next.epoch, head.epoch)
  const page = await other.read('a', head, ALL)
  t.same(page.gap, { from: head, to: { epoch: next.epoch, offset: 5 } })
})

t.test('killed connections lose and repeat nothing', async t => {
  const { log, raw } = await own(t)
  const recorder = await record(log, 'a')
  const other = await record(log, 'b')
  const total = 1000
  let sent = 0
  const publish = (async () => {
    while (sent < total) await insist(log, 'a', ++sent)
  })()
  for (const [at, type] of [
    [60, 'pubsub'],
    [120, 'normal'],
    [180, 'pubsub'],
    [240, 'both'],
    [300, 'pubsub'],
  ] as const) {
    await until('enough is appended', () => sent >= at)
    const { reconnects } = log
    if (type !== 'normal') await raw.call('CLIENT', 'KILL', 'TYPE', 'pubsub')
    if (type !== 'pubsub') await raw.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
    await until('it reconnects', () => log.reconnects > reconnects)
  }
  await publish
  const { head } = await log.state('a')
  await recorder.reaches(head)
  t.same(recorder.gaps, [])
  t.same(
    recorder.delivered.map(dataOf),
    Array.from({ length: total }, (_, i) => i + 1),
  )
  sound(t, recorder)
  await until('the probe succeeds', () => log.probe().then(() => true))
  await other.reaches(await append(log, 'b', [draft(1)]))
  sound(t, other)
  t.ok(log.reconnects >= 4)
})

t.test('a lost last message is found by comparing heads', async t => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const proxy = await proxyRedis(redis.port)
  t.teardown(() => proxy.close())
  const settings = options(redis.url)
  const writer = await openRedisLog(t, settings)
  const reader = await openRedisLog(t, { ...settings, url: proxy.url })
  const recorders = await Promise.all(['a', 'b', 'c'].map(name => record(reader, name)))
  proxy.mode = 'no messages'
  const heads = await Promise.all(['a', 'b', 'c'].map(name => append(writer, name, drafts(2))))
  for (const [i, recorder] of recorders.entries()) await recorder.reaches(heads[i] as Position)
  proxy.mode = 'pass'
  const head = await append(writer, 'a', [draft(3)])
  await recorders[0]?.reaches(head)
  t.same(recorders[0]?.delivered.map(dataOf), [1, 2, 3])
  for (const recorder of recorders) {
    t.same(recorder.gaps, [])
    sound(t, recorder)
  }
  t.equal(reader.reconnects, 0)
})

t.test('a lost message is found through the one after it', async t => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const proxy = await proxyRedis(redis.port)
  t.teardown(() => proxy.close())
  const settings = options(redis.url, { compareEvery: 60_000 })
  const writer = await openRedisLog(t, settings)
  const reader = await openRedisLog(t, { ...settings, url: proxy.url })
  const recorder = await record(reader, 'a')
  proxy.mode = 'no messages'
  await append(writer, 'a', drafts(2))
  await until('the message is dropped', () => proxy.dropped > 0)
  proxy.mode = 'pass'
  await recorder.reaches(await append(writer, 'a', drafts(2, 3)))
  t.same(recorder.delivered.map(dataOf), [1, 2, 3, 4])
  sound(t, recorder)
})

t.test('a silent connection fails the probe, and the log reconnects and catches up', async t => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const proxy = await proxyRedis(redis.port)
  t.teardown(() => proxy.close())
  const settings = options(redis.url, { timeout: 5000, compareEvery: 60_000 })
  const writer = await openRedisLog(t, settings)
  const reader = await openRedisLog(t, { ...settings, url: proxy.url })
  const recorder = await record(reader, 'a')
  for (const mode of ['no messages', 'silent'] as const) {
    proxy.mode = mode
    const head = await append(writer, 'a', drafts(2))
    await unavailable(t, reader.probe())
    proxy.mode = 'pass'
    await until('the probe succeeds', () => reader.probe().then(() => true))
    await recorder.reaches(head)
    t.same(recorder.gaps, [])
    sound(t, recorder)
  }
  t.ok(reader.reconnects >= 2)
})

t.test('a feed waits while the log is unavailable, and then continues', async t => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const proxy = await proxyRedis(redis.port, await freePort())
  const settings = options(redis.url, { timeout: 60_000 })
  const writer = await openRedisLog(t, settings)
  const reader = await openRedisLog(t, { ...settings, url: proxy.url })
  const recorder = await record(reader, 'a')
  const { port } = new URL(proxy.url)
  await proxy.close()
  const head = await append(writer, 'a', drafts(1500))
  for (const call of [() => reader.append('a', [draft(1)]), () => reader.read('a', 'latest', ALL)]) {
    const from = Date.now()
    await unavailable(t, call(), /127\.0\.0\.1/)
    t.ok(Date.now() - from < 30_000, 'it fails without waiting for the timeout')
  }
  await unavailable(t, reader.probe())
  await unavailable(t, reader.follow('b', recorder))
  const back = await proxyRedis(redis.port, Number(port))
  t.teardown(() => back.close())
  await recorder.reaches(head)
  t.equal(recorder.delivered.length, 1500)
  t.same(recorder.gaps, [])
  sound(t, recorder)
})

t.test('an append in flight when the connection breaks fails at once and is not retried', async t => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const proxy = await proxyRedis(redis.port)
  t.teardown(() => proxy.close())
  const settings = options(redis.url, { timeout: 60_000 })
  const writer = await openRedisLog(t, { ...settings, url: proxy.url })
  const reader = await openRedisLog(t, settings)
  const recorder = await record(reader, 'a')
  proxy.mode = 'silent'
  const calls = Array.from({ length: 20 }, (_, i) => writer.append('a', drafts(1, i + 1)))
  const refusals = Promise.all(calls.map(call => unavailable(t, call)))
  const { epoch } = recorder.started ?? { epoch: '' }
  await recorder.reaches({ epoch, offset: 20 })
  const from = Date.now()
  proxy.cut()
  await refusals
  t.ok(Date.now() - from < 30_000, 'they fail without waiting for the timeout')
  proxy.mode = 'pass'
  await until('the probe succeeds', () => writer.probe().then(() => true))
  await recorder.reaches(await append(writer, 'a', drafts(1, 21)))
  t.same(
    recorder.delivered.map(dataOf),
    Array.from({ length: 21 }, (_, i) => i + 1),
  )
  sound(t, recorder)
})

t.test('many channels are resubscribed in batches after the connection broke', async t => {
  const { log, raw } = await own(t, [], { compareEvery: 60_000, timeout: 60_000 })
  const names = Array.from({ length: 2500 }, (_, i) => `c${i}`)
  await Promise.all(names.map(name => log.append(name, drafts(1))))
  const recorders = await Promise.all(names.map(name => record(log, name)))
  const moved = recorders.filter((_, i) => i % 100 === 0)
  const { reads } = log
  await raw.call('CLIENT', 'KILL', 'TYPE', 'pubsub')
  const heads = await Promise.all(
    names.filter((_, i) => i % 100 === 0).map(name => append(log, name, drafts(3))),
  )
  for (const [i, recorder] of moved.entries()) await recorder.reaches(heads[i] as Position)
  await until('the probe succeeds', () => log.probe().then(() => true))
  t.ok(log.reads - reads <= 2 * moved.length, 'only moved channels are read')
  for (const recorder of recorders) if (recorder.faults.length) t.fail(`${recorder.faults}`)
})

t.test('flushed scripts are reloaded, and no append overtakes another', async t => {
  const { log, raw } = await own(t)
  await append(log, 'a', [draft(0)])
  await raw.script('FLUSH')
  t.equal((await log.state('a')).count, 1)
  await raw.script('FLUSH')
  const calls = Array.from({ length: 50 }, (_, i) =>
    log.append('a', [draft(i + 1)]).then(
      () => i + 1,
      () => 0,
    ),
  )
  const held = (await Promise.all(calls)).filter(each => each > 0)
  t.same((await log.read('a', 'earliest', ALL)).events.map(dataOf), [0, ...held])
  await append(log, 'a', [draft(99)])
})

t.test(
  'W6: a read of a made-up channel writes no key; lasting readers create keys at a bounded rate',
  async t => {
    const { log, raw } = await own(t)
    await log.probe()
    const keys = (await raw.keys('*')).length
    const names = Array.from({ length: 300 }, (_, i) => `made-up-${i}`)
    for (const name of names) {
      await log.read(name, 'earliest', ALL)
      await log.state(name)
      await log.read(name, { epoch: 'x', offset: 3 }, ALL)
    }
    const recorders = await Promise.all(names.map(name => glance(log, name)))
    t.equal((await raw.keys('*')).length, keys)

    const began = performance.now()
    await Promise.all(recorders.map(recorder => recorder.feed?.unbegun?.begin()))
    const seconds = 1 + Math.ceil((performance.now() - began) / 1000)
    const begun = recorders.filter(recorder => recorder.feed?.unbegun === undefined)
    t.ok(begun.length >= 100 && begun.length <= 100 * seconds, `${begun.length} in ${seconds} s`)
    t.equal((await raw.keys('*')).length, keys + 4 * begun.length)
    // Readers of channels that were not begun miss nothing either, on this node or another.
    const cursors = recorders.map(recorder => recorder.started as Position)
    const heads = await Promise.all(names.map(name => append(log, name, drafts(2))))
    for (const [i, recorder] of recorders.entries()) {
      await recorder.reaches(heads[i] as Position)
      t.same([recorder.gaps, recorder.faults, recorder.delivered.length], [[], [], 2])
      const { events } = await log.read(names[i] as string, cursors[i] as Position, ALL)
      t.equal(events.length, 2)
    }
  },
)

t.test('W6: events lost in an empty channel while its feed was cut are inside a gap', async t => {
  const { log, redis, raw, settings } = await own(t, [], { compareEvery: 60_000 })
  const proxy = await proxyRedis(redis.port)
  t.teardown(() => proxy.close())
  const reader = await openRedisLog(t, { ...settings, url: proxy.url })
  const recorder = await glance(reader, 'a')
  const before = recorder.started
  proxy.mode = 'frozen'
  await append(log, 'a', drafts(3))
  await raw.flushall()
  proxy.cut()
  proxy.mode = 'pass'
  await until('the gap is reported', () => recorder.gaps.length > 0)
  t.same(recorder.gaps[0]?.from, before)
  await recorder.reaches(await append(log, 'a', drafts(1, 4)))
  t.same(recorder.delivered.map(dataOf), [4])
  sound(t, recorder)
})

t.test('a channel that begins while its feed is cut begins for its followers, without a gap', async t => {
  const { log, redis, settings } = await own(t, [], { compareEvery: 60_000 })
  const proxy = await proxyRedis(redis.port)
  t.teardown(() => proxy.close())
  const reader = await openRedisLog(t, { ...settings, url: proxy.url })
  const [empty, filled] = [await glance(reader, 'empty'), await glance(reader, 'filled')]
  proxy.mode = 'frozen'
  const head = await append(log, 'filled', drafts(3))
  proxy.cut()
  proxy.mode = 'pass'
  await until('the feeds are filled', () => !empty.feed?.unbegun && !filled.feed?.unbegun)
  const heads = [head, await append(log, 'empty', drafts(2))]
  for (const [i, recorder] of [filled, empty].entries()) {
    const { epoch, offset } = heads[i] as Position
    await recorder.reaches({ epoch, offset })
    t.same([recorder.started, recorder.gaps], [{ epoch, offset: 0 }, []])
    t.equal(recorder.delivered.length, offset)
    sound(t, recorder)
  }
})

t.test('an append without memory is rejected before anything is written', async t => {
  const { log, raw } = await own(t)
  const head = await append(log, 'a', drafts(3))
  const keyed = draft('x', { idempotencyKey: 'k' })
  await raw.config('SET', 'maxmemory', '1')
  await unavailable(t, log.append('a', [keyed, draft(2)]), /OOM|memory/)
  await unavailable(t, log.append('b', [keyed]))
  t.equal((await log.read('a', 'earliest', ALL)).events.length, 3, 'reads continue')
  await raw.config('SET', 'maxmemory', '0')
  t.equal(await raw.exists('fw:{b}:m', 'fw:{b}:s', 'fw:{b}:i0', 'fw:{b}:i1'), 0)
  t.same((await log.state('a')).head, head)
  const [receipt] = await log.append('a', [keyed])
  t.same([receipt?.replayed, receipt?.position], [false, { epoch: head.epoch, offset: 4 }])
})

/** Limits Redis to a little less memory than it uses now. */
async function fill(raw: Redis): Promise<void> {
  const used = /used_memory:(\d+)/.exec(await raw.info('memory'))?.[1]
  await raw.config('SET', 'maxmemory', `${Number(used) - 200_000}`)
}

t.test('W3: a full Redis accepts events again once some have expired', async t => {
  const { log, raw } = await own(t, [], { retentionOf: () => ({ ...RETENTION, age: 6000 }) })
  const large = draft('x'.repeat(1000))
  for (const name of ['a', 'b', 'c'])
    for (let i = 0; i < 20; i++) await append(log, name, new Array(100).fill(large))
  const head = await append(log, 'a', [large])
  await fill(raw)
  for (const name of ['a', 'b']) await unavailable(t, log.append(name, [draft(1)]), /OOM/)
  await t.rejects(log.probe(), { name: 'AppendsRefused', reason: 'OOM' })
  t.same((await log.read('a', 'latest', ALL)).cursor, head, 'reads continue')
  // The node trims by itself, even without appends and reads.
  await until('the probe succeeds', () =>
    log
      .probe()
      .then(() => true)
      .catch(() => false),
  )
  t.ok((await raw.xlen('fw:{a}:s')) < 2001)
  // Redis' memory may still reach its limit at times, so the append is retried.
  const next = await insist(log, 'a', 2)
  t.same(next, { epoch: head.epoch, offset: 2002 })
  const page = await log.read('a', head, ALL)
  t.same([page.gap, page.events.map(dataOf)], [undefined, [2]])
})

t.test('W3: an append to a full Redis makes its own room', async t => {
  const { log, raw } = await own(t, [], { retentionOf: () => ({ ...RETENTION, age: 5000 }) })
  const large = draft('x'.repeat(1000))
  for (let i = 0; i < 20; i++) await append(log, 'a', new Array(100).fill(large))
  const [keyed] = await log.append('a', [draft(1, { idempotencyKey: 'k' })])
  await fill(raw)
  const end = (keyed?.time ?? 0) + 5000
  await until('the events are old', async () => Number((await raw.time())[0]) * 1000 > end + 1000)
  const next = await append(log, 'a', [draft(2)])
  t.equal(next.offset, 2002)
  t.ok((await raw.xlen('fw:{a}:s')) < 200)
  t.same((await log.append('a', [draft(1, { idempotencyKey: 'k' })]))[0], { ...keyed, replayed: true })
  t.same((await log.read('a', 'earliest', ALL)).events.map(dataOf), [2])
})

t.test('W3: a channel with readers is trimmed, even without appends', async t => {
  const { log, raw } = await own(t, [], { retentionOf: () => ({ ...RETENTION, age: 500 }) })
  for (let i = 0; i < 20; i++) await append(log, 'a', drafts(100))
  const recorder = await record(log, 'a')
  await fill(raw)
  await until('the heads are compared', async () => (await raw.xlen('fw:{a}:s')) < 1100)
  sound(t, recorder)
})

t.test('W3: a Redis that cannot save, or lacks replicas, serves reads and rejects events', async t => {
  const { log, redis, raw } = await own(t, ['--save', '3600 1000000'])
  const head = await append(log, 'a', drafts(3))
  const recorder = await record(log, 'a')
  await raw.config('SET', 'min-replicas-to-write', '1')
  await t.rejects(log.probe(), { name: 'AppendsRefused', reason: 'NOREPLICAS' })
  await unavailable(t, log.append('a', [draft(1)]), /NOREPLICAS/)
  t.equal((await log.read('a', 'earliest', ALL)).events.length, 3)
  await raw.config('SET', 'min-replicas-to-write', '0')
  await log.probe()
  await rm(redis.dir, { recursive: true })
  await raw.bgsave()
  await until('the save fails', async () => (await raw.info()).includes('rdb_last_bgsave_status:err'))
  await t.rejects(log.probe(), { name: 'AppendsRefused', reason: 'MISCONF' })
  await unavailable(t, log.append('a', [draft(1)]), /MISCONF/)
  t.same((await log.read('a', 'latest', ALL)).cursor, head)
  await raw.config('SET', 'stop-writes-on-bgsave-error', 'no')
  await log.probe()
  await recorder.reaches(await append(log, 'a', [draft(4)]))
  t.same(recorder.gaps, [])
  // Redis would not exit while its save fails.
  await raw.config('SET', 'save', '')
})

t.test('all keys of a channel expire together, and use extends them', async t => {
  const { log, raw, settings } = await own(t)
  const keys = (channel: string) => ['m', 's', 'i0', 'i1'].map(key => `fw:{${channel}}:${key}`)
  const ends = async (channel: string) =>
    new Set(await Promise.all(keys(channel).map(key => raw.call('PEXPIRETIME', key) as Promise<number>)))
  await log.read('empty', 'latest', ALL, true)
  await append(log, 'a', [draft(1)])
  const expire = async (channel: string, ms: number) => {
    for (const key of keys(channel)) await raw.pexpireat(key, Date.now() + ms)
  }
  for (const [channel, least, most] of [
    ['empty', 60_000, 3_600_000],
    ['a', RETENTION.age, RETENTION.age * 3],
  ] as const) {
    const [end = 0, ...others] = await ends(channel)
    t.same(others, [], 'all keys expire at the same time')
    t.ok(end - Date.now() > least && end - Date.now() < most, `${channel} ends in ${end - Date.now()} ms`)
    await expire(channel, least / 3)
    await log.read(channel, 'latest', ALL)
    t.ok(([...(await ends(channel))][0] ?? 0) - Date.now() > least, 'a read extends it')
  }
  const recorder = await record(log, 'empty')
  await expire('empty', 60_000)
  await until(
    'the heads are compared',
    async () => ([...(await ends('empty'))][0] ?? 0) - Date.now() > 61_000,
  )
  recorder.feed?.close()
  await append(log, 'a', [draft(1, { idempotencyKey: 'x' })])
  t.equal((await ends('a')).size, 1)
  t.ok(settings.retentionOf('c').age > 0)
})

t.test('the stream holds little more than the readable events', async t => {
  const { log, raw } = await own(t, [], { retentionOf: () => ({ ...RETENTION, events: 50, bytes: 10_000 }) })
  for (let i = 0; i < 60; i++) await append(log, 'a', drafts(20))
  t.ok((await raw.xlen('fw:{a}:s')) <= 150)
  t.equal((await log.state('a')).count, 50)
  const large = draft('x'.repeat(6000))
  for (let i = 0; i < 10; i++) await append(log, 'a', [large])
  t.equal((await log.state('a')).count, 1)
  t.ok((await raw.xlen('fw:{a}:s')) <= 3)
  await append(log, 'big', drafts(5000))
  await append(log, 'big', [draft(1)])
  t.equal((await log.state('big')).count, 50)
})

t.test(
  'through losses, restarts and trimming the script places every reader where history.ts does',
  async t => {
    const { log, raw } = await own(t, ['--enable-debug-command', 'yes'], {
      retentionOf: () => ({ ...RETENTION, events: 12 }),
    })
    const step = fc.oneof(
      { weight: 3, arbitrary: fc.record({ append: fc.integer({ min: 1, max: 6 }) }) },
      { weight: 2, arbitrary: fc.constant({ lose: true }) },
    )
    let channel = 0
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 50, size: 'max' }), async steps => {
        const name = `h${channel++}`
        let { epoch } = (await log.read(name, 'latest', ALL, true)).cursor
        let history: History = { epoch, ended: [], head: 0, floor: 0 }
        const positions: Position[] = [
          { epoch, offset: 0 },
          { epoch: 'never', offset: 3 },
        ]
        for (const step of steps) {
          if ('append' in step) {
            const receipts = await log.append(name, drafts(step.append, history.head + 1))
            const head = history.head + step.append
            history = { ...history, head, floor: Math.max(history.floor, head - 12) }
            positions.push(...receipts.map(each => each.position), { epoch, offset: head + 1 })
          } else {
            await raw.call('DEBUG', 'CHANGE-REPL-ID')
            epoch = (await log.state(name)).head.epoch
            if (epoch === history.epoch) throw new Error('no new epoch')
            history = beginEpoch(history, epoch)
            positions.push({ epoch, offset: history.head })
          }
        }
        for (const after of [...positions, 'earliest' as const, 'latest' as const]) {
          const page = await log.read(name, after, { events: 5, bytes: 1000 })
          t.strictSame({ start: page.start, gap: page.gap }, place(history, after))
          const next = page.start.offset + 1
          t.same(
            page.events.map(dataOf),
            page.events.map((_, i) => next + i),
          )
          t.ok(page.events.length > 0 || page.start.offset === history.head || page.more)
        }
      }),
      { numRuns: 15 },
    )
  },
)

t.test('only the last epochs are remembered, and the events of the others are gone', async t => {
  const { log, raw } = await own(t, ['--enable-debug-command', 'yes'])
  const heads: Position[] = []
  for (let i = 1; i <= 20; i++) {
    heads.push(await append(log, 'a', drafts(1, i)))
    await raw.call('DEBUG', 'CHANGE-REPL-ID')
  }
  await append(log, 'a', drafts(1, 21))
  // 20 epochs ended and 16 are remembered: events of the four before them cannot be read.
  const page = await log.read('a', 'earliest', ALL)
  t.same(page.start, { epoch: heads[4]?.epoch, offset: 4 })
  t.same(
    (await readAll(log, 'a', 'earliest')).flatMap(page => page.events.map(dataOf)),
    Array.from({ length: 17 }, (_, i) => i + 5),
  )
  const [forgotten] = heads
  t.same((await log.read('a', forgotten ?? 'latest', ALL)).gap, { from: forgotten, to: page.start })
  t.equal((await log.state('a')).count, 17)
})

t.test('an unusable Redis is rejected, without printing its password', async t => {
  const redis = await startRedis({ args: ['--requirepass', 'right-secret'] })
  t.teardown(() => redis.stop())
  const warned: string[] = []
  const logger = {
    ...silent,
    warn: (about: object, text: string) => void warned.push(JSON.stringify(about) + text),
  }
  for (const user of ['', ':wrong-secret@', 'someone:wrong-secret@']) {
    const log = new RedisLog(options(`redis://${user}127.0.0.1:${redis.port}`, { logger }))
    const error = await log.open().then(
      () => undefined,
      error => error,
    )
    t.ok(error instanceof LogRefused, String(error))
    t.notMatch(`${error.message} ${error.stack} ${JSON.stringify(error)} ${warned}`, /secret/)
    await log.close()
  }
  const log = await openRedisLog(t, options(`redis://:right-secret@127.0.0.1:${redis.port}`))
  await append(log, 'a', [draft(1)])
  await log.probe()
})

t.test('a Redis that is too old is rejected', async t => {
  const old = createServer(socket => {
    socket.on('error', () => {})
    socket.on('data', chunk => {
      for (const command of chunk.toString().split(/(?=\*\d+\r\n\$)/)) {
        const info = 'redis_version:6.2.14\r\nloading:0\r\n'
        socket.write(/info/i.test(command) ? `$${info.length}\r\n${info}\r\n` : '+OK\r\n')
      }
    })
  })
  await new Promise<void>(resolve => old.listen(0, '127.0.0.1', resolve))
  t.teardown(() => old.close())
  const address = old.address()
  const port = typeof address === 'object' && address ? address.port : 0
  const log = new RedisLog(options(`redis://127.0.0.1:${port}`))
  const error = await log.open().then(
    () => undefined,
    error => error,
  )
  t.ok(error instanceof LogRefused, String(error))
  t.match(error.message, /6\.2\.14.*7\.0/)
})

t.test('an unreachable Redis is unavailable, after the timeout', async t => {
  const redis = await startRedis()
  await redis.stop()
  const log = new RedisLog(options(redis.url, { timeout: 5000 }))
  const from = Date.now()
  await unavailable(t, log.open(), /ECONNREFUSED/)
  t.ok(Date.now() - from >= 4900)
})

t.test('appends of one turn are one call; a failing channel does not affect the others', async t => {
  const { log, raw } = await own(t)
  const calls = async () =>
    Number(/cmdstat_evalsha:calls=(\d+)/.exec(await raw.info('commandstats'))?.[1] ?? 0)
  await raw.set('fw:{bad}:m', 'not a hash')
  const before = await calls()
  const names = Array.from({ length: 20 }, (_, i) => `c${i}`)
  const appended = Promise.all(names.map((name, i) => log.append(name, [draft(i), draft(-i)])))
  const twice = Promise.all([log.append('c0', [draft('later')]), log.append('c0', [draft('last')])])
  await t.rejects(log.append('bad', [draft(1)]), { name: 'LogRefused', reason: 'WRONGTYPE' })
  for (const receipts of await appended) {
    t.strictSame(
      receipts.map(({ position }) => position.offset),
      [1, 2],
    )
  }
  t.strictSame(
    (await twice).map(([receipt]) => receipt?.position.offset),
    [3, 4],
  )
  t.equal((await calls()) - before, 1)
  t.strictSame((await log.read('c0', 'earliest', ALL)).events.map(dataOf), [0, 0, 'later', 'last'])
})

t.test('W6: reads of one turn are one call; a failing channel does not affect the others', async t => {
  const { log, raw } = await own(t)
  const calls = async () =>
    Number(/cmdstat_evalsha:calls=(\d+)/.exec(await raw.info('commandstats'))?.[1] ?? 0)
  await raw.set('fw:{bad}:m', 'not a hash')
  const names = Array.from({ length: 30 }, (_, i) => `c${i}`)
  await Promise.all(names.map((name, i) => log.append(name, [draft(i), draft(-i)])))
  const before = await calls()
  const read = Promise.all(names.map(name => log.read(name, 'earliest', { events: 10, bytes: 1000 })))
  const unbegun = log.read('made-up', 'earliest', { events: 10, bytes: 1000 })
  await t.rejects(log.read('bad', 'earliest', { events: 1, bytes: 1 }), {
    name: 'LogRefused',
    reason: 'WRONGTYPE',
  })
  t.strictSame(
    (await read).map(({ events }) => events.map(dataOf)),
    names.map((_, i) => [i, -i]),
  )
  t.match(await unbegun, { events: [], unbegun: true })
  t.equal((await calls()) - before, 1)
  await Promise.all(names.map(name => log.read(name, 'earliest', { events: 10, bytes: 2 ** 20 })))
  t.equal((await calls()) - before, 1 + Math.ceil(30 / 4), 'a call has fewer reads of large pages')
})

t.test(
  'W5: an error reply of Redis is logged once per kind and minute, and counted by its reason',
  async t => {
    const logged: { about: object; text: string }[] = []
    const logger = { ...silent, warn: (about: object, text: string) => void logged.push({ about, text }) }
    const { log, raw } = await own(t, [], { logger })
    await raw.set('fw:{bad}:m', 'not a hash')
    await raw.set('fw:{worse}:m', 'not a hash')
    for (const channel of ['bad', 'worse', 'bad']) {
      await t.rejects(log.append(channel, [draft(1)]), { name: 'LogRefused', reason: 'WRONGTYPE' })
      await t.rejects(log.read(channel, 'latest', ALL), { name: 'LogRefused', reason: 'WRONGTYPE' })
      await t.rejects(log.follow(channel, new Recorder()), { name: 'LogRefused', reason: 'WRONGTYPE' })
    }
    await raw.config('SET', 'maxmemory', '1')
    await unavailable(t, log.append('good', [draft(1)]), /OOM/)
    await raw.config('SET', 'maxmemory', '0')
    await raw.acl('SETUSER', 'fanwire', '-subscribe')
    await t.rejects(log.follow('other', new Recorder()), { name: 'LogRefused', reason: 'NOPERM' })
    t.match(logged, [
      { about: { operation: 'append', reason: 'WRONGTYPE', channel: 'bad' }, text: /WRONGTYPE/ },
      { about: { operation: 'read', reason: 'WRONGTYPE' }, text: /WRONGTYPE/ },
      { about: { operation: 'append', reason: 'OOM' }, text: /OOM/ },
      { about: { operation: 'follow', reason: 'NOPERM' }, text: /NOPERM/ },
    ])
    t.equal(logged.length, 4)
    t.match(
      [...log.failures],
      [
        { operation: 'append', reason: 'WRONGTYPE', count: 3 },
        { operation: 'read', reason: 'WRONGTYPE', count: 6 },
        { operation: 'append', reason: 'OOM', count: 1 },
        { operation: 'follow', reason: 'NOPERM', count: 1 },
      ],
    )
  },
)

t.test('appends beyond the size of one call are sent in several, in order', async t => {
  const { log } = await own(t)
  const sizes = [1, 127, 128, 200, 3, 126, 1]
  const receipts = await Promise.all(sizes.map(size => log.append('a', drafts(size))))
  let offset = 1
  for (const [i, size] of sizes.entries()) {
    t.strictSame(
      receipts[i]?.map(({ position }) => position.offset),
      Array.from({ length: size }, () => offset++),
    )
  }
})

t.test('an eviction policy causes a warning', async t => {
  const warned: string[] = []
  const logger = { ...silent, warn: (_: object, text: string) => void warned.push(text) }
  await own(t, ['--maxmemory-policy', 'allkeys-lru'], { logger })
  t.match(warned, [/noeviction/])
  t.equal(warned.length, 1)
})

t.test('foreign messages on the pub/sub channels of the log are harmless', async t => {
  const { log, raw } = await own(t)
  const recorder = await record(log, 'a')
  const names = (await raw.pubsub('CHANNELS', 'fw:*')) as string[]
  t.equal(names.length, 2, 'the followed channel and the probe')
  for (const name of names) {
    for (const text of [
      '',
      'garbage',
      '1 2 3\n',
      '1 e 1 1 0 99 0 \nx',
      '1 e x y z 1 0 \n1',
      '1 e x 1 0 1 0 \n1',
      '1 e 1 1 0 1 0 \nx',
      '\n\n',
    ]) {
      await raw.publish(name, text)
    }
  }
  await log.probe()
  await recorder.reaches(await append(log, 'a', drafts(2)))
  t.same(recorder.gaps, [])
  sound(t, recorder)
})

t.test('the log reports that Redis closed a feed because of its output buffer', async t => {
  const logged: string[] = []
  const logger = { ...silent, warn: (_: object, text: string) => void logged.push(text) }
  const { log, raw } = await own(t, [], { logger })
  const recorder = await record(log, 'a')
  await raw.config('SET', 'client-output-buffer-limit', 'pubsub 65536 0 0')
  // Larger than the limit, like many small messages to a slow node.
  await append(log, 'a', [draft('x'.repeat(500_000))])
  await until('the log reports it', () => logged.some(text => text.includes('client-output-buffer-limit')))
  const counted = (await raw.info('stats')).includes('client_output_buffer_limit_disconnections')
  const said = counted
    ? /^Redis cut the feed: more waited/
    : /^the connection of the feed ended alone: more waited/
  t.match(
    logged.find(text => text.includes('client-output-buffer-limit')),
    said,
  )
  await recorder.reaches((await log.state('a')).head)
  sound(t, recorder)
  t.same(recorder.gaps, [])
  const before = logged.length
  await raw.call('CLIENT', 'KILL', 'TYPE', 'pubsub')
  await until('the feed is back', () =>
    log
      .probe()
      .then(() => log.reconnects >= 2)
      .catch(() => false),
  )
  if (counted) t.equal(logged.slice(before).filter(text => text.startsWith('Redis cut')).length, 0)
})

t.test('the rights in infra/redis.acl are sufficient, and other commands and keys are rejected', async t => {
  const { log, raw, settings } = await own(t)
  for (const url of [settings.url, `${settings.url}/3`]) {
    const other = await openRedisLog(t, { ...settings, url })
    const recorder = await record(other, 'a')
    await recorder.reaches(await append(other, 'a', [draft(1, { idempotencyKey: 'k' })]))
    await other.probe()
  }
  t.same(await raw.call('ACL', 'LOG'), [])
  const node = new Redis(settings.url, { lazyConnect: true })
  node.on('error', () => {})
  t.teardown(() => node.disconnect())
  for (const call of [() => node.get('fw:x'), () => node.flushall(), () => node.xrange('other', '-', '+')])
    await t.rejects(call() as Promise<unknown>, { message: /NOPERM/ })
  await log.probe()
})

t.test('close leaves no connection and no timer', async t => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const count = () =>
    process.getActiveResourcesInfo().filter(each => /TCP|Timeout|Immediate/.test(each)).length
  const before = count()
  const log = new RedisLog(options(redis.url))
  await log.open()
  await Promise.all(['a', 'b'].map(name => record(log, name)))
  await log.append('a', drafts(3))
  await log.probe()
  t.ok(count() > before)
  await log.close()
  await until('the connections are closed', () => count() <= before)
})
