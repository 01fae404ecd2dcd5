// Every wire on Redis, and cases that need several nodes and a Redis that loses data.

import { once } from 'node:events'
import { Centrifuge } from 'centrifuge'
import { Redis } from 'ioredis'
import { pino } from 'pino'
import { io as connectIo } from 'socket.io-client'
import t from 'tap'
import { WebSocket } from 'ws'
import { RedisLog } from '../../services/broker/log/redis/log.ts'
import { ALL_WIRES, type Client } from '../contract/clients.ts'
import { configOf, offsetOf, type StartNode, startNode } from '../contract/node.ts'
import { at, fresh, idOf, idsOf, reading, take, wireContract } from '../contract/wires.ts'
import { startRedis } from '../support/redis-server.ts'
import { until } from '../support/until.ts'

const redis = await startRedis()
t.teardown(() => redis.stop())

/** Settings that enable every wire. */
const SETTINGS = Object.assign({}, ...ALL_WIRES.map(wire => wire.settings))

let prefixes = 0
/** Starts nodes. Those with the same prefix share a log. */
function nodesOf(prefix: string, { url } = redis): StartNode {
  return settings =>
    startNode(configOf({ ...SETTINGS, ...settings }), ({ history, idempotencyWindow, logTimeout }) => {
      const logger = pino({ level: process.env.TEST_LOG ?? 'silent' })
      return new RedisLog({
        url,
        prefix,
        retentionOf: () => history,
        idempotencyWindow,
        timeout: logTimeout,
        logger,
      })
    })
}

wireContract(t, 'Redis', settings => nodesOf(`t${++prefixes}`)(settings))

t.test('a client resumes on another node and over another wire', async t => {
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

t.test('a Centrifugo client recovers on another node during publishes', async t => {
  const start = nodesOf('centrifuge')
  const nodes = await Promise.all([start({ CENTRIFUGE: '1' }), start({ CENTRIFUGE: '1' })])
  t.teardown(() => Promise.all(nodes.map(node => node.close())))
  const channel = fresh()
  const read: number[] = []
  let since = { epoch: '', offset: 0 }
  const writer = (async () => {
    for (let i = 0; i < 200; i++) await nodes[i % 2]?.append(channel, `${i}`)
  })()
  // The last event may be read before its writer is notified.
  for (let turn = 0; read.length < 200; turn++) {
    const endpoint = `ws://127.0.0.1:${nodes[turn % 2]?.port}/connection/websocket`
    const client = new Centrifuge(endpoint, { websocket: WebSocket })
    const sub = client.newSubscription(channel, { since })
    const subscribed = new Promise<boolean>(resolve =>
      sub.on('subscribed', ({ streamPosition, recovered }) => {
        since = { epoch: streamPosition?.epoch ?? '', offset: streamPosition?.offset ?? -1 }
        resolve(recovered)
      }),
    )
    const enough = read.length + 20
    const some = new Promise<void>(resolve =>
      sub.on('publication', ({ data, offset }) => {
        if (read.length >= enough) return
        read.push(data)
        since = { ...since, offset: offset ?? -1 }
        if (read.length === Math.min(enough, 200)) resolve()
      }),
    )
    sub.subscribe()
    client.connect()
    t.ok(await subscribed, 'recovered')
    await some
    client.disconnect()
  }
  await writer
  t.strictSame(
    read,
    Array.from({ length: 200 }, (_, i) => i),
  )
})

t.test('a poll sees every event that its own node acknowledged before', async t => {
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

t.test('W5: a permanent error of Redis is not reported as retryable, on any wire', async t => {
  const prefix = `t${++prefixes}`
  const node = await nodesOf(prefix)()
  const control = new Redis(redis.url)
  const [bad, good] = [fresh(), fresh()]
  t.teardown(async () => {
    control.disconnect()
    await node.close()
  })
  await control.set(`${prefix}:{${bad}}:m`, 'not a hash')
  const base = `http://127.0.0.1:${node.port}`
  const post = (path: string, type: string, body: string) =>
    fetch(base + path, { method: 'POST', headers: { 'content-type': type }, body })
  const single = await post(`/v1/channels/${bad}/events`, 'application/json', '1')
  t.equal(single.status, 500)
  t.equal(single.headers.get('retry-after'), null)
  const text = await single.text()
  t.equal(JSON.parse(text).error.code, 'FW_LOG_REFUSED')
  t.notMatch(text, /try again|WRONGTYPE|127\.0\.0\.1/)

  const entry = (channel: string) => JSON.stringify({ channel, data: 1 })
  const bulk = await post('/v1/events', 'application/json', `{"events":[${entry(bad)},${entry(good)}]}`)
  t.match(await bulk.json(), { results: [{ error: { code: 'FW_LOG_REFUSED' } }, { channel: good }] })
  const lines = await post('/v1/events', 'application/x-ndjson', `${entry(good)}\n${entry(bad)}\n`)
  t.match((await lines.text()).split('\n')[1], /"FW_LOG_REFUSED"/)

  const socket = new WebSocket(`ws://127.0.0.1:${node.port}/v1/ws`)
  const answered: Record<string, unknown>[] = []
  socket.on('message', text => void answered.push(JSON.parse(String(text))))
  await once(socket, 'open')
  socket.send(`{"ref":1,"publish":${entry(bad)}}`)
  socket.send(`{"ref":2,"subscribe":"${bad}"}`)
  await until('both commands are answered', () => answered.length === 3)
  for (const ref of [1, 2])
    t.match(
      answered.find(each => each.ref === ref),
      { error: { code: 'FW_LOG_REFUSED' } },
    )
  socket.terminate()
  const named = new WebSocket(`ws://127.0.0.1:${node.port}/v1/ws?channel=${bad}`)
  const [code, reason] = await once(named, 'close')
  t.strictSame(
    [code, String(reason)],
    [4500, 'FW_LOG_REFUSED'],
    'the code says that reconnecting does not help',
  )
  const io = connectIo(base, { transports: ['websocket'] })
  t.teardown(() => io.close())
  t.match(await io.emitWithAck('publish', { channel: bad, data: 1 }), { error: { code: 'FW_LOG_REFUSED' } })
  for (const path of [`poll?channel=${bad}`, `sse?channel=${bad}`, `channels/${bad}`]) {
    const read = await fetch(`${base}/v1/${path}`)
    t.equal(read.status, 500, path)
    t.match(await read.json(), { error: { code: 'FW_LOG_REFUSED' } })
  }
  const { body } = await node.get('/metrics')
  t.match(body, /^fanwire_log_failures_total\{operation="append",reason="WRONGTYPE"\} 5$/m)
  t.match(body, /^fanwire_appends_total\{result="refused"\} 5$/m)
  t.equal((await node.get('/readyz')).status, 200)
})

t.test('W3: a node with a full Redis serves reads, and reports that it rejects events', async t => {
  const own = await startRedis()
  const node = await nodesOf('full', own)()
  const control = new Redis(own.url)
  t.teardown(async () => {
    control.disconnect()
    await node.close()
    await own.stop()
  })
  const channel = fresh()
  const [id = ''] = await node.append(channel, '1')
  const before = at(id, 0)
  await control.config('SET', 'maxmemory', '1')
  const readyz = async (query: string) => {
    const { status, body } = await node.get(`/readyz${query}`)
    return { status, body: JSON.parse(body) }
  }
  await until('the node notices it', async () => !(await readyz('')).body.appends)
  t.match(await readyz(''), {
    status: 200,
    body: { ready: true, reads: true, appends: false, reason: /OOM/ },
  })
  t.match(await readyz('?for=read'), { status: 200 })
  t.match(await readyz('?for=publish'), {
    status: 503,
    body: { ready: false, error: { code: 'FW_NOT_READY' } },
  })
  t.equal((await readyz('?for=x')).status, 400)
  const { body } = await node.get('/metrics')
  t.match(body, /^fanwire_ready 1$/m)
  t.match(body, /^fanwire_takes_events 0$/m)
  for (const wire of ALL_WIRES) {
    const client = await wire.connect(node, { channels: [channel], cursor: before })
    t.equal(idOf(await client.event()), id, wire.name)
    client.cut()
  }
  await t.rejects(node.publish(channel, '2'), { message: /^503 .*FW_LOG_UNAVAILABLE/ })
  await control.config('SET', 'maxmemory', '0')
  await until('the node accepts events', async () => (await readyz('?for=publish')).status === 200)
  t.equal(await node.publish(channel, '2'), at(id, 2))
})

t.test('W6: a poll of a made-up channel writes no key, and its cursor loses nothing on any node', async t => {
  const prefix = `t${++prefixes}`
  const start = nodesOf(prefix)
  const [one, other] = await Promise.all([start(), start()])
  const control = new Redis(redis.url)
  t.teardown(async () => {
    control.disconnect()
    await Promise.all([one.close(), other.close()])
  })
  const keys = async () => (await control.keys(`${prefix}:*`)).filter(key => !key.includes('fanwire:'))
  const ask = async (node: typeof one, channel: string, cursor: string) =>
    JSON.parse((await node.get(`/v1/poll?channel=${channel}&cursor=${cursor}`)).body)
  const channel = fresh()
  const first = await ask(one, channel, 'earliest')
  for (const path of ['poll?channel=x', 'refresh?channel=y', 'channels/z', 'channels/z/events/e-3'])
    await one.get(`/v1/${path}`)
  t.same(await keys(), [])
  t.same(first.events, [])

  const [id = ''] = await other.append(channel, '1')
  await until('the node has the event', async () => (await ask(one, channel, 'earliest')).events.length === 1)
  const here = await ask(one, channel, first.cursor)
  t.same(
    [here.gaps, here.events.length, here.cursor],
    [undefined, 1, id],
    'the node that answered the first poll loses nothing',
  )
  const elsewhere = await ask(other, channel, first.cursor)
  t.same(elsewhere.gaps, undefined, 'another node loses nothing either')
  t.same([elsewhere.events.length, elsewhere.cursor], [1, id])

  const looked = fresh()
  const looks = [await ask(one, looked, 'earliest'), await ask(other, looked, 'earliest')]
  t.equal(looks[0].cursor, looks[1].cursor, 'all nodes give an empty channel the same position')

  // Readers that reconnect or stay receive a position that is valid everywhere.
  const later = fresh()
  const { cursor } = await ask(one, later, (await ask(one, later, 'earliest')).cursor)
  t.equal((await keys()).filter(key => key.includes(later)).length, 4)
  t.equal((await ask(other, later, cursor)).gaps, undefined)
  for (const wire of ALL_WIRES.filter(each => each.name !== 'poll' && each.name !== 'refresh')) {
    const followed = fresh()
    const client = await wire.connect(one, { channels: [followed] })
    const [published = ''] = await other.append(followed, '1')
    t.equal(idOf(await client.event()), published, wire.name)
    t.equal((await ask(other, followed, at(published, 0))).gaps, undefined)
    client.cut()
  }
})

t.test('a reader of a channel with a lost history receives one gap and continues', async t => {
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
  t.not(id.split('-')[0], before.split('-')[0], 'the loss starts an epoch')
  for (const client of clients) {
    const gap = await client.next()
    if (!('gap' in gap)) throw new Error(`a gap was expected, but ${JSON.stringify(gap)} came`)
    t.equal(gap.gap.from, last[0])
    t.equal(gap.gap.to, at(id, offsetOf(id) - 1))
    t.equal(idOf(await client.event()), id)
  }
  const more = await node.append(channel, '3', '4')
  for (const client of clients) {
    t.same(idsOf(await take(client, 2)), more, 'no further gap follows')
    client.cut()
  }
  await until('all readers have left', () => node.hub.stats().readers === 0)
})
