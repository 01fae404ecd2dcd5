// The log compares the heads of only those followed channels that have changed.

import { connect } from 'node:net'
import { createInterface } from 'node:readline'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import type { RedisLogOptions } from '../../services/broker/log/redis/log.ts'
import { loadScripts, Names } from '../../services/broker/log/redis/scripts.ts'
import { append, dataOf, draft, drafts, type Recorder, record } from '../contract/log.ts'
import { openRedisLog, redisLogOptions } from '../support/redis-logs.ts'
import { proxyRedis } from '../support/redis-proxy.ts'
import { startRedis } from '../support/redis-server.ts'
import { until } from '../support/until.ts'

const CHANNELS = Array.from({ length: 200 }, (_, i) => `quiet-${i}`)
/** A round of turns takes `compareEvery`. */
const TURNS_A_ROUND = 4

/** Starts a reader whose messages can be lost, and a writer, and records the reader's requests to Redis. */
async function start(t: Test, args: readonly string[] = []) {
  const redis = await startRedis({ args })
  const proxy = await proxyRedis(redis.port)
  const raw = new Redis(redis.port)
  const names = new Names('fw', 0)
  const settings: RedisLogOptions = redisLogOptions(redis.url, { prefix: 'fw', compareEvery: 1000 })
  const writer = await openRedisLog(t, { ...settings, compareEvery: 60_000 })
  const reader = await openRedisLog(t, { ...settings, url: proxy.url })
  const recorders = new Map<string, Recorder>()
  for (const name of CHANNELS) {
    await append(writer, name, [draft(1)])
    recorders.set(name, await record(reader, name))
  }
  const { changes, heads } = loadScripts(settings.idempotencyWindow, names.changes)
  const asked = { turns: 0, channels: [] as string[] }
  // Does not use ioredis: its monitor fails if a command arrives together with the reply to MONITOR.
  const monitor = connect(redis.port, '127.0.0.1')
  monitor.write('MONITOR\r\n')
  createInterface(monitor).on('line', line => {
    if (line.includes(changes.sha)) asked.turns++
    if (!line.includes(heads.sha)) return
    for (const [, channel = ''] of line.matchAll(/\{([^}]*)\}:m"/g)) asked.channels.push(channel)
  })
  t.teardown(async () => {
    monitor.destroy()
    raw.disconnect()
    await reader.close()
    await proxy.close()
    await redis.stop()
  })
  /** Waits until the reader has taken this many more turns. Returns the channels that it probed meanwhile. */
  const turns = async (more: number) => {
    const from = asked.turns
    asked.channels = []
    await until(`${more} turns`, () => asked.turns >= from + more)
    return asked.channels
  }
  await turns(2 * TURNS_A_ROUND)
  return { raw, proxy, writer, reader, recorders, turns, asked }
}

t.test('idle channels are rarely probed; a lost last message is found within five rounds', async t => {
  const { proxy, writer, reader, recorders, turns, asked } = await start(t)
  const rounds = 8
  const seen = await turns(rounds * TURNS_A_ROUND)
  t.ok(seen.length < (rounds * CHANNELS.length) / 8, `${seen.length} heads in ${rounds} rounds`)

  proxy.mode = 'no messages'
  const before = asked.turns
  const changed = ['quiet-7', 'quiet-77', 'quiet-177']
  // With and without an idempotency key: both paths through the script.
  const appends = [drafts(1), drafts(3), [draft(2, { idempotencyKey: 'k' })]]
  const heads = await Promise.all(changed.map((name, i) => append(writer, name, appends[i] ?? [])))
  for (const [i, name] of changed.entries()) {
    const head = heads[i]
    if (head) await recorders.get(name)?.reaches(head)
  }
  // The reader also waits some turns for a message that may be in flight.
  t.ok(asked.turns - before <= 5 * TURNS_A_ROUND, `found in ${asked.turns - before} turns`)
  t.same(recorders.get('quiet-77')?.delivered.map(dataOf), [1, 2, 3])
  t.equal(await writer.erase('quiet-9', recorders.get('quiet-9')?.at ?? { epoch: '', offset: 0 }), true)
  const erased = recorders.get('quiet-9')
  await erased?.until(() => erased.forgot === 1, 'the erasure is reported')
  t.equal(reader.reconnects, 0)
  for (const { faults, gaps } of recorders.values()) t.same([faults, gaps], [[], []])
})

t.test('a loss of all or part of Redis is found within six rounds, in all channels', async t => {
  const { raw, writer, recorders, turns, asked } = await start(t)
  const gaps = (count: number) =>
    until(`${count} gaps each`, () => [...recorders.values()].every(each => each.gaps.length === count))

  let before = asked.turns
  await raw.flushall()
  await gaps(1)
  t.ok(asked.turns - before <= 6 * TURNS_A_ROUND, `flushed: found in ${asked.turns - before} turns`)

  await turns(2 * TURNS_A_ROUND)
  const lost = CHANNELS.filter((_, i) => i % 50 === 0)
  // Appends recreate the keys: a node itself starts only a limited number of channels per second.
  for (const name of lost) await recorders.get(name)?.reaches(await append(writer, name, [draft(2)]))
  const counts = new Map(lost.map(name => [name, recorders.get(name)?.gaps.length ?? 0]))
  before = asked.turns
  await raw.del(lost.flatMap(name => ['m', 's', 'i0', 'i1'].map(key => `fw:{${name}}:${key}`)))
  const isReported = (name: string) => (recorders.get(name)?.gaps.length ?? 0) > (counts.get(name) ?? 0)
  await until('each of them has a gap', () => lost.every(isReported))
  t.ok(asked.turns - before <= 6 * TURNS_A_ROUND, `deleted: found in ${asked.turns - before} turns`)

  // The record of changes is lost, and possibly a change with it.
  await turns(2 * TURNS_A_ROUND)
  await raw.unlink('fw:fanwire:changes')
  // With the record, an idle channel is probed only once in 16 rounds.
  const seen = new Set(await turns(4 * TURNS_A_ROUND))
  t.equal(seen.size, CHANNELS.length, 'every channel is probed')
  t.ok((await raw.pttl('fw:fanwire:changes')) > 0, 'the record of changes expires')
})

t.test('when Redis is full and cannot notify, every channel is probed', async t => {
  const { raw, turns } = await start(t)
  await raw.config('SET', 'maxmemory', '1')
  await raw.unlink('fw:fanwire:changes')
  await turns(TURNS_A_ROUND)
  const seen = new Set(await turns(4 * TURNS_A_ROUND))
  t.equal(seen.size, CHANNELS.length)
})
