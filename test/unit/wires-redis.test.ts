// Every wire on Redis, and what only several nodes and a Redis that loses its mind can show.

import { Redis } from 'ioredis'
import { pino } from 'pino'
import t from 'tap'
import { RedisLog } from '../../services/log/redis-log.ts'
import { ALL_WIRES, type Client } from '../contract/clients.ts'
import { configOf, offsetOf, type StartNode, startNode } from '../contract/node.ts'
import { at, fresh, idOf, idsOf, reading, take, wireContract } from '../contract/wires.ts'
import { startRedis } from '../redis-server.ts'
import { until } from '../until.ts'

const redis = await startRedis()
t.teardown(() => redis.stop())

/** What nodes have to be told to have every wire. */
const SETTINGS = Object.assign({}, ...ALL_WIRES.map(wire => wire.settings))

let prefixes = 0
/** Nodes with the same prefix are one cluster. */
function nodesOf(prefix: string, { url } = redis): StartNode {
  return settings =>
    startNode(configOf({ ...SETTINGS, ...settings }), ({ history, idempotencyWindow, logTimeout }) => {
      const logger = pino({ level: process.env.TEST_LOG ?? 'silent' })
      return new RedisLog({
        url,
        prefix,
        retention: history,
        idempotencyWindow,
        timeout: logTimeout,
        logger,
      })
    })
}

wireContract(t, 'Redis', settings => nodesOf(`t${++prefixes}`)(settings))

t.test('a client goes on where it was, on another node and over another wire', async t => {
  const start = nodesOf('two')
  const [one, other] = await Promise.all([start(), start()])
  t.teardown(() => Promise.all([one.close(), other.close()]))
  const channels = [fresh(), fresh()] as const
  const begin = await Promise.all(channels.map(each => one.append(each, '"first"')))
  let cursor = begin.flat().join(',')
  const published: string[][] = [[], []]
  const seen: string[][] = [[], []]
  let writing = true
  const writer = (async () => {
    for (let i = 0; i < 300; i++) {
      const node = i % 3 === 0 ? one : other
      const which = i % 2
      published[which]?.push(...(await node.append(channels[which] ?? '', `${i}`, `${i}`)))
    }
    writing = false
  })()
  for (let turn = 0; writing || seen.flat().length < published.flat().length; turn++) {
    const wire = ALL_WIRES[turn % ALL_WIRES.length]
    const node = turn % 2 === 0 ? other : one
    const client = await wire?.connect(node, { channels, cursor })
    if (client === undefined) break
    const left = published.flat().length - seen.flat().length
    for (const event of await take(client, Math.min(25, left))) {
      seen[channels.indexOf(JSON.parse(event).channel)]?.push(idOf(event))
    }
    cursor = client.cursor
    client.cut()
  }
  await writer
  t.strictSame(seen, published)
})

t.test('a poll sees what its own node acknowledged before it asked', async t => {
  const node = await nodesOf('own')()
  t.teardown(() => node.close())
  const channel = fresh()
  let missed = 0
  const hammer = async (cursor: string) => {
    for (let i = 0; i < 150; i++) {
      const [id = ''] = await node.append(channel, '1')
      const { body } = await node.get(
        `/v1/poll?channel=${channel}&cursor=${cursor || at(id, offsetOf(id) - 1)}&limit=1000`,
      )
      const page: { events: { id: string }[]; cursor: string; more?: true } = JSON.parse(body)
      if (page.more === undefined && offsetOf(page.cursor) < offsetOf(id)) missed++
    }
  }
  await Promise.all([hammer('earliest'), hammer('earliest'), hammer(''), hammer('latest')])
  t.equal(missed, 0)
})

t.test('whoever follows a channel whose history is lost is told a gap, once, and goes on', async t => {
  const own = await startRedis()
  const node = await nodesOf('lost', own)({ HEARTBEAT: '200ms' })
  const control = new Redis(own.url)
  t.teardown(async () => {
    control.disconnect()
    await node.close()
    await own.stop()
  })
  const channel = fresh()
  const [before = ''] = await node.append(channel, '1', '2')
  const clients: Client[] = await Promise.all(
    ALL_WIRES.map(wire => wire.connect(node, { channels: [channel], cursor: before })),
  )
  const last = await Promise.all(clients.map(async client => idOf(await client.event())))
  t.equal(new Set(last).size, 1)
  await reading(node, channel)
  await control.flushall()
  const [id = ''] = await node.append(channel, '"new"')
  t.not(id.split('-')[0], before.split('-')[0], 'a new epoch')
  for (const client of clients) {
    const gap = await client.next()
    if (!('gap' in gap)) throw new Error(`a gap was expected, but ${JSON.stringify(gap)} came`)
    t.equal(gap.gap.from, last[0])
    t.equal(gap.gap.to, at(id, offsetOf(id) - 1))
    t.equal(idOf(await client.event()), id)
  }
  const more = await node.append(channel, '3', '4')
  for (const client of clients) {
    t.same(idsOf(await take(client, 2)), more, 'and no further gap')
    client.cut()
  }
  await until('all have left', () => node.hub.stats().readers === 0)
})
