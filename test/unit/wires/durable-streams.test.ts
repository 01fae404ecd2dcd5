// Durable Streams, beyond its own suite (`npm run conformance -- durable-streams`): its client, other wires on the same
// channels, retention, and unsupported features.

import { DurableStream, IdempotentProducer, stream } from '@durable-streams/client'
import type { ServerResponse } from 'node:http'
import t from 'tap'
import { configOf, startMemoryNode, startNode } from '../../contract/node.ts'
import type { Start } from '../../../services/broker/event/position.ts'
import { fold, PRODUCER_TAG, RECORD, recordOf } from '../../../services/broker/streams/state.ts'
import { ClosedWorld } from '../../support/closed-node.ts'
import { stopClock } from '../../support/stopped-clock.ts'
import { until } from '../../support/until.ts'
import { ScriptedLog } from '../broker/fanout/scripted-log.ts'
import { Raw } from '../http/app.ts'

const node = await startMemoryNode({ DURABLE_STREAMS: '1' })
const without = await startMemoryNode()
t.teardown(() => Promise.all([node.close(), without.close()]))

const JSON_TYPE = { 'content-type': 'application/json' }
const at = (path: string) => `http://127.0.0.1:${node.port}${path}`
const ask = (path: string, init?: RequestInit) => fetch(at(path), init)
const publish = (channel: string, body: string) =>
  ask(`/v1/channels/${encodeURIComponent(channel)}/events`, { method: 'POST', headers: JSON_TYPE, body })

t.test('without the setting its paths do not exist', async t => {
  const url = `http://127.0.0.1:${without.port}/v1/stream/a`
  t.equal((await fetch(url)).status, 404)
  t.equal((await fetch(url, { method: 'PUT' })).status, 404)
})

for (const live of ['long-poll', 'sse'] as const) {
  t.test(`its client follows a channel with events published by plain requests: ${live}`, async t => {
    const channel = `news-${live}`
    await publish(channel, '{"n":1}')
    const items: unknown[] = []
    const response = await stream({ url: at(`/v1/stream/${channel}`), live, offset: '-1', json: true })
    const stop = response.subscribeJson(batch => void items.push(...batch.items))
    await until('the first is there', () => items.length === 1)
    await publish(channel, '[2]')
    await publish(channel, '"three"')
    await until('all are there', () => items.length === 3)
    t.strictSame(items, [{ n: 1 }, [2], 'three'])
    stop()
    response.cancel()
  })
}

t.test('sse: lines of text keep the space at their beginning', async t => {
  const url = at('/v1/stream/indented')
  const written = await DurableStream.create({ url, contentType: 'text/plain' })
  const response = await stream({ url, live: 'sse', offset: '-1' })
  let live = ''
  response.subscribeText(({ text }) => void (live += text))
  let all = ''
  for (const text of ['Hello', ' world', '\n  indented\n\ttab']) {
    await written.append(text)
    all += text
    await until('it is read', () => live.endsWith(text.slice(-1)))
  }
  response.cancel()
  t.equal(live, all)
  t.equal(await (await stream({ url, live: false })).text(), all)
})

const HOST = 'Host: 127.0.0.1\r\n'
const LARGE = JSON.stringify('x'.repeat(100_000))

t.test('sse: waiting for a client to read leaves no listeners', async t => {
  await publish('large', LARGE)
  const responses: ServerResponse[] = []
  node.app.server.once('request', (_request, response: ServerResponse) => responses.push(response))
  const raw = new Raw(node.port).send(`GET /v1/stream/large?offset=-1&live=sse HTTP/1.1\r\n${HOST}\r\n`)
  const received = (count: number) => () => raw.text.split(/event: control\n[^\n]*\n\n/).length > count
  await until('the first is there', received(1))
  const [response] = responses
  const listeners = () => ['close', 'error', 'drain'].map(event => response?.listenerCount(event))
  const before = listeners()
  for (let count = 2; count <= 4; count++) {
    await publish('large', LARGE)
    await until('the next is there', received(count))
  }
  t.strictSame(listeners(), before)
  raw.socket.resetAndDestroy()
})

t.test(
  'sse: a pipelined request is over when its client leaves, although nothing of it was sent',
  async t => {
    const stats = node.hub.connections.wires.of('durable-streams')
    await until('earlier clients have left', () => stats.connections === 0)
    await publish('large', LARGE)
    const raw = new Raw(node.port).send(
      `GET /v1/long-poll?channel=quiet&wait=1 HTTP/1.1\r\n${HOST}\r\n` +
        `GET /v1/stream/large?offset=-1&live=sse HTTP/1.1\r\n${HOST}\r\n`,
    )
    await until('it has begun', () => stats.connections === 1)
    raw.socket.resetAndDestroy()
    await until('it is over', () => stats.connections === 0)
    await until('no request is in flight', () => node.app.protocols.underWay === 0)
    t.pass('nothing is left of it')
  },
)

t.test('events from its producer can be read by a poll, each once', async t => {
  const written = await DurableStream.create({
    url: at('/v1/stream/rooms/1'),
    contentType: 'application/json',
  })
  const producer = new IdempotentProducer(written, 'p1', { autoClaim: true })
  for (let n = 1; n <= 20; n++) producer.append(JSON.stringify({ n }))
  await producer.flush()
  await written.close()
  const { events } = (await (await ask('/v1/poll?channel=rooms/1')).json()) as {
    events: { type?: string; data: unknown; end?: object }[]
  }
  t.equal(events[0]?.type, 'fanwire:stream', 'the description of the stream comes first')
  t.strictSame(
    events.slice(1, 21).map(({ data }) => data),
    Array.from({ length: 20 }, (_, i) => ({ n: i + 1 })),
  )
  t.equal((await publish('rooms/1', '1')).status, 409, 'a closed stream rejects publishes on every path')
  await producer.close().catch(() => {})
})

t.test('a reader is told that the stream is closed once it has the last events, not before', async t => {
  const log = new ScriptedLog()
  const node = await startNode(configOf({ DURABLE_STREAMS: '1' }), () => log)
  t.teardown(() => node.close())
  const read = (query: string, method = 'GET') =>
    fetch(`http://127.0.0.1:${node.port}/v1/stream/late${query}`, { method })
  log.add('late', [{ data: Buffer.from('1') }])
  const followed = await node.hub.open('late')
  t.teardown(() => followed.release())
  const offset = (await read('?offset=-1')).headers.get('stream-next-offset')

  // The feed is late, but the node has read the end in the log.
  log.held = true
  log.add('late', [{ data: Buffer.from('2') }, { end: true }])
  t.equal((await read('', 'HEAD')).headers.get('stream-closed'), 'true')
  t.equal((await read(`?offset=${offset}`)).headers.get('stream-closed'), null)
  const poll = read(`?offset=${offset}&live=long-poll`)
  await Promise.race([poll, until('the poll is held', () => node.hub.connections.held.size === 1)])
  log.release()
  const response = await poll
  t.equal(await response.text(), '[2]')
  t.equal(response.headers.get('stream-closed'), 'true')
  const next = response.headers.get('stream-next-offset')
  const atEnd = await read(`?offset=${next}&live=long-poll`)
  t.equal(atEnd.status, 204, 'at the end it is told at once')
  t.equal(atEnd.headers.get('stream-closed'), 'true')
  t.equal((await read(`?offset=${next}`)).headers.get('stream-closed'), 'true')
})

t.test('bytes are returned as they were appended', async t => {
  const bytes = Uint8Array.from({ length: 256 }, (_, i) => i)
  const written = await DurableStream.create({
    url: at('/v1/stream/bytes'),
    contentType: 'application/x-any',
  })
  await written.append(bytes)
  await written.append(bytes)
  const read = await (await stream({ url: at('/v1/stream/bytes'), live: false })).body()
  t.strictSame([...read], [...bytes, ...bytes])
})

t.test('a position in a lost history is reported, never skipped', async t => {
  await ask('/v1/stream/gone', { method: 'PUT', headers: JSON_TYPE, body: '[1,2]' })
  const offset = (await ask('/v1/stream/gone')).headers.get('stream-next-offset')
  t.equal((await ask('/v1/stream/gone', { method: 'DELETE' })).status, 204)
  t.equal((await ask('/v1/stream/gone')).status, 404)
  await ask('/v1/stream/gone', { method: 'PUT', headers: JSON_TYPE, body: '[3]' })
  for (const live of ['', '&live=long-poll', '&live=sse']) {
    const answer = await ask(`/v1/stream/gone?offset=${offset}${live}`)
    t.equal(answer.status, 410)
    t.match(await answer.json(), { error: { code: 'FW_OFFSET_GONE' } })
  }
})

t.test('unsupported features are rejected with an explanation', async t => {
  await ask('/v1/stream/source', { method: 'PUT', headers: JSON_TYPE })
  const fork = await ask('/v1/stream/fork', {
    method: 'PUT',
    headers: { 'stream-forked-from': '/v1/stream/source' },
  })
  const subscriptions = await Promise.all(
    (
      [
        ['PUT', 'subscriptions/a'],
        ['GET', 'subscriptions/a'],
        ['DELETE', 'subscriptions/a'],
        ['POST', 'subscriptions/a/streams'],
        ['POST', 'subscriptions/a/claim'],
        ['GET', 'jwks.json'],
      ] as const
    ).map(([method, path]) => {
      const body = method === 'PUT' || method === 'POST' ? { headers: JSON_TYPE, body: '{}' } : {}
      return ask(`/v1/stream/__ds/${path}`, { method, ...body })
    }),
  )
  for (const answer of [fork, ...subscriptions]) {
    t.equal(answer.status, 501)
    t.match(await answer.json(), { error: { code: 'FW_NOT_SUPPORTED' } })
  }
})

t.test('producers belong to their publisher', async t => {
  const world = new ClosedWorld()
  const closed = await startMemoryNode(world.settings)
  t.teardown(() => closed.close())
  const url = `http://127.0.0.1:${closed.port}/v1/stream/open:shared`
  const append = async (key: string | undefined, seq: number, body: string, more = {}) => {
    const authorization = key === undefined ? {} : { authorization: `Bearer ${key}` }
    const producer = { 'producer-id': 'p', 'producer-epoch': '0', 'producer-seq': `${seq}` }
    const headers = { ...JSON_TYPE, ...authorization, ...producer, ...more }
    return (await fetch(url, { method: 'POST', headers, body })).status
  }
  const { all, writers } = world.keys
  await closed.append('open:shared', { tags: new Map([[PRODUCER_TAG, '0:3:p']]) })
  t.equal(await append(all.key, 3, '"old"'), 204, 'ids that were recorded without a publisher are found')
  t.equal(await append(all.key, 4, '"all 4"'), 200)
  t.equal(await append(writers.key, 4, '"writers 4"'), 200)
  t.equal(await append(undefined, 4, '"anonymous 4"'), 200)
  for (const key of [all.key, writers.key, undefined]) t.equal(await append(key, 4, '"again"'), 204)
  t.strictSame(await (await fetch(url)).json(), [1, 'all 4', 'writers 4', 'anonymous 4'])
  const end = { 'stream-closed': 'true' }
  t.equal(await append(all.key, 5, '"last"', end), 200)
  t.equal(await append(all.key, 5, '"last"', end), 204, 'a retry')
  t.equal(await append(writers.key, 5, '"last"', end), 409, 'not a retry')
})

t.test('the log of lives records clients of sse, not long polls', async t => {
  const world = new ClosedWorld()
  world.writeRules('lives: [client.*]\ndefault: { subscribe: anyone, publish: anyone }')
  const closed = await startMemoryNode(world.settings)
  t.teardown(() => closed.close())
  const read = (path: string) =>
    fetch(`http://127.0.0.1:${closed.port}${path}`, {
      headers: { authorization: `Bearer ${world.keys.all.key}` },
    })
  await closed.append('lived', '1', { end: true })
  for (const live of ['long-poll', 'sse']) {
    await (await read(`/v1/stream/lived?offset=-1&live=${live}`)).text()
  }
  const recorded = async () => {
    const { events } = (await (await read('/v1/lives')).json()) as { events: { type: string }[] }
    return events.map(({ type }) => type)
  }
  await until('the client of sse has left', async () => (await recorded()).includes('client.disconnected'))
  t.strictSame(await recorded(), ['client.connected', 'client.disconnected'])
})

t.test('a repeated record that is older than an append before it does not undo that append', async t => {
  const tags = (seq: number) => ({ tags: new Map([[PRODUCER_TAG, `0:${seq}:p`]]) })
  await node.append('raced', { type: RECORD, data: recordOf({ contentType: 'application/json' }) }, tags(0))
  const read = (after: Start) => node.log.read('raced', after, { events: 1000, bytes: 1e6 })
  const data = (await fold(undefined, read)).toRecord()
  await node.append('raced', tags(1), { type: RECORD, data })
  t.equal((await fold(undefined, read)).producers.get('p')?.seq, 1)
})

t.test('an append has at most 10,000 messages, and a long one leaves the stream its record', async t => {
  const short = await startMemoryNode({ DURABLE_STREAMS: '1', HISTORY_EVENTS: '100' })
  t.teardown(() => short.close())
  const messages = (count: number) => JSON.stringify(Array.from({ length: count }, (_, n) => n))
  const send = (path: string, init: RequestInit) =>
    fetch(`http://127.0.0.1:${short.port}/v1/stream/${path}`, init)
  const life = { ...JSON_TYPE, 'stream-ttl': '3600' }
  const producer = (seq: number) => ({ 'producer-id': 'p', 'producer-epoch': '0', 'producer-seq': `${seq}` })
  const append = (headers: Record<string, string>, count: number) =>
    send('long', { method: 'POST', headers: { ...JSON_TYPE, ...headers }, body: messages(count) })
  const ttlOf = async (path: string) => (await send(path, { method: 'HEAD' })).headers.get('stream-ttl')

  await send('long', { method: 'PUT', headers: life })
  const refused = await append({}, 10_001)
  t.equal(refused.status, 413)
  t.match(await refused.json(), { error: { code: 'FW_TOO_LARGE' } })
  t.equal(await (await send('long', {})).text(), '[]', 'nothing is appended')
  t.equal((await append(producer(0), 1)).status, 200)
  t.equal((await append({}, 10_000)).status, 204)
  t.equal(await ttlOf('long'), '3600')
  const answer = await append(producer(1), 10_000)
  t.equal(answer.status, 200)
  t.equal(await ttlOf('long'), '3600')
  const { headers } = await send('long', { method: 'HEAD' })
  t.equal(answer.headers.get('stream-next-offset'), headers.get('stream-next-offset'))
  t.equal((await append(producer(1), 1)).status, 204, 'a retry is a duplicate')

  await send('full', { method: 'PUT', headers: life, body: messages(10_000) })
  t.equal(await ttlOf('full'), '3600')
})

t.test('a stream keeps its content type and its producers when retention drops its first record', async t => {
  const clock = stopClock(t)
  for (const settings of [{ HISTORY_EVENTS: '20' }, { HISTORY_BYTES: '2KiB' }, { HISTORY_AGE: '2s' }]) {
    const short = await startMemoryNode({ DURABLE_STREAMS: '1', ...settings })
    const url = `http://127.0.0.1:${short.port}/v1/stream/short`
    const headers = { 'content-type': 'text/plain', 'producer-id': 'p1', 'producer-epoch': '0' }
    await fetch(url, { method: 'PUT', headers: { 'content-type': 'text/plain' } })
    let seq = 0
    const read = (after: Start) => short.log.read('short', after, { events: 1000, bytes: 1e6 })
    const isDropped = async () => (await read('earliest')).start.offset > 0
    await until('the first record is dropped', async () => {
      clock.forward(20)
      const body = `${seq} ${'x'.repeat(50)}`
      const { status } = await fetch(url, {
        method: 'POST',
        headers: { ...headers, 'producer-seq': `${seq++}` },
        body,
      })
      if (status >= 300) throw new Error(`${status}`)
      return isDropped()
    })
    const state = await fold(undefined, read)
    t.match([state.config.contentType, [...state.producers.values()].at(-1)?.seq], ['text/plain', seq - 1])
    await short.close()
  }
})
