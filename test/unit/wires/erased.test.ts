// An erased event: no protocol returns its data any more, whether live, from the history, or from a cache.

import { DurableStream } from '@durable-streams/client'
import t from 'tap'
import { RECORD, recordOf } from '../../../services/broker/streams/state.ts'
import { startMemoryNode } from '../../contract/node.ts'
import { rawClient } from '../../support/centrifuge.ts'
import { ClosedWorld } from '../../support/closed-node.ts'
import { hubOf } from '../../support/mercure.ts'
import { appsFile, clientsOf } from '../../support/pusher.ts'
import { until } from '../../support/until.ts'

const world = new ClosedWorld()
world.writeRules(`
channels:
  - { match: "room:*", subscribe: token }
default: { subscribe: anyone, publish: anyone }
`)
const node = await startMemoryNode({ ...world.settings, PUSHER_APPS: appsFile() })
const pusher = clientsOf(node.port)
const hub = hubOf(node)
t.teardown(async () => {
  pusher.disconnect()
  hub.disconnect()
  await node.close()
})

const base = `http://127.0.0.1:${node.port}`
const asAdmin = { authorization: `Bearer ${world.keys.all.key}` }
const SECRET = '4111'

/** An event that is erased between two that stay. Returns their ids. */
async function publishAndErase(channel: string): Promise<string[]> {
  const ids: string[] = []
  for (const data of ['"before"', `"${SECRET}"`, '"after"']) ids.push(await node.publish(channel, data))
  await erase(channel, ids[1] ?? '')
  return ids
}

async function erase(channel: string, id = ''): Promise<void> {
  const path = `/v1/channels/${encodeURIComponent(channel)}${id === '' ? '' : `/events/${id}`}`
  const { status } = await fetch(base + path, { method: 'DELETE', headers: asAdmin })
  t.equal(status, 200)
}

const publishUpdate = async (fields: Record<string, string | string[]>) => {
  const answer = await hub.post(fields, world.keys.all.key)
  t.equal(answer.status, 200)
}

/** All stored updates of a topic, up to one that is published now. */
async function updatesOf(topic: string): Promise<string[]> {
  const { received } = await hub.subscribe(
    `?${new URLSearchParams({ match: topic, last_event_id: 'earliest' })}`,
  )
  await publishUpdate({ topic, data: 'last' })
  await until('the last', () => received.at(-1)?.data === 'last')
  return received.map(({ data }) => data)
}

t.test('Mercure: an erased event of a channel is not sent', async t => {
  await publishAndErase('erased-m')
  t.strictSame(await updatesOf('erased-m'), ['before', 'after', 'last'])
})

t.test('Mercure: an update of several topics is erased with its event in any of them', async t => {
  await publishUpdate({ topic: ['first', 'second', 'chat:é'], data: SECRET, id: 'urn:secret' })
  await publishUpdate({ topic: ['first', 'second'], data: 'stays' })
  const { body } = await node.get('/v1/poll?channel=second&cursor=earliest', asAdmin)
  const [{ id = '' } = {}] = (JSON.parse(body) as { events: { id: string }[] }).events
  await erase('second', id)
  t.strictSame(await updatesOf('first'), ['stays', 'last'])
  const { received } = await hub.subscribe('?match=second&last_event_id=urn:secret')
  await until('the rest', () => received.at(-1)?.data === 'stays')
  t.notOk(received.some(({ data }) => data.includes(SECRET)))
})

t.test('Mercure: the events of a cleared channel are not sent', async t => {
  await node.publish('cleared', `"${SECRET}"`)
  await node.publish('cleared', `"${SECRET}"`)
  await node.publish('kept', '"kept"')
  await erase('cleared')
  await node.publish('cleared', '"new"')
  t.strictSame(await updatesOf('cleared'), ['new', 'last'])
  t.strictSame(await updatesOf('kept'), ['kept', 'last'])
})

t.test('Centrifuge: recovery, history and the server API return an erased event without data', async t => {
  const channel = 'erased-c'
  const [first = ''] = await publishAndErase(channel)
  const [epoch] = first.split('-')
  const erased = { data: null, offset: 2, tags: { 'fanwire:erased': 'true' } }
  const publications = [{ data: 'before', offset: 1 }, erased, { data: 'after', offset: 3 }]
  const client = await rawClient(node)
  const pushed = () => client.lines.map(line => JSON.parse(line).push?.pub).filter(Boolean)
  const history = await client.ask(JSON.stringify({ id: 2, history: { channel, limit: 10 } }))
  t.match(history, { history: { publications } })
  await client.ask(JSON.stringify({ id: 3, subscribe: { channel, recover: true, epoch, offset: 0 } }))
  await until('all are recovered', () => pushed().length === 3)
  t.same(pushed(), publications)
  const answer = await fetch(`${base}/api/history`, {
    method: 'POST',
    headers: { 'x-api-key': world.keys.all.key },
    body: JSON.stringify({ channel, limit: 10, reverse: true }),
  })
  t.match(await answer.json(), { result: { publications: publications.toReversed() } })
  t.notOk(client.lines.some(line => line.includes(SECRET)))
  client.socket.close()
})

t.test(
  'Pusher: a cache channel whose last event was erased reports a miss; no client resumes to an erased event',
  async t => {
    const channel = 'cache-erased'
    await pusher.server.trigger(channel, 'update', 'before')
    await pusher.server.trigger(channel, 'update', SECRET)
    const { body } = await node.get(`/v1/poll?channel=${channel}&cursor=earliest`)
    const { events } = JSON.parse(body) as { events: { id: string }[] }
    await erase(channel, events[1]?.id)
    const { client, received } = pusher.connect()
    await pusher.subscribed(client, channel)
    await until('the miss is reported', () => received.some(({ event }) => event === 'pusher:cache_miss'))
    t.notOk(received.some(({ event }) => event === 'update'))
    client.send_event('pusher:subscribe', { channel: 'erased-p', cursor: 'earliest' })
    await until('subscribed', () => received.some(({ channel }) => channel === 'erased-p'))
    await publishAndErase('erased-p')
    await until('the last arrives live', () => received.at(-1)?.data === 'after')
    client.send_event('pusher:unsubscribe', { channel: 'erased-p' })
    received.length = 0
    client.send_event('pusher:subscribe', { channel: 'erased-p', cursor: 'earliest' })
    await until('the last', () => received.at(-1)?.data === 'after')
    t.strictSame(
      received.filter(({ event }) => event === 'message').map(({ data }) => data),
      ['before', 'after'],
    )
    t.notOk(JSON.stringify(received).includes(SECRET))
  },
)

t.test('Durable Streams: reads omit an erased event, and cached responses are no longer valid', async t => {
  const channel = 'erased-d'
  const url = `${base}/v1/stream/${channel}`
  const stream = await DurableStream.create({ url, contentType: 'application/json' })
  for (const data of ['"before"', `"${SECRET}"`, '"after"']) await stream.append(data)
  const read = async (headers: Record<string, string> = {}) => {
    const answer = await fetch(`${url}?offset=-1`, { headers })
    return { status: answer.status, etag: answer.headers.get('etag') ?? '', text: await answer.text() }
  }
  const { etag } = await read()
  t.equal((await read({ 'if-none-match': etag })).status, 304)
  const { body } = await node.get(`/v1/poll?channel=${channel}`)
  const { events } = JSON.parse(body) as { events: { id: string }[] }
  await erase(channel, events[2]?.id)
  t.match(await read({ 'if-none-match': etag }), { status: 200, text: '["before","after"]' })
})

t.test('Durable Streams: a stream whose description was erased is read as JSON', async t => {
  const { log } = node
  const channel = 'erased-record'
  const [record] = await log.append(channel, [
    { data: recordOf({ contentType: 'text/plain' }), type: RECORD },
  ])
  if (record !== undefined) await log.erase(channel, record.position)
  await node.publish(channel, '1')
  const answer = await fetch(`${base}/v1/stream/${channel}?offset=-1`)
  t.strictSame([answer.status, await answer.text()], [200, '[1]'])
})

t.test('polling: cached responses are no longer valid', async t => {
  const ids: string[] = []
  for (const data of ['1', `"${SECRET}"`]) ids.push(await node.publish('polled', data))
  const path = '/v1/poll?channel=polled&cursor=earliest'
  const { headers } = await node.get(path)
  const ask = { 'if-none-match': String(headers.etag) }
  t.equal((await node.get(path, ask)).status, 304)
  await erase('polled', ids[1])
  const { status, body } = await node.get(path, ask)
  t.equal(status, 200)
  t.notOk(body.includes(SECRET))
})

/** Appends events with these tags. Returns their ids. */
const tagged = (channel: string, ...tags: Record<string, string>[]) =>
  node.append(channel, ...tags.map(each => ({ tags: new Map(Object.entries(each)) })))

t.test('polling with a filter: cached responses are no longer valid', async t => {
  const cases = [
    ['filtered', '', 0],
    ['newest', '&newest=tag:room', 1],
  ] as const
  for (const [channel, newest, erased] of cases) {
    const ids = await tagged(channel, { lang: 'ko', room: '1' }, { lang: 'ko', room: '1' })
    const filter = encodeURIComponent(JSON.stringify({ key: 'lang', cmp: 'eq', val: 'ko' }))
    const path = `/v1/poll?channel=${channel}&cursor=earliest&filter=${filter}${newest}`
    const ask = { 'if-none-match': String((await node.get(path)).headers.etag) }
    t.equal((await node.get(path, ask)).status, 304, channel)
    await erase(channel, ids[erased])
    const { status, body } = await node.get(path, ask)
    t.equal(status, 200, channel)
    const { events } = JSON.parse(body) as { events: { id: string }[] }
    t.strictSame(
      events.map(({ id }) => id),
      [ids[1 - erased]],
    )
  }
})

t.test('Durable Streams with a filtered grant: cached responses are no longer valid', async t => {
  const channel = 'room:filtered'
  const ids = await tagged(channel, { lang: 'ko' }, { lang: 'ko' })
  const filter = { key: 'lang', cmp: 'eq', val: 'ko' }
  const token = world.token({ caps: [{ channels: ['room:*'], allow: ['sub', 'hst'], filter }] })
  const read = (headers = {}) =>
    node.get(`/v1/stream/${channel}?offset=-1`, { authorization: `Bearer ${token}`, ...headers })
  const ask = { 'if-none-match': String((await read()).headers.etag) }
  t.equal((await read(ask)).status, 304)
  await erase(channel, ids[0])
  t.equal((await read(ask)).status, 200)
})
