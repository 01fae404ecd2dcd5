// Centrifugo's protocol, beyond the tests of its client (`npm run conformance -- centrifuge`): that client with rules and
// tokens, other wires on the same channels, and the server API. For invalid input, see centrifuge-input.test.ts.

import { once } from 'node:events'
import { Centrifuge, type Options, type Subscription } from 'centrifuge'
import { Centrifuge as InProtobuf } from 'centrifuge/build/protobuf'
import { EventSource } from 'eventsource-3'
import t from 'tap'
import { WebSocket } from 'ws'
import { presenceOf } from '../../../services/broker/event/names.ts'
import { Channel } from '../../../services/broker/fanout/channel.ts'
import { LogUnavailable } from '../../../services/broker/log/log.ts'
import { type Node, startMemoryNode } from '../../contract/node.ts'
import { type RawReply, rawClient } from '../../support/centrifuge.ts'
import { ClosedWorld } from '../../support/closed-node.ts'
import { signToken, userClaims } from '../../support/tokens.ts'
import { until, WAIT_LIMIT_MS } from '../../support/until.ts'
import { Raw } from '../http/app.ts'

/** The build for Protobuf declares the same types again. */
const ProtobufCentrifuge = InProtobuf as unknown as typeof Centrifuge

const world = new ClosedWorld()
const node = await startMemoryNode({ CENTRIFUGE: '1' })
const closed = await startMemoryNode({ ...world.settings, PRESENCE_GRACE: '50ms' })
const without = await startMemoryNode()
t.teardown(() => Promise.all([node.close(), closed.close(), without.close()]))

const clients: Centrifuge[] = []
t.afterEach(() => {
  for (const client of clients.splice(0)) client.disconnect()
})

type Transport = 'websocket' | 'http_stream' | 'sse'

function client(
  options: Partial<Options> = {},
  of: Node = closed,
  transport: Transport = 'websocket',
  Client = Centrifuge,
) {
  const base = `http://127.0.0.1:${of.port}`
  const endpoint = `${transport === 'websocket' ? base.replace('http', 'ws') : base}/connection/${transport}`
  const made = new Client([{ transport, endpoint }], {
    websocket: WebSocket,
    eventsource: EventSource,
    fetch,
    readableStream: ReadableStream,
    emulationEndpoint: `${base}/emulation`,
    minReconnectDelay: 10,
    maxReconnectDelay: 50,
    ...options,
  })
  clients.push(made)
  return made
}

async function connected(
  options: Partial<Options> = {},
  of = closed,
  transport: Transport = 'websocket',
  Client = Centrifuge,
) {
  const made = client(options, of, transport, Client)
  made.connect()
  await made.ready(WAIT_LIMIT_MS)
  return made
}

/** Subscribes, and records the publications. */
async function follow(to: Centrifuge, channel: string, options = {}) {
  const sub = to.newSubscription(channel, { minResubscribeDelay: 10, maxResubscribeDelay: 50, ...options })
  const read: unknown[] = []
  sub.on('publication', ({ data }) => void read.push(data))
  sub.subscribe()
  await sub.ready(WAIT_LIMIT_MS)
  return { sub, read }
}

const nextEvent = (of: Centrifuge | Subscription, event: string) =>
  new Promise<{ code: number; reason: string; [name: string]: unknown }>(resolve => {
    ;(of as Subscription).once(event as 'subscribed', context => resolve(context as never))
  })

const tokenOf = (claims: Record<string, unknown> = {}) => world.token(claims)
const subscriptionToken = (channel: string, claims = {}) =>
  signToken(world.hs, userClaims('ann', { channel, allow: ['sub', 'pub', 'hst'], ...claims }))
const soon = (seconds: number) => Math.floor(Date.now() / 1000) + seconds

async function api(method: string, params: unknown, key = world.keys.all.key) {
  const answer = await fetch(`http://127.0.0.1:${closed.port}/api/${method}`, {
    method: 'POST',
    ...(key === '' ? {} : { headers: { 'x-api-key': key } }),
    body: typeof params === 'string' ? params : JSON.stringify(params),
  })
  return {
    status: answer.status,
    ...((await answer.json()) as { result?: never; error?: { code: unknown } }),
  }
}

t.test('without the setting its paths do not exist', async t => {
  for (const path of ['/connection/websocket', '/connection/sse', '/api/info'])
    t.equal((await without.get(path)).status, 404)
})

// Authentication ----------------------------------------------------------------------------------------------

t.test('a token names the user, and rules decide on rights', async t => {
  const made = await connected({ token: tokenOf() })
  await follow(made, 'room:1')
  const refused = made.newSubscription('inbox:bob')
  refused.subscribe()
  const { code, reason } = await nextEvent(refused, 'unsubscribed')
  t.equal(code, 103)
  t.match(reason, /^FW_FORBIDDEN/)
  await t.rejects(made.publish('inbox:bob', 1), { code: 103 })
})

t.test('an invalid token ends the client for good; an expired one is replaced', async t => {
  const wrong = client({ token: `${tokenOf()}x` })
  wrong.connect()
  t.equal((await nextEvent(wrong, 'disconnected')).code, 3500)

  let asked = 0
  const expired = client({
    token: tokenOf({ exp: soon(-60) }),
    getToken: async () => {
      asked++
      return tokenOf()
    },
  })
  expired.connect()
  await expired.ready(WAIT_LIMIT_MS)
  t.equal(asked, 1)
})

t.test('the tokens of a connection and of a subscription are refreshed before they expire', async t => {
  let connections = 0
  let subscriptions = 0
  const made = await connected({
    token: tokenOf({ exp: soon(1) }),
    getToken: async () => {
      connections++
      return tokenOf({ exp: soon(3600) })
    },
  })
  await follow(made, 'other:1', {
    token: subscriptionToken('other:1', { exp: soon(1) }),
    getToken: async () => {
      subscriptions++
      return subscriptionToken('other:1', { exp: soon(3600) })
    },
  })
  await until('both are requested', () => connections === 1 && subscriptions === 1)
  t.equal(made.state, 'connected')
})

t.test('a subscription token opens its channel and no other', async t => {
  const made = await connected({ token: tokenOf({ caps: [] }) })
  const { sub } = await follow(made, 'room:2', { token: subscriptionToken('room:2') })
  await sub.publish({ n: 1 })
  const other = made.newSubscription('room:3', { token: subscriptionToken('room:2') })
  other.subscribe()
  t.equal((await nextEvent(other, 'unsubscribed')).code, 103)
})

t.test('claims subscribe a client to channels, and these subscriptions recover too', async t => {
  const token = tokenOf({ channels: ['news:a'], subs: { 'news:b': {} } })
  const made = client({ token })
  const read: unknown[] = []
  const subscribed: [string, boolean][] = []
  made.on('publication', ({ channel, data }) => void read.push([channel, data]))
  made.on('subscribed', ({ channel, recovered }) => void subscribed.push([channel, recovered]))
  made.connect()
  await made.ready(WAIT_LIMIT_MS)
  t.strictSame(subscribed.splice(0), [
    ['news:a', false],
    ['news:b', false],
  ])
  await api('broadcast', { channels: ['news:a', 'news:b'], data: 1 })
  await until('both are there', () => read.length === 2)
  made.disconnect()
  await api('publish', { channel: 'news:b', data: 2 })
  made.connect()
  await until('the missed events arrive', () => read.length === 3)
  t.strictSame(read[2], ['news:b', 2])
  t.strictSame(subscribed, [
    ['news:a', true],
    ['news:b', true],
  ])
  const other = await fetch(`http://127.0.0.1:${closed.port}/v1/poll?channel=news:a`, {
    headers: { authorization: `Bearer ${token}` },
  })
  t.equal(other.status, 401, 'other wires reject such a claim')
})

t.test('rules and the API revoke a channel or a connection', async t => {
  const made = await connected({ token: tokenOf() })
  const { sub } = await follow(made, 'room:taken')
  const unsubscribed = nextEvent(sub, 'unsubscribed')
  t.same((await api('unsubscribe', { user: 'ann', channel: 'room:taken' })).result, {})
  t.equal((await unsubscribed).code, 2000)
  t.equal(made.state, 'connected', 'the connection stays without channels')
  const connecting = nextEvent(made, 'connecting')
  await api('disconnect', { user: 'ann' })
  t.equal((await connecting).code, 3011)
  await made.ready(WAIT_LIMIT_MS)
})

// Recovery ----------------------------------------------------------------------------------------------------

for (const transport of ['websocket', 'http_stream', 'sse'] as const) {
  t.test(`recovery after the connection breaks: ${transport}`, async t => {
    const channel = `news-${transport}`
    const made = await connected({}, node, transport)
    const { sub, read } = await follow(made, channel)
    await sub.publish({ n: 1 })
    await until('the first', () => read.length === 1)
    const again = nextEvent(sub, 'subscribed')
    for (const socket of node.app.sockets) socket.destroy()
    await node.publish(channel, '{"n":2}')
    await node.publish(channel, '{"n":3}')
    t.match(await again, { wasRecovering: true, recovered: true })
    await until('the missed events arrive', () => read.length === 3)
    t.strictSame(read, [{ n: 1 }, { n: 2 }, { n: 3 }])
  })
}

t.test('a gap is not recovered: at the start, and while the client reads', async t => {
  const made = await connected({}, node)
  const { sub, read } = await follow(made, 'gaps')
  await sub.publish(1)
  await until('the first', () => read.length === 1)
  const again = nextEvent(sub, 'subscribed')
  const subscribing = nextEvent(sub, 'subscribing')
  await node.log.clear('gaps')
  t.match(await subscribing, { code: 2500, reason: 'insufficient state' })
  t.match(await again, { wasRecovering: true, recovered: false })
  await sub.publish(2)
  await until('it continues', () => read.length === 2)

  const stranger = made.newSubscription('gaps2', { since: { epoch: 'AbCd', offset: 7 } })
  stranger.subscribe()
  t.match(await nextEvent(stranger, 'subscribed'), { wasRecovering: true, recovered: false })
})

t.test('a gap in a channel to which the server subscribed a client ends the connection', async t => {
  const channel = 'news:gap'
  const made = client({ token: tokenOf({ channels: [channel] }) })
  const read: unknown[] = []
  made.on('publication', ({ data }) => void read.push(data))
  made.connect()
  await made.ready(WAIT_LIMIT_MS)
  await api('publish', { channel, data: 1 })
  await until('the first', () => read.length === 1)
  const connecting = nextEvent(made, 'connecting')
  const subscribed = nextEvent(made, 'subscribed')
  await closed.log.clear(channel)
  t.match(await connecting, { code: 3010, reason: 'insufficient state' })
  t.match(await subscribed, { channel, wasRecovering: true, recovered: false })
  await api('publish', { channel, data: 2 })
  await until('it continues', () => read.length === 2)

  const socket = new WebSocket(`ws://127.0.0.1:${node.port}/connection/uni_websocket`)
  const pushes: string[] = []
  socket.on('message', frame => void pushes.push(String(frame)))
  const end = once(socket, 'close')
  await once(socket, 'open')
  socket.send(JSON.stringify({ subs: { 'gaps-one-way': {} } }))
  await until('it is connected', () => pushes.length === 1)
  await node.append('gaps-one-way', '1')
  await until('the first', () => pushes.length === 2)
  await Promise.all([node.log.clear('gaps-one-way'), node.append('gaps-one-way', '2')])
  const [code, reason] = await end
  t.strictSame([code, String(reason)], [3010, 'insufficient state'])
  t.equal(pushes.length, 2, 'nothing that follows the gap')
})

t.test('history is read forwards, backwards, and from a position', async t => {
  const made = await connected({}, node)
  const { sub } = await follow(made, 'pages')
  for (let n = 1; n <= 5; n++) await node.publish('pages', String(n))
  const data = async (options: object) => (await sub.history(options)).publications.map(({ data }) => data)
  t.strictSame(await data({ limit: 2 }), [1, 2])
  t.strictSame(await data({ limit: 2, reverse: true }), [5, 4])
  t.strictSame(await data({ limit: 0 }), [])
  const { epoch, offset } = await sub.history({ limit: 0 })
  t.equal(offset, 5)
  t.strictSame(await data({ limit: -1, since: { epoch, offset: 3 } }), [4, 5])
  t.strictSame(await data({ limit: -1, since: { epoch, offset: 3 }, reverse: true }), [2, 1])
  await t.rejects(data({ limit: 1, since: { epoch: 'zzz', offset: 3 } }), { code: 112 })
})

// Members -----------------------------------------------------------------------------------------------------

t.test('presence lists the members, and subscribers are notified of joins and leaves', async t => {
  const watcher = await connected({ token: tokenOf({ sub: 'eve' }) })
  const { sub } = await follow(watcher, 'room:p', { joinLeave: true })
  t.match(await sub.presenceStats(), { numClients: 1, numUsers: 1 }, 'a subscriber is a member at once')
  const received: string[] = []
  sub.on('join', ({ info }) => void received.push(`join ${info.user}`))
  sub.on('leave', ({ info }) => void received.push(`leave ${info.user}`))
  const ann = await connected({ token: tokenOf({ info: { name: 'Ann' } }) })
  await follow(ann, 'room:p')
  await until('she has joined', () => received.includes('join ann'))
  t.match(await sub.presence(), { clients: { ann: { user: 'ann', connInfo: { name: 'Ann' } } } })
  t.match(await sub.presenceStats(), { numClients: 2, numUsers: 2 })
  ann.disconnect()
  await until('she has left', () => received.includes('leave ann'))
  await t.rejects(watcher.presence('open:1'), { code: 103 })
})

t.test('a subscribe with joins and leaves is answered once, and holds nothing if it fails', async t => {
  const limited = await startMemoryNode({ ...world.settings, USER_SUBSCRIPTIONS: '1' })
  t.teardown(() => limited.close())
  const channel = 'room:p'
  const raw = await rawClient(limited, { token: tokenOf() })
  const { ask } = raw
  const settled: Channel[] = []
  const { settle } = Channel.prototype
  let fails = true
  t.intercept(Channel.prototype, 'settle', {
    value(this: Channel, start: 'latest') {
      if (this.name !== presenceOf(channel)) return settle.call(this, start)
      settled.push(this)
      if (fails) throw new LogUnavailable('the log is away')
      return settle.call(this, start)
    },
  })
  const subscribe = { channel, join_leave: true }
  t.match(await ask(JSON.stringify({ id: 2, subscribe })), { error: { code: 100 } })
  fails = false
  t.match(await ask(JSON.stringify({ id: 3, subscribe })), { error: { code: 111 } })
  t.match(await ask(JSON.stringify({ id: 4, subscribe: { channel } })), { id: 4, subscribe: {} })
  const ids = raw.lines.map(line => (JSON.parse(line) as RawReply).id)
  t.strictSame(ids, [1, 2, 3, 4])
  t.strictSame(
    settled.map(({ holds }) => holds),
    [0, 0],
  )
})

t.test('connects that fail hold nothing, and count once while the client is connected', async t => {
  const limited = await startMemoryNode({ ...world.settings, ADDRESS_CONNECTIONS: '2' })
  t.teardown(() => limited.close())
  const { clients, limits } = limited.app.fanwire
  const token = tokenOf({ channels: ['news:a'] })
  const lost = { recover: true, epoch: 'gone', offset: 1, flag: 2 }
  const connect = { token, subs: { 'news:a': lost } }
  const { ask, socket } = await rawClient(limited, connect)
  for (let id = 2; id <= 5; id++) {
    t.match(await ask(JSON.stringify({ id, connect })), { error: { code: 112 } })
    t.strictSame([limits.holds.size, clients.size], [0, 0])
  }
  t.match(await ask(JSON.stringify({ id: 6, connect: { token } })), { connect: { client: String } })
  t.strictSame([limits.holds.size, clients.size], [1, 1])
  socket.close()
  await until('nothing is held', () => limits.holds.size + clients.size === 0)
})

t.test('an EventSource beyond a limit of connections is told when to reconnect', async t => {
  const limited = await startMemoryNode({ CENTRIFUGE: '1', ADDRESS_CONNECTIONS: '1' })
  t.teardown(() => limited.close())
  const ask = (path: string) =>
    new Raw(limited.port).send(
      `GET ${path}?cf_connect=${encodeURIComponent('{"subs":{"a":{}}}')} HTTP/1.1\r\nHost: x\r\n\r\n`,
    )
  const first = ask('/connection/uni_sse')
  await first.until(/"connect"/)
  for (const path of ['/connection/uni_sse', '/connection/sse']) {
    const refused = ask(path)
    await refused.ended
    t.match(refused.text, /^HTTP\/1.1 200 .*retry: \d+\n: FW_TOO_MANY_REQUESTS: /s, path)
  }
  first.close()
})

t.test('a client that leaves before its channels are open neither reads them nor is a member', async t => {
  const channel = 'room:late'
  const { log, hub } = closed
  const follow = log.follow.bind(log)
  let release: (() => void) | undefined
  const followed = new Promise<void>(resolve => {
    log.follow = async (...given) => {
      await new Promise<void>(go => (release = go))
      return follow(...given).finally(resolve)
    }
  })
  t.teardown(() => {
    log.follow = follow
  })
  const socket = new WebSocket(`ws://127.0.0.1:${closed.port}/connection/websocket`)
  await once(socket, 'open')
  socket.send(JSON.stringify({ id: 1, connect: { token: tokenOf({ channels: [channel] }) } }))
  await until('its channel is being opened', () => release !== undefined)
  const before = [...hub.connections].length
  socket.terminate()
  await until('the node knows', () => [...hub.connections].length === before - 1)
  release?.()
  await followed
  t.match(await api('presence_stats', { channel }), { result: { num_clients: 0, num_users: 0 } })
  t.equal(hub.stats().readers, 0)
})

// One log -----------------------------------------------------------------------------------------------------

t.test('an event of any wire can be read on any other, its data unchanged', async t => {
  const channel = 'one-log'
  const data = '{"big":12345678901234567890,"text":"ü \\u0000"}'
  const base = `127.0.0.1:${node.port}`
  const socket = new WebSocket(`ws://${base}/v1/ws?channel=${channel}`)
  const frames: string[] = []
  socket.on('message', frame => void frames.push(String(frame)))
  await until('it is open', () => frames.length === 1)
  const raw = await rawClient(node)
  await raw.ask('{"id":2,"subscribe":{"channel":"one-log"}}')
  await raw.ask(`{"id":3,"publish":{"channel":"one-log","data":${data}}}`)
  await node.publish(channel, data, undefined, '?type=note&tag.lang=ko')
  await until('both on ws', () => frames.length === 3)
  for (const frame of frames.slice(1)) t.ok(frame.endsWith(`"data":${data}}`))
  const pushes = () => raw.lines.filter(line => line.includes('"pub"'))
  await until('both here', () => pushes().length === 2)
  for (const push of pushes())
    t.ok(push.startsWith(`{"push":{"channel":"one-log","pub":{"data":${data},"offset":`))
  t.match(JSON.parse(pushes()[1] ?? ''), { push: { pub: { tags: { lang: 'ko', 'fanwire:type': 'note' } } } })
  t.equal(
    (await node.get(`/v1/poll?channel=${channel}`)).body.split(data).length,
    3,
    'the poll returns both events',
  )
  socket.terminate()
})

t.test('readers of one channel share the bytes of an event', async t => {
  const readers = await Promise.all([rawClient(node), rawClient(node)])
  for (const reader of readers) await reader.ask('{"id":2,"subscribe":{"channel":"shared"}}')
  const before = node.hub.stats().wires.centrifuge?.deliveries ?? 0
  await node.append('shared', '1', '2', '3')
  await until('all are there', () => readers.every(({ messages }) => messages.at(-1)?.includes('"data":3')))
  t.equal(readers[0]?.messages.at(-1), readers[1]?.messages.at(-1), 'one message for the stretch')
  t.equal((node.hub.stats().wires.centrifuge?.deliveries ?? 0) - before, 6)
})

t.test('a filter on tags applies (tagsFilter in centrifuge-js)', async t => {
  const made = await connected({}, node)
  const { read } = await follow(made, 'filtered', { tagsFilter: { key: 'lang', cmp: 'eq', val: 'ko' } })
  await node.publish('filtered', '1', undefined, '?tag.lang=en')
  await node.publish('filtered', '2', undefined, '?tag.lang=ko')
  await until('the second', () => read.length === 1)
  t.strictSame(read, [2])
})

// Protobuf ----------------------------------------------------------------------------------------------------

for (const transport of ['websocket', 'http_stream'] as const) {
  t.test(`Protobuf: publications, history and recovery over ${transport}`, async t => {
    const channel = `proto-${transport}`
    const json = await connected({}, node)
    const { read } = await follow(json, channel)
    const made = await connected({}, node, transport, ProtobufCentrifuge)
    const texts: string[] = []
    const sub = made.newSubscription(channel)
    sub.on('publication', ({ data }) => void texts.push(Buffer.from(data).toString('latin1')))
    sub.subscribe()
    await sub.ready(WAIT_LIMIT_MS)
    await sub.publish(Buffer.from('{"n": 1}'))
    await sub.publish(Buffer.from([0, 255, 1]))
    await node.publish(channel, '"ü"', undefined, '?tag.lang=ko')
    await until('all are there', () => texts.length === 3 && read.length === 3)
    t.strictSame(texts, ['{"n": 1}', '\x00\xff\x01', Buffer.from('"ü"').toString('latin1')])
    t.strictSame(read, [{ n: 1 }, 'AP8B', 'ü'])
    const { publications, offset } = await sub.history({ limit: 10, reverse: true })
    t.match(publications, [{ offset: 3, tags: { lang: 'ko' } }, { offset: 2 }, { offset: 1 }])
    t.equal(offset, 3)
    t.strictSame(Buffer.from(publications[1]?.data), Buffer.from([0, 255, 1]))
    await t.rejects(made.rpc('x', Buffer.from('1')), { code: 108 })
    const again = nextEvent(sub, 'subscribed')
    for (const socket of node.app.sockets) socket.destroy()
    await node.publish(channel, '4')
    t.match(await again, { wasRecovering: true, recovered: true })
    await until('the missed events arrive', () => texts.length === 4)
  })
}

t.test('Protobuf: tokens, server-side subscriptions and presence work', async t => {
  const made = await connected(
    { token: tokenOf({ subs: { 'room:q': {} } }) },
    closed,
    'websocket',
    ProtobufCentrifuge,
  )
  const read: string[] = []
  made.on('publication', ({ channel, data }) => void read.push(`${channel} ${Buffer.from(data).toString()}`))
  await api('publish', { channel: 'room:q', data: { n: 1 } })
  await until('it is there', () => read.length === 1)
  t.strictSame(read, ['room:q {"n":1}'])
  const { clients } = await made.presence('room:q')
  t.strictSame(Object.keys(clients), ['ann'])
  await t.rejects(made.publish('inbox:bob', Buffer.from('1')), { code: 103 })
})

// Unidirectional ----------------------------------------------------------------------------------------------

t.test('unidirectional: the subscriptions are sent with the connection', async t => {
  const [first = ''] = await node.append('uni', '1', '2')
  const [epoch] = first.split('-')
  const subs = { uni: { recover: true, epoch, offset: 1 } }
  const source = new EventSource(
    `http://127.0.0.1:${node.port}/connection/uni_sse?cf_connect=${encodeURIComponent(JSON.stringify({ subs }))}`,
  )
  const pushes: { connect?: unknown; pub?: unknown }[] = []
  source.addEventListener('message', ({ data }) => void pushes.push(JSON.parse(data)))
  const socket = new WebSocket(`ws://127.0.0.1:${node.port}/connection/uni_websocket`)
  socket.on('message', frame => void pushes.push(JSON.parse(String(frame))))
  await once(socket, 'open')
  socket.send(JSON.stringify({ subs }))
  await until('both are notified', () => pushes.length === 4)
  t.match(
    pushes.filter(({ connect }) => connect),
    [
      { connect: { subs: { uni: { recovered: true, offset: 1 } } } },
      { connect: { subs: { uni: { recovered: true, offset: 1 } } } },
    ],
  )
  t.same(
    pushes.filter(({ pub }) => pub),
    [
      { channel: 'uni', pub: { data: 2, offset: 2 } },
      { channel: 'uni', pub: { data: 2, offset: 2 } },
    ],
  )
  source.close()
  socket.terminate()
})

// The server API ----------------------------------------------------------------------------------------------

t.test('the server API publishes, reads history and presence, and checks keys', async t => {
  t.equal((await api('publish', { channel: 'room:api', data: 1 }, '')).status, 401)
  t.equal((await api('publish', { channel: 'room:api', data: 1 }, 'nonsense')).status, 401)
  t.match(await api('publish', { channel: 'room:api', data: 1 }, world.keys.readers.key), {
    error: { code: 103 },
  })
  const first = await api('publish', {
    channel: 'room:api',
    data: 1,
    idempotency_key: 'a',
    tags: { lang: 'ko' },
  })
  t.match(first, { status: 200, result: { offset: 1 } })
  t.same(await api('publish', { channel: 'room:api', data: 1, idempotency_key: 'a' }), first)
  t.match(await api('publish', { channel: 'room:api', b64data: 'eyJuIjoyfQ==' }), { result: { offset: 2 } })
  const history = await api('history', { channel: 'room:api', limit: 10 })
  t.match(history, {
    result: { offset: 2, publications: [{ data: 1, tags: { lang: 'ko' } }, { data: { n: 2 } }] },
  })
  t.match(await api('broadcast', { channels: ['room:api', '\n'], data: 3 }), {
    result: { responses: [{ result: { offset: 3 } }, { error: { code: 102 } }] },
  })
  t.match(await api('batch', { commands: [{ publish: { channel: 'room:api', data: 4 } }, { rpc: {} }] }), {
    result: { replies: [{ publish: { offset: 4 } }, { error: { code: 108 } }] },
  })
  t.match(await api('presence_stats', { channel: 'room:api' }), { result: { num_clients: 0, num_users: 0 } })
  t.match(await api('presence', { channel: 'room:api' }), { result: { presence: {} } })
  t.match(await api('history_remove', { channel: 'room:api' }), { result: {} })
  t.match(await api('history', { channel: 'room:api', limit: 10 }), { result: { publications: [] } })
  await follow(await connected({ token: tokenOf() }), 'room:api')
  t.same((await api('channels', { pattern: '*' })).result, { channels: { 'room:api': { num_clients: 1 } } })
  for (const more of [{ client: 'c' }, { session: 's' }])
    t.match(await api('unsubscribe', { user: 'ann', channel: 'room:api', ...more }), { error: { code: 108 } })
  for (const more of [{ session: 's' }, { whitelist: ['c'] }, { disconnect: { code: 4500, reason: 'x' } }])
    t.match(await api('disconnect', { user: 'ann', ...more }), { error: { code: 108 } })
  t.ok('nodes' in ((await api('info', {})).result ?? {}))
  for (const method of ['subscribe', 'refresh', 'rpc'])
    t.match(await api(method, {}), { error: { code: 108 } })
  t.match(await api('publish', '{"channel":'), { error: { code: 107 } })
  t.match(await api('nonsense', {}), { error: { code: 104 } })
})

// Connections ----------------------------------------------------------------------------------------------------

t.test(
  'all commands of one message are answered, including those sent before the client is connected',
  async t => {
    const messages: string[] = []
    const raw = new WebSocket(`ws://127.0.0.1:${node.port}/connection/websocket`)
    raw.on('message', message => void messages.push(String(message)))
    await once(raw, 'open')
    raw.send('{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"batch"}}\n{"id":3,"ping":{}}')
    const ids = () => messages.flatMap(message => message.split('\n')).map(line => JSON.parse(line).id)
    await until('all are answered', () => ids().length === 3)
    t.equal(ids()[0], 1)
    raw.terminate()
  },
)

t.test('a stopping node sends a goodbye, and clients reconnect', async t => {
  const stopping = await startMemoryNode({ CENTRIFUGE: '1' })
  const made = await connected({}, stopping)
  const connecting = nextEvent(made, 'connecting')
  await stopping.hub.connections.drain(0)
  t.match(await connecting, { code: 3001 })
  made.disconnect()
  await stopping.close()
})

t.test('a client that does not answer pings is cut', async t => {
  const strict = await startMemoryNode({ CENTRIFUGE: '1', HEARTBEAT: '1s' }, { heartbeatAnswer: 50 })
  const { messages, end } = await rawClient(strict)
  t.match(JSON.parse(messages[0] ?? ''), { connect: { ping: 1, pong: true } })
  await end
  t.equal(messages.at(-1), '{}')
  await strict.close()
})
