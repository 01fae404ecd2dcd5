// Limits of addresses, users, keys and connections, on real nodes and each wire. Rates are so low that no token is
// refilled while a test runs.

import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { type IncomingMessage, request } from 'node:http'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { io } from 'socket.io-client'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { type Node, type Settings, startMemoryNode } from '../../contract/node.ts'
import { ClosedWorld } from '../../support/closed-node.ts'
import { until } from '../../support/until.ts'
import { Gate } from '../broker/fanout/scripted-log.ts'
import { jwks, signToken, testKey, userClaims } from '../../support/tokens.ts'

interface Asked {
  readonly method?: string
  readonly headers?: Record<string, string>
  readonly body?: string
  /** The client's own address. */
  readonly from?: string
}

function begin(node: Node, path: string, { method = 'GET', headers = {}, body, from }: Asked = {}) {
  const asked = request({
    port: node.port,
    host: '127.0.0.1',
    localAddress: from,
    method,
    path,
    headers,
    agent: false,
  })
  asked.on('error', () => {})
  asked.end(body)
  return asked
}

/** Sends a request. Returns its response, whose body may never end. */
async function open(node: Node, path: string, of?: Asked): Promise<IncomingMessage> {
  const [answer] = await once(begin(node, path, of), 'response')
  answer.on('error', () => {})
  return answer
}

async function ask(node: Node, path: string, of?: Asked) {
  const answer = await open(node, path, of)
  let body = ''
  try {
    for await (const piece of answer) body += piece
  } catch {
    // A rejected event stream breaks off.
  }
  return { status: answer.statusCode, headers: answer.headers, body }
}

const json = { 'content-type': 'application/json' }
const publish = (node: Node, channel: string, { headers = {}, ...of }: Asked = {}) =>
  ask(node, `/v1/channels/${channel}/events`, {
    method: 'POST',
    body: '1',
    ...of,
    headers: { ...json, ...headers },
  })

const key = testKey('HS256')
const bearer = (token: string) => ({ authorization: `Bearer ${token}` })
const userToken = (user: string) =>
  bearer(signToken(key, userClaims(user, { caps: [{ channels: ['*'], allow: ['sub', 'pub', 'hst'] }] })))

async function start(t: Test, settings: Settings, rules?: string): Promise<Node> {
  const files: Record<string, string> = { JWT_KEYS_FILE: join(t.testdir({}), 'jwks.json') }
  writeFileSync(files.JWT_KEYS_FILE as string, jwks(key))
  if (rules !== undefined) {
    files.RULES = join(t.testdirName, 'rules.yaml')
    writeFileSync(files.RULES, rules)
  }
  const node = await startMemoryNode({ SOCKET_IO: '1', ...files, ...settings })
  t.teardown(() => node.close())
  return node
}

/** Opens a WebSocket, and collects its answers in order. */
async function connectWs(t: Test, node: Node, headers: Record<string, string> = {}, from?: string) {
  const socket = new WebSocket(`ws://127.0.0.1:${node.port}/v1/ws`, { headers, localAddress: from })
  t.teardown(() => socket.terminate())
  // The node's first message is no answer.
  await once(socket, 'message')
  return {
    socket,
    async say(command: object) {
      const answered = once(socket, 'message')
      socket.send(JSON.stringify(command))
      return JSON.parse(String((await answered)[0]))
    },
  }
}

function limitedBy(t: Test, node: Node, expected: Record<string, number>): void {
  const hits = [...node.app.fanwire.limits.hits].map(({ limit, scope, count }) => [
    `${limit} ${scope}`,
    count,
  ])
  t.strictSame(Object.fromEntries(hits), expected)
}

t.test('without a limit nothing is counted or stored', async t => {
  const node = await start(t, {})
  for (let i = 0; i < 50; i++) t.equal((await publish(node, 'a')).status, 201)
  const { limits } = node.app.fanwire
  t.equal(limits.size, 0)
  t.equal(limits.holds.take({ address: 'a' }), undefined)
})

t.test("requests per key: Centrifugo's server API counts the key of X-API-Key", async t => {
  const world = new ClosedWorld()
  const node = await start(t, { ...world.settings, KEY_REQUESTS: '1/h:1' })
  const call = () =>
    ask(node, '/api/publish', {
      method: 'POST',
      headers: { 'x-api-key': world.keys.all.key },
      body: '{"channel":"room:1","data":1}',
    })
  t.match([(await call()).status, (await call()).status], [200, 429])
  limitedBy(t, node, { 'requests key': 1 })
})

t.test('requests per address: 429 with Retry-After; health and other addresses are answered', async t => {
  const node = await start(t, { ADDRESS_REQUESTS: '1/h:3' })
  const poll = '/v1/poll?channel=a'
  for (let i = 0; i < 3; i++) t.equal((await ask(node, poll)).status, 200)
  const refused = await ask(node, poll)
  t.equal(refused.status, 429)
  const { error } = JSON.parse(refused.body)
  t.equal(error.code, 'FW_TOO_MANY_REQUESTS')
  t.equal(refused.headers['retry-after'], String(Math.ceil(error.retry / 1000)))
  t.ok(error.retry > 3_000_000 && error.retry <= 3_600_000, `${error.retry}`)
  for (const path of ['/healthz', '/readyz', '/metrics']) t.equal((await ask(node, path)).status, 200, path)
  for (const path of ['/v1/long-poll', '/v1/stream', '/v1/push', '/v1/refresh'])
    t.equal((await ask(node, `${path}?channel=a`)).status, 429, path)
  t.equal((await ask(node, '/v1/nothing')).status, 429, 'unknown paths count, too')
  t.equal(
    (await ask(node, poll, { headers: bearer('not.a.token') })).status,
    429,
    'before a token is verified',
  )
  t.equal((await ask(node, poll, { from: '127.0.0.2' })).status, 200, 'another address')

  const sse = await ask(node, '/v1/sse?channel=a')
  t.equal(sse.status, 200)
  const [, retry] = /^retry: (\d+)\n: FW_TOO_MANY_REQUESTS/.exec(sse.body) ?? []
  t.ok(Number(retry) > 3_000_000, sse.body)

  const socket = new WebSocket(`ws://127.0.0.1:${node.port}/v1/ws`)
  const [, answer] = await once(socket, 'unexpected-response')
  t.equal(answer.statusCode, 429)
  answer.destroy()
  const socketIo = await ask(node, '/socket.io/?EIO=4&transport=polling')
  t.equal(socketIo.status, 429)
  limitedBy(t, node, { 'requests address': 10 })
  const metrics = (await ask(node, '/metrics')).body
  t.match(metrics, /^fanwire_limited_total\{limit="requests",scope="address"\} 10$/m)
  t.notMatch(metrics, /127\.0\.0/)
})

t.test('publishes per address, on every publish path', async t => {
  const node = await start(t, { ADDRESS_PUBLISHES: '1/h:4' })
  t.equal((await publish(node, 'a')).status, 201)
  const { say } = await connectWs(t, node)
  t.match(await say({ ref: 1, publish: { channel: 'a', data: 1 } }), { ref: 1, ok: { channel: 'a' } })
  const events = [
    { channel: 'a', data: 1 },
    { channel: 'a', data: 2 },
    { channel: 'b', data: 3 },
    { channel: 'b', data: 4 },
    { channel: 'a', data: 5 },
  ]
  const bulk = await ask(node, '/v1/events', {
    method: 'POST',
    headers: json,
    body: JSON.stringify({ events }),
  })
  t.equal(bulk.status, 200)
  t.match(JSON.parse(bulk.body).results, [
    { channel: 'a', id: /./ },
    { channel: 'a', id: /./ },
    { index: 2, error: { code: 'FW_TOO_MANY_REQUESTS', retry: Number } },
    // It is not appended, because it could precede the rejected event, which the client retries.
    { index: 3, error: { code: 'FW_NOT_TRIED' } },
    { index: 4, error: { code: 'FW_TOO_MANY_REQUESTS', retry: Number } },
  ])
  t.equal((await publish(node, 'a')).status, 429)
  const answer = await say({ ref: 2, publish: { channel: 'a', data: 1 } })
  t.match(answer, { ref: 2, error: { code: 'FW_TOO_MANY_REQUESTS', retry: Number } })
  t.match(await say({ ref: 3, ping: true }), { ref: 3, ok: {} }, 'the connection continues')
  const lines = await ask(node, '/v1/events', {
    method: 'POST',
    headers: { 'content-type': 'application/x-ndjson' },
    body: '{"channel":"c","data":1}\n',
  })
  t.equal(lines.status, 429)

  const client = io(`http://127.0.0.1:${node.port}`, { transports: ['websocket'], reconnection: false })
  t.teardown(() => client.close())
  const reply = await client.emitWithAck('publish', { channel: 'a', data: 1 })
  t.match(reply, { error: { code: 'FW_TOO_MANY_REQUESTS', retry: Number } })
  t.equal((await publish(node, 'a', { from: '127.0.0.2' })).status, 201)
  const { count } = JSON.parse((await ask(node, '/v1/channels/a')).body)
  t.equal(count, 5, 'no rejected event was appended')
})

t.test('a publish beyond its rate is rejected before its body is read', async t => {
  const node = await start(t, { ADDRESS_PUBLISHES: '1/h' })
  t.equal((await publish(node, 'a')).status, 201)
  const asked = request({
    port: node.port,
    host: '127.0.0.1',
    method: 'POST',
    path: '/v1/channels/a/events',
    headers: { ...json, 'content-length': '1000' },
    agent: false,
  })
  asked.on('error', () => {})
  asked.flushHeaders()
  const [answer] = (await once(asked, 'response')) as [IncomingMessage]
  t.equal(answer.statusCode, 429)
  t.ok(answer.headers['retry-after'])
  asked.destroy()
})

t.test('bytes: an event larger than the burst is accepted when nothing was used', async t => {
  const node = await start(t, { ADDRESS_BYTES: '1KiB/s:4KiB' })
  const large = { body: JSON.stringify('x'.repeat(100_000)) }
  t.equal((await publish(node, 'a', large)).status, 201)
  const refused = await publish(node, 'a')
  t.equal(refused.status, 429)
  t.match(JSON.parse(refused.body), { error: { message: /too much published from this address/ } })
  limitedBy(t, node, { 'bytes address': 1 })
})

t.test("a user's limits apply to all tokens of the user, and to nobody else", async t => {
  const node = await start(
    t,
    { USER_PUBLISHES: '1/h:2', USER_REQUESTS: '1/h:4', PUBLISH_KEY: 'sesame' },
    'default: { publish: token }',
  )
  for (let i = 0; i < 2; i++) t.equal((await publish(node, 'a', { headers: userToken('ada') })).status, 201)
  const refused = await publish(node, 'a', { headers: userToken('ada'), from: '127.0.0.2' })
  t.equal(refused.status, 429)
  t.match(refused.body, /too many publishes of this user/)
  t.notMatch(refused.body, /ada/)
  t.equal((await publish(node, 'a', { headers: userToken('bob') })).status, 201)
  for (let i = 0; i < 5; i++)
    t.equal((await publish(node, 'a', { headers: bearer('sesame') })).status, 201, 'a key')
  t.equal((await ask(node, '/v1/poll?channel=a', { headers: userToken('ada') })).status, 200)
  t.equal((await ask(node, '/v1/poll?channel=a', { headers: userToken('ada') })).status, 429)
  limitedBy(t, node, { 'publishes user': 1, 'requests user': 1 })
})

t.test('limits per key', async t => {
  const node = await start(t, { KEY_PUBLISHES: '1/h:1', PUBLISH_KEY: 'one,two' })
  t.equal((await publish(node, 'a', { headers: bearer('one') })).status, 201)
  t.equal((await publish(node, 'a', { headers: bearer('one') })).status, 429)
  t.equal((await publish(node, 'a', { headers: bearer('two') })).status, 201)
  limitedBy(t, node, { 'publishes key': 1 })
})

t.test('limits per connection', async t => {
  const node = await start(t, { CONNECTION_PUBLISHES: '1/h:1', CONNECTION_REQUESTS: '1/h:3' })
  const { say } = await connectWs(t, node)
  const entry = { publish: { channel: 'a', data: 1 } }
  t.match(await say({ ref: 1, ...entry }), { ok: {} })
  t.match(await say({ ref: 2, ...entry }), { error: { message: /too many publishes on this connection/ } })
  t.match(await say({ ref: 3, ping: true }), { ok: {} })
  t.match(await say({ ref: 4, ping: true }), {
    ref: 4,
    error: { code: 'FW_TOO_MANY_REQUESTS', retry: Number },
  })
  const other = await connectWs(t, node)
  t.match(await other.say({ ref: 1, ...entry }), { ok: {} })
})

t.test(
  "a rule's rate applies per user in that rule, per address for the anonymous, and not to keys",
  async t => {
    const node = await start(
      t,
      { PUBLISH_KEY: 'sesame' },
      `channels:
  - { match: "chat:*", publish: [anyone, token], subscribe: anyone, rate: { publish: 1/h, burst: 2 } }
  - { match: "slow:*", publish: anyone, subscribe: anyone, rate: { publish: 1/h } }
  - { match: "free:*", publish: anyone, subscribe: anyone }`,
    )
    const status = async (channel: string, of?: Asked) => (await publish(node, channel, of)).status
    const ada = { headers: userToken('ada') }
    t.strictSame(
      [await status('chat:1', ada), await status('chat:2', ada), await status('chat:1', ada)],
      [201, 201, 429],
    )
    t.equal(await status('slow:1', ada), 201, 'another rule')
    t.equal(await status('chat:1', { headers: userToken('bob') }), 201)
    t.strictSame([await status('chat:1'), await status('chat:1'), await status('chat:1')], [201, 201, 429])
    t.equal(await status('chat:1', { from: '127.0.0.2' }), 201)
    for (let i = 0; i < 5; i++) t.equal(await status('chat:1', { headers: bearer('sesame') }), 201)
    for (let i = 0; i < 5; i++) t.equal(await status('free:1', ada), 201)
    const { say } = await connectWs(t, node, userToken('ada'))
    t.match(await say({ publish: { channel: 'chat:9', data: 1 } }), { error: { message: /of this rule/ } })
    limitedBy(t, node, { 'publishes rule': 3 })
  },
)

t.test('connections per user are limited over HTTP, until one has left', async t => {
  for (const wire of ['sse', 'stream', 'push', 'long-poll']) {
    const node = await start(t, { USER_CONNECTIONS: '2' })
    const path = `/v1/${wire}?channel=a`
    const ada = { headers: userToken('ada') }
    const held = [begin(node, path, ada), begin(node, path, ada)]
    const holds = () => node.app.fanwire.limits.holds.of('user').get('ada')?.connections
    await until('two are held', () => holds() === 2)
    const refused = await ask(node, path, ada)
    if (wire === 'sse') t.match(refused.body, /retry: \d+\n: FW_TOO_MANY_REQUESTS/, wire)
    else t.equal(refused.status, 429, wire)
    const bob = begin(node, path, { headers: userToken('bob') })
    await until('another user is connected', () => node.app.fanwire.limits.holds.of('user').size === 2)
    held[0]?.destroy()
    await until('it has left', () => holds() === 1)
    const third = begin(node, path, ada)
    await until('there is room again', () => holds() === 2)
    for (const each of [...held, third, bob]) each.destroy()
    await until('nothing is kept', () => node.app.fanwire.limits.size === 0)
  }
})

t.test('connections per user are limited over WebSocket and Socket.IO', async t => {
  const node = await start(t, { USER_CONNECTIONS: '1' })
  const ada = userToken('ada')
  const { socket } = await connectWs(t, node, ada)
  const second = new WebSocket(`ws://127.0.0.1:${node.port}/v1/ws`, { headers: ada })
  const [, answer] = await once(second, 'unexpected-response')
  t.equal(answer.statusCode, 429)
  t.ok(Number(answer.headers['retry-after']) > 0)
  answer.destroy()

  const auth = { token: ada.authorization.replace('Bearer ', '') }
  const options = { transports: ['websocket'], reconnection: false, forceNew: true, auth }
  const refused = io(`http://127.0.0.1:${node.port}`, options)
  const error = await new Promise<Error & { data?: unknown }>(resolve =>
    refused.once('connect_error', resolve),
  )
  t.match(error.data, { code: 'FW_TOO_MANY_REQUESTS', retry: Number })
  refused.close()

  const anonymous = await connectWs(t, node)
  t.match(await anonymous.say({ ref: 1, auth }), { ref: 1, error: { code: 'FW_TOO_MANY_REQUESTS' } })
  socket.close()
  const { holds } = node.app.fanwire.limits
  await until('it has left', () => holds.size === 0)
  t.match(
    await anonymous.say({ ref: 2, auth }),
    { ref: 2, ok: { user: 'ada' } },
    'the connection becomes one of the user',
  )
  t.strictSame(holds.of('user').get('ada'), { connections: 1, subscriptions: 0 })
  anonymous.socket.close()
  await until('nothing is kept', () => holds.size === 0)
  const client = io(`http://127.0.0.1:${node.port}`, options)
  await new Promise<void>(resolve => client.once('connect', resolve))
  t.equal(holds.of('user').get('ada')?.connections, 1)
  client.close()
  await until('nothing is kept', () => holds.size === 0)
})

t.test('a client that leaves while its commands wait is not counted again', async t => {
  const node = await start(t, { USER_CONNECTIONS: '1', ADDRESS_CONNECTIONS: '1' })
  const { access, limits } = node.app.fanwire
  const gate = new Gate()
  const follow = node.log.follow.bind(node.log)
  node.log.follow = async (channel, follower) => {
    await gate.pass()
    return follow(channel, follower)
  }
  let verified = false
  const credentials = access.credentials.bind(access)
  access.credentials = async given => {
    verified = true
    return credentials(given)
  }
  const { socket } = await connectWs(t, node)
  socket.send(JSON.stringify({ subscribe: 'a' }))
  socket.send(JSON.stringify({ auth: { token: userToken('ada').authorization.replace('Bearer ', '') } }))
  await until('the subscription waits', () => gate.waiting === 1)
  socket.terminate()
  await until('it has left', () => limits.holds.size === 0)
  gate.open()
  await until('its token is verified', () => verified)
  await turn()
  t.equal(limits.holds.size, 0)
})

t.test('subscriptions per address, over all its connections', async t => {
  const node = await start(t, { ADDRESS_SUBSCRIPTIONS: '3' })
  const { holds } = node.app.fanwire.limits
  const held = begin(node, '/v1/stream?channel=a&channel=b')
  await until('two are held', () => holds.size === 1)
  const { say, socket } = await connectWs(t, node)
  t.match(await say({ ref: 1, subscribe: 'c' }), { ref: 1, ok: { channel: 'c' } })
  t.match(await say({ ref: 2, subscribe: 'd' }), {
    ref: 2,
    error: { code: 'FW_TOO_MANY_REQUESTS', retry: Number },
  })
  t.match(await say({ ref: 3, subscribe: 'c' }), { ref: 3, error: { code: 'FW_ALREADY_SUBSCRIBED' } })
  t.match(await say({ ref: 4, unsubscribe: 'c' }), { ref: 4, ok: { channel: 'c' } })
  t.match(await say({ ref: 5, subscribe: 'd' }), { ref: 5, ok: { channel: 'd' } })
  t.equal((await ask(node, '/v1/stream?channel=e')).status, 429)
  held.destroy()
  socket.close()
  await until('nothing is kept', () => holds.size === 0)
})

t.test("behind a trusted proxy each client has its own limits, and cannot claim another's", async t => {
  const trusted = await start(t, { ADDRESS_PUBLISHES: '1/h:1', TRUST_PROXY: '127.0.0.1' })
  const by = (list: string, from = '127.0.0.1') =>
    publish(trusted, 'a', { headers: { 'x-forwarded-for': list }, from })
  t.equal((await by('203.0.113.1')).status, 201)
  t.equal((await by('203.0.113.2')).status, 201)
  t.equal((await by('198.51.100.9, 203.0.113.1')).status, 429, 'the entry that the client wrote is ignored')
  t.equal((await by('203.0.113.3', '127.0.0.2')).status, 201, 'the address is not a trusted proxy')
  t.equal((await by('203.0.113.4', '127.0.0.2')).status, 429, 'the address of the socket counts')

  const plain = await start(t, { ADDRESS_PUBLISHES: '1/h:1' })
  const spoofed = (list: string) => publish(plain, 'a', { headers: { 'x-forwarded-for': list } })
  t.equal((await spoofed('203.0.113.1')).status, 201)
  t.equal((await spoofed('203.0.113.2')).status, 429)
})
