// Pusher: invalid input is answered with a Pusher code or a status, and the node continues. The access rules apply as
// on other wires.

import { createHmac, hash } from 'node:crypto'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { mock } from 'node:test'
import t from 'tap'
import { WebSocket } from 'ws'
import { LogUnavailable } from '../../../services/broker/log/log.ts'
import { PusherClient } from '../../../services/wires/pusher/client.ts'
import { startMemoryNode } from '../../contract/node.ts'
import { APP, appsFile, clientsOf, startPusherNode } from '../../support/pusher.ts'
import { temporaryFolder } from '../../support/tools.ts'
import { until } from '../../support/until.ts'

const rules = join(temporaryFolder(), 'rules.yaml')
writeFileSync(
  rules,
  `channels:
  - { match: open, subscribe: anyone }
  - { match: cache-open, subscribe: anyone }
  - { match: later, subscribe: anyone }
  - { match: presence-room, subscribe: anyone }
  - { match: private-chat, subscribe: token, publish: token }
default: { subscribe: token, publish: nobody }
`,
)
const quiet = { id: 'quiet', key: 'quiet', secret: 'other', signin_within: 1 }
const { node, server, connect, subscribed, disconnect } = await startPusherNode({ RULES: rules }, [
  APP,
  quiet,
])
t.teardown(async () => {
  disconnect()
  await node.close()
})

interface Message {
  readonly event: string
  readonly channel?: string
  readonly data: Record<string, unknown>
}

/** Opens a WebSocket that sends raw messages. */
async function open(path = `/app/${APP.key}?protocol=7`) {
  const socket = new WebSocket(`ws://127.0.0.1:${node.port}${path}`)
  const received: Message[] = []
  let code: number | undefined
  socket.on('message', data => {
    const message = JSON.parse(String(data)) as { data?: unknown }
    const said = typeof message.data === 'string' ? (JSON.parse(message.data) as unknown) : message.data
    received.push({ ...message, data: said } as Message)
  })
  socket.on('close', closed => (code = closed))
  await once(socket, 'open')
  const next = async (event: string) => {
    await until(event, () => received.some(each => each.event === event))
    return received.find(each => each.event === event)
  }
  const send = (message: unknown) =>
    socket.send(typeof message === 'string' ? message : JSON.stringify(message))
  const closed = async () => {
    await until('closed', () => code !== undefined)
    return code
  }
  return { socket, received, send, next, closed }
}

const sign = (secret: string, text: string) => createHmac('sha256', secret).update(text).digest('hex')

t.test('a connection is rejected with a Pusher code', async t => {
  for (const [path, code] of [
    ['/app/unknown?protocol=7', 4001],
    [`/app/${APP.key}`, 4008],
    [`/app/${APP.key}?protocol=4`, 4007],
    [`/app/${APP.key}?protocol=99`, 4007],
    [`/app/${APP.key}?protocol=abc`, 4006],
  ] as const) {
    const client = await open(path)
    t.match(await client.next('pusher:error'), { data: { code } })
    t.equal(await client.closed(), code, path)
  }
  const { client } = connect(undefined, 'unknown')
  await until('it gives up', () => client.connection.state === 'disconnected')
  t.equal((await node.get(`/app/${APP.key}`)).status, 426)
})

t.test('an invalid message gets an error, and the next one is handled', async t => {
  const client = await open()
  await client.next('pusher:connection_established')
  const wrong = [
    '',
    '{',
    '[]',
    '"text"',
    '{}',
    '{"event":1}',
    '{"event":"nothing"}',
    '{"event":"pusher:subscribe"}',
    '{"event":"pusher:unsubscribe","data":{"channel":"open"}}',
    ' '.repeat(64 * 1024),
    '\0'.repeat(64 * 1024),
    '['.repeat(60_000),
  ]
  for (const each of wrong) client.send(each)
  client.socket.send(Buffer.from('{"event":"pusher:ping"}'), { binary: true })
  client.socket.send(Buffer.from([0x7b, 0xff, 0x7d]), { binary: true })
  client.send({ event: 'pusher:ping', data: {} })
  await client.next('pusher:pong')
  t.equal(client.received.filter(({ event }) => event === 'pusher:error').length, wrong.length + 1)
  t.ok(
    client.received.every(({ event, data }) => event !== 'pusher:error' || /^FW_/.test(String(data.error))),
  )
  client.send(' '.repeat(64 * 1024 + APP.key.length + 2 * 1024 * 1024))
  t.equal(await client.closed(), 1009, 'a message that is too large ends the connection')
})

t.test('an invalid subscription is rejected with a subscription error', async t => {
  const client = await open()
  const id = String((await client.next('pusher:connection_established'))?.data.socket_id)
  const auth = (text: string, secret = APP.secret) => `${APP.key}:${sign(secret, text)}`
  const cases: [object, Record<string, unknown>][] = [
    [{ channel: 'private-x' }, { type: 'AuthError', status: 401 }],
    [
      { channel: 'private-x', auth: 'nothing' },
      { type: 'AuthError', status: 401 },
    ],
    [
      { channel: 'private-x', auth: auth(`${id}:private-y`) },
      { type: 'AuthError', status: 401 },
    ],
    [
      { channel: 'private-x', auth: auth(`${id}:private-x`, 'other') },
      { type: 'AuthError', status: 401 },
    ],
    [
      { channel: 'private-x', auth: auth('1.1:private-x') },
      { type: 'AuthError', status: 401 },
    ],
    [
      { channel: 'private-x', channel_data: 'y', auth: auth(`${id}:private-x:y`) },
      { type: 'AuthError', status: 401 },
    ],
    [
      { channel: 'presence-x', channel_data: ' {"user_id":"ann"}', auth: auth(`${id}:presence-x`) },
      { type: 'AuthError', status: 401 },
    ],
    [{ channel: 'presence-x', auth: auth(`${id}:presence-x`) }, { code: 'FW_BAD_COMMAND' }],
    [
      { channel: 'presence-x', channel_data: '{}', auth: auth(`${id}:presence-x:{}`) },
      { code: 'FW_BAD_COMMAND' },
    ],
    [{ channel: 'closed' }, { type: 'AuthError', code: 'FW_UNAUTHORIZED' }],
    [{ channel: 'fanwire:lives:0' }, { status: 4009, code: 'FW_BAD_CHANNEL' }],
    [{ channel: 'a b' }, { status: 4009, code: 'FW_BAD_CHANNEL' }],
    [{ channel: 7 }, { status: 4009, code: 'FW_BAD_CHANNEL' }],
    [{ channel: 'a'.repeat(300) }, { type: 'LimitReached', status: 4009 }],
    [{ channel: 'open', cursor: 'nonsense' }, { code: 'FW_BAD_CURSOR' }],
    [{ channel: 'open', cursor: 7 }, { code: 'FW_BAD_COMMAND' }],
  ]
  for (const [said, expected] of cases) {
    client.received.length = 0
    client.send({ event: 'pusher:subscribe', data: said })
    t.match(
      (await client.next('pusher:subscription_error'))?.data,
      expected,
      JSON.stringify(said).slice(0, 80),
    )
  }
  client.send({ event: 'pusher:subscribe', data: { channel: 'open' } })
  t.ok(await client.next('pusher_internal:subscription_succeeded'))
  client.received.length = 0
  client.send({ event: 'pusher:subscribe', data: { channel: 'open' } })
  t.match(await client.next('pusher:subscription_error'), { data: { code: 'FW_ALREADY_SUBSCRIBED' } })
  client.socket.close()
})

t.test('an unsubscribe takes back a subscribe to a presence channel that was sent before it', async t => {
  const client = await open()
  const id = String((await client.next('pusher:connection_established'))?.data.socket_id)
  const channel = 'presence-brief'
  const subscribe = {
    event: 'pusher:subscribe',
    data: { channel, ...server.authorizeChannel(id, channel, { user_id: 'ann' }) },
  }
  const unsubscribe = { event: 'pusher:unsubscribe', data: { channel } }
  for (const each of [subscribe, unsubscribe, subscribe, unsubscribe]) client.send(each)
  const count = (event: string) => client.received.filter(each => each.event === event).length
  await until('both are answered', () => count('pusher_internal:subscription_succeeded') === 2)
  await until('it has left', async () => {
    const state = (await (await server.get({ path: `/channels/${channel}` })).json()) as { occupied: boolean }
    return !state.occupied
  })
  t.equal(count('pusher:error'), 0)
  t.equal(count('pusher:subscription_error'), 0)
  client.socket.close()
})

t.test('in a presence channel that anyone may read, members see each other come', async t => {
  const [ann, ben] = [connect('ann'), connect('ben')]
  const room = await subscribed(ann.client, 'presence-room')
  const added: unknown[] = []
  room.bind('pusher:member_added', ({ id }: { id: string }) => added.push(id))
  const failed: unknown[] = []
  for (const { client } of [ann, ben])
    client.bind('pusher:subscription_error', (error: unknown) => failed.push(error))
  await subscribed(ben.client, 'presence-room')
  await until('ann is notified, or refused', () => added.length + failed.length > 0)
  t.strictSame({ added, failed }, { added: ['ben'], failed: [] })
})

t.test('client events need the rule, a subscription, and a signed channel', async t => {
  const { client, received } = connect('ann')
  await subscribed(client, 'open')
  await subscribed(client, 'private-quiet')
  const chat = await subscribed(client, 'private-chat')
  for (const name of ['open', 'private-quiet', 'private-nowhere']) {
    received.length = 0
    client.send_event('client-x', {}, name)
    await until('refused', () => received.some(({ event }) => event === 'pusher:error'))
    t.match(received[0], { channel: name, data: { code: 4301, error: 'FW_FORBIDDEN' } }, name)
  }
  received.length = 0
  chat.trigger(`client-${'x'.repeat(300)}`, {})
  await until('refused', () => received.length > 0)
  t.match(received[0], { data: { code: 4301, error: 'FW_BAD_TYPE' } })
})

t.test('a client that signs in too late or wrongly is closed', async t => {
  const late = await open(`/app/${quiet.key}?protocol=7`)
  t.equal(await late.closed(), 4009)
  const wrong = await open()
  await wrong.next('pusher:connection_established')
  wrong.send({ event: 'pusher:signin', data: { auth: 'key:nothing', user_data: '{"id":"1"}' } })
  t.equal(await wrong.closed(), 4009)
  const long = await open()
  const established = await long.next('pusher:connection_established')
  const user = server.authenticateUser(String(established?.data.socket_id), { id: '漢'.repeat(200) })
  long.send({ event: 'pusher:signin', data: user })
  t.equal(await long.closed(), 4009, 'with a reason that is too long for a close frame')
})

t.test('a signed-in client counts towards the limits of its user', async t => {
  const limited = await startPusherNode({ USER_CONNECTIONS: '1' })
  const signIn = () => {
    const { client, received } = limited.connect('ann')
    client.signin()
    const codes = () =>
      received
        .filter(({ event }) => event === 'pusher:error')
        .map(({ data }) => (data as { code: number }).code)
    return { client, codes, in: () => received.some(({ event }) => event === 'pusher:signin_success') }
  }
  const first = signIn()
  await until('the first is signed in', first.in)
  const second = signIn()
  await until('the second has an answer', () => second.in() || second.codes().length > 0)
  t.strictSame(second.codes(), [4100])
  t.notOk(second.in())
  first.client.disconnect()
  await until('the second tries again', second.in)
  second.client.disconnect()
  await limited.node.close()
})

t.test(
  'a user whose id is a number gets it as a string, without which pusher-js receives no events',
  async t => {
    const client = await open()
    const established = await client.next('pusher:connection_established')
    const userData = '{"name":"Ann","id":7}'
    const auth = `${APP.key}:${sign(APP.secret, `${established?.data.socket_id}::user::${userData}`)}`
    client.send({ event: 'pusher:signin', data: { auth, user_data: userData } })
    t.strictSame((await client.next('pusher:signin_success'))?.data, { user_data: '{"id":"7","name":"Ann"}' })
    client.socket.close()
  },
)

t.test('data that is too large, and a channel with too many members, are refused', async t => {
  const small = await startPusherNode({ MAX_BODY: '100' })
  const { client, received } = small.connect('ann')
  const chat = await small.subscribed(client, 'private-chat')
  chat.trigger('client-x', { text: 'x'.repeat(100) })
  await until('refused', () => received.some(({ event }) => event === 'pusher:error'))
  t.match(received.at(-1)?.data, { code: 4301, error: 'FW_TOO_LARGE' })
  const refused = () => received.find(({ event }) => event === 'pusher:subscription_error')?.data
  const raw = small.connect('b'.repeat(2048))
  await until('connected', () => raw.client.connection.state === 'connected')
  raw.client.subscribe('presence-large')
  await until('refused', () => raw.received.some(({ event }) => event === 'pusher:subscription_error'))
  t.match(raw.received.at(-1)?.data, { type: 'LimitReached', status: 4301, code: 'FW_TOO_LARGE' })
  const { presence } = small.node.app.fanwire
  for (let user = 0; user <= 1000; user++) presence.enter('presence-full', `u${user}`, `"user":"u${user}"`)
  client.subscribe('presence-full')
  await until('refused', () => refused() !== undefined)
  t.match(refused(), { type: 'LimitReached', status: 4100, code: 'FW_TOO_MANY_MEMBERS' })
  client.disconnect()
  raw.client.disconnect()
  await small.node.close()
})

t.test(
  "a client can sign in without its user's channel, and retries later if the log is unavailable",
  async t => {
    const signIn = async (id: string) => {
      const client = await open()
      const established = await client.next('pusher:connection_established')
      const socketId = String(established?.data.socket_id)
      client.send({ event: 'pusher:signin', data: server.authenticateUser(socketId, { id }) })
      return client
    }
    const spaced = await signIn('a b')
    await spaced.next('pusher:signin_success')
    const { follow } = node.log
    node.log.follow = async () => Promise.reject(new LogUnavailable('the log is away'))
    const early = await signIn('ann')
    t.equal(await early.closed(), 4100)
    node.log.follow = follow
    spaced.socket.close()
  },
)

t.test(
  'a subscription that fails temporarily ends the connection, so that the client subscribes again',
  async t => {
    const client = await open()
    await client.next('pusher:connection_established')
    const { follow } = node.log
    node.log.follow = async () => Promise.reject(new LogUnavailable('the log is away'))
    client.send({ event: 'pusher:subscribe', data: { channel: 'later' } })
    t.equal(await client.closed(), 4100)
    node.log.follow = follow
  },
)

t.test('unsigned and invalid server requests are rejected with a status and a code', async t => {
  const now = Math.floor(Date.now() / 1000)
  const call = async (
    method: string,
    path: string,
    body: string,
    over: Record<string, string> = {},
    secret = APP.secret,
  ) => {
    const query: Record<string, string> = {
      auth_key: APP.key,
      auth_timestamp: String(now),
      auth_version: '1.0',
      ...(body === '' ? {} : { body_md5: hash('md5', body) }),
      ...over,
    }
    const signed = Object.keys(query)
      .sort()
      .map(name => `${name}=${query[name]}`)
      .join('&')
    const signature = sign(secret, `${method}\n${path}\n${signed}`)
    const response = await fetch(
      `http://127.0.0.1:${node.port}${path}?${signed}&auth_signature=${signature}`,
      {
        method,
        ...(body === '' ? {} : { body, headers: { 'content-type': 'application/json' } }),
      },
    )
    return { status: response.status, body: (await response.json()) as { error?: object; code?: number } }
  }
  const event = '{"name":"e","channel":"open","data":"1"}'
  const post = (body: string, over?: Record<string, string>, secret?: string) =>
    call('POST', '/apps/app/events', body, over, secret)
  t.equal((await post(event)).status, 200)
  const refused = await post(event, {}, 'other')
  t.match(refused, { status: 401, body: { error: { code: 'FW_UNAUTHORIZED' }, code: 401 } })
  t.equal((await post(event, { auth_timestamp: String(now - 700) })).status, 401)
  t.equal((await post(event, { auth_key: 'other' })).status, 401)
  t.equal((await post(event, { auth_version: '2.0' })).status, 401)
  t.equal((await post(event, { body_md5: hash('md5', 'another') })).status, 401)
  t.match(await call('POST', '/apps/nobody/events', event), {
    status: 404,
    body: { error: { code: 'FW_NOT_FOUND' } },
  })
  t.match(await call('GET', '/apps/app/channels/open/users', ''), {
    status: 400,
    body: { error: { code: 'FW_BAD_PARAMETER' } },
  })
  t.match(await call('GET', '/usage', ''), { status: 404, body: { error: { code: 'FW_NOT_FOUND' } } })
  for (const [body, code] of [
    ['{', 'FW_BAD_JSON'],
    ['[]', 'FW_BAD_EVENT'],
    [' '.repeat(64 * 1024), 'FW_BAD_JSON'],
    ['['.repeat(64 * 1024), 'FW_BAD_JSON'],
    ['{"name":"e","data":"1"}', 'FW_BAD_CHANNEL'],
    ['{"name":"e","channel":"open"}', 'FW_BAD_EVENT'],
    ['{"channel":"open","data":"1"}', 'FW_BAD_TYPE'],
    [JSON.stringify({ name: 'e'.repeat(300), channel: 'open', data: '1' }), 'FW_BAD_TYPE'],
    ['{"name":"e","channel":"a b","data":"1"}', 'FW_BAD_CHANNEL'],
    ['{"name":"e","channels":[],"data":"1"}', 'FW_BAD_EVENT'],
    ['{"name":"e","channel":"open","data":"1","socket_id":"x"}', 'FW_BAD_EVENT'],
    [
      JSON.stringify({ name: 'e', channels: Array.from({ length: 101 }, (_, n) => `c${n}`), data: '1' }),
      'FW_TOO_MANY_CHANNELS',
    ],
    [JSON.stringify({ name: 'e', channel: 'open', data: 'x'.repeat(1024 * 1024) }), 'FW_TOO_LARGE'],
  ] as const)
    t.match((await post(body)).body, { error: { code } }, body.slice(0, 60))
  const batch = JSON.stringify({ batch: Array.from({ length: 11 }, () => JSON.parse(event)) })
  t.equal((await call('POST', '/apps/app/batch_events', batch)).status, 400)
  t.equal((await fetch(`http://127.0.0.1:${node.port}/apps/app/channels`)).status, 401)
})

t.test('the data of an event for many channels is parsed once', async t => {
  const channels = Array.from({ length: 100 }, (_, n) => `many-${n}`)
  const parsed = t.capture(JSON, 'parse', JSON.parse)
  const { status } = await server.trigger(channels, 'e', { text: 'x'.repeat(2000) })
  t.equal(status, 200)
  // Once as part of the body.
  t.equal(parsed().filter(({ args: [text] }) => text.length > 2000).length, 2)
  for (const channel of ['many-0', 'many-99']) {
    const { events } = await node.log.read(channel, 'earliest', { events: 10, bytes: 1e6 })
    t.equal(events.length, 1, channel)
  }
})

t.test(
  'clients of an app with another secret are ended in slices, so that others have their turn',
  async t => {
    const file = appsFile()
    const other = await startMemoryNode({ PUSHER_APPS: file })
    t.teardown(() => other.close())
    const { access, clients } = other.app.fanwire
    const ends = Array.from({ length: 6 }, () => {
      const socket = new WebSocket(`ws://127.0.0.1:${other.port}/app/${APP.key}?protocol=7`)
      t.teardown(() => socket.terminate())
      return once(socket, 'close')
    })
    await until('they are connected', () => clients.size === ends.length)
    // By the node's clock, ending a client takes 2 ms.
    const { now } = performance
    let ended = 0
    mock.method(performance, 'now', () => now.call(performance) + 2 * ended)
    const { end } = PusherClient.prototype
    mock.method(PusherClient.prototype, 'end', function (this: PusherClient) {
      ended++
      end.call(this)
    })
    t.teardown(() => mock.restoreAll())
    let endedAtOnce: number | undefined
    access.once('rules', () => (endedAtOnce = ended))
    writeFileSync(file, JSON.stringify([{ ...APP, secret: 'new' }]))
    await until('the apps are reloaded', () => endedAtOnce !== undefined)
    t.equal(endedAtOnce, 1)
    for (const [code] of await Promise.all(ends)) t.equal(code, 4001)
  },
)

t.test('an app whose secret changes in its file loses its clients', async t => {
  const file = appsFile()
  const other = await startMemoryNode({ PUSHER_APPS: file })
  const clients = clientsOf(other.port)
  const { client, received } = clients.connect()
  await until('connected', () => client.connection.state === 'connected')
  writeFileSync(file, JSON.stringify([{ ...APP, secret: 'new' }]))
  await until('gone', () => client.connection.state === 'disconnected')
  t.match(received.at(-1), { event: 'pusher:error', data: { code: 4001 } })
  // `clients.disconnect()` would end this process before slow tests that follow.
  client.disconnect()
  await other.close()
})

t.test('a node does not start with an invalid file, and reports the place of the fault', async t => {
  for (const [apps, message] of [
    ['{', /not valid JSON/],
    [[], /not a list of apps/],
    [[{ id: 'a', key: 'k' }], /\[0\].secret/],
    [[{ ...APP, more: 1 }], /\[0\].more: unknown member/],
    [[APP, APP], /\[1\].id: another app has the same/],
    [[{ ...APP, webhooks: [{ url: 'ftp://x' }] }], /\[0\].webhooks\[0\].url/],
    [[{ ...APP, webhooks: [{ url: 'http://x', event_types: ['cache_miss'] }] }], /event_types/],
    [[{ ...APP, webhooks: [{ url: 'http://x', headers: {} }] }], /webhooks\[0\].headers: unknown member/],
    [[{ ...APP, webhooks: [{ lambda_function: 'x' }] }], /webhooks\[0\].lambda_function: unknown member/],
    [[{ ...APP, webhooks: [{ url: 'http://x', batch: 1 }] }], /webhooks\[0\].batch: is not true or false/],
  ] as const)
    await t.rejects(startMemoryNode({ PUSHER_APPS: appsFile(apps) }), message)
})

t.test('without the setting its paths do not exist', async t => {
  const without = await startMemoryNode()
  t.equal((await without.get('/app/key')).status, 404)
  t.equal((await without.get('/apps/app/channels')).status, 404)
  await without.close()
})
