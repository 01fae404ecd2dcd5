// Socket.IO, beyond the contract of every wire: real clients of both major versions, both transports and the upgrade
// between them, raw packets, and misbehaving clients.

import { createRequire } from 'node:module'
import { once } from 'node:events'
import { setImmediate } from 'node:timers/promises'
import type { io } from 'socket.io-client'
import t from 'tap'
import { WebSocket } from 'ws'
import { Refused, SocketIoClient, WsClient } from '../../contract/clients.ts'
import { type Node, offsetOf, startMemoryNode } from '../../contract/node.ts'
import { at, fresh, idOf, idsOf, reading, take } from '../../contract/wires.ts'
import { Raw } from '../http/app.ts'
import { until } from '../../support/until.ts'

const require = createRequire(import.meta.url)
const ON = { SOCKET_IO: '1' }
const isLoaded = () =>
  Object.keys(require.cache).some(path => /node_modules\/(socket\.io|engine\.io)\//.test(path))

const without = await startMemoryNode()
const loadedWithout = isLoaded()
const node = await startMemoryNode(ON)
const keyed = await startMemoryNode({ ...ON, PUBLISH_KEY: 'sesame', MAX_BODY: '1KiB', MAX_CHANNELS: '5' })
t.teardown(() => Promise.all([without.close(), node.close(), keyed.close()]))
const clients: { cut(): void }[] = []
t.afterEach(() => {
  for (const client of clients.splice(0)) client.cut()
})

/** Major versions of the library. The types of version 3 cannot be imported as a module. */
const LIBRARIES: readonly [string, typeof io | undefined][] = [
  ['4', undefined],
  ['3', require('socket.io-client-v3').io],
]
const WEBSOCKET = { transports: ['websocket'] }
const POLLING = { transports: ['polling'] }
const BOTH = { transports: ['polling', 'websocket'] }

type Options = ConstructorParameters<typeof SocketIoClient>[2]

async function connect(
  channels: readonly string[] = [],
  of: Node = node,
  options: Options = {},
  library?: typeof io,
): Promise<SocketIoClient> {
  const target = { channels }
  const client = new SocketIoClient(of, target, options, library)
  clients.push(client)
  return client.connect(target)
}

const connections = (of = node) => of.hub.stats().wires['socket.io']?.connections ?? 0

async function upgraded(client: SocketIoClient): Promise<void> {
  await until('it is on WebSocket', () => client.transport === 'websocket')
}

t.test('without the setting the library is not loaded, and its path does not exist', async t => {
  t.equal(loadedWithout, false)
  t.equal(isLoaded(), true, 'with the setting the library is loaded')
  const { status, body } = await without.get('/socket.io/?EIO=4&transport=polling')
  t.equal(status, 404)
  t.equal(JSON.parse(body).error.code, 'FW_NOT_FOUND')
})

// Both major versions ---------------------------------------------------------------------------------------

for (const [major, library] of LIBRARIES) {
  for (const [how, options, changes] of [
    ['WebSocket', WEBSOCKET, false],
    ['polling', POLLING, false],
    ['polling, then WebSocket', BOTH, true],
  ] as const) {
    t.test(`version ${major} over ${how}`, async t => {
      const channel = fresh()
      const [first = ''] = await node.append(channel, '"before"')
      const client = await connect([], node, options, library)
      if (changes) await upgraded(client)
      const got: { type: string; event: unknown }[] = []
      for (const type of ['message', 'post']) {
        client.socket.on(type, (event: unknown) => got.push({ type, event }))
      }
      t.same(await client.ask('subscribe', { channel }), { ok: { channel, cursor: first } })
      const data = { text: 'ł 漢字 🙂 \u2028', list: [1, null, true] }
      const { ok } = await client.ask('publish', { channel, data, type: 'post' })
      t.match(ok, { channel, id: at(first, 2) })
      const [third] = await node.append(channel, '3')
      await until('both', () => got.length === 2)
      t.match(got, [
        { type: 'post', event: { channel, id: ok?.id, type: 'post', data } },
        { type: 'message', event: { channel, id: third, data: 3 } },
      ])
      t.same(await client.ask('unsubscribe', { channel }), { ok: { channel, cursor: third } })
      t.equal(node.hub.readers(channel), 0)
      t.equal(connections(), 1)
      client.socket.disconnect()
      await until('all clients have left', () => connections() === 0)
    })
  }

  t.test(`version ${major} upgrades from polling to WebSocket in mid-stream`, async t => {
    for (let round = 0; round < 8; round++) {
      const channel = fresh()
      const [start] = await node.append(channel, '0')
      const ids: string[] = []
      let publishing = true
      const publisher = (async () => {
        while (publishing) {
          const data = `"${'é'.repeat((ids.length * 37) % 3000)}"`
          ids.push(...(await node.append(channel, ...new Array<string>(1 + (ids.length % 5)).fill(data))))
          await setImmediate()
        }
      })()
      const client = new SocketIoClient(node, { channels: [channel] }, BOTH, library)
      clients.push(client)
      await client.connect({ channels: [channel], cursor: start })
      await upgraded(client)
      await until('some more', () => ids.length > 0)
      const so = ids.length + 50
      await until('and more', () => ids.length >= so)
      publishing = false
      await publisher
      t.strictSame(idsOf(await take(client, ids.length)), ids)
      client.cut()
    }
  })
}

t.test('a polling client continues when it does not upgrade', async t => {
  const channel = fresh()
  const [start] = await node.append(channel, '0')
  const client = new SocketIoClient(node, { channels: [channel] }, POLLING)
  clients.push(client)
  await client.connect({ channels: [channel], cursor: start })
  const ids: string[] = []
  for (let i = 0; i < 300; i++) {
    ids.push(
      ...(await node.append(channel, ...new Array<string>(1 + (i % 9)).fill(`"${'x'.repeat(i * 20)}"`))),
    )
    if (i % 3 === 0) await setImmediate()
  }
  t.strictSame(idsOf(await take(client, ids.length)), ids)
})

t.test('a backlog far beyond a stretch arrives complete over polling', async t => {
  const channel = fresh()
  const [start] = await node.append(channel, '0')
  const ids: string[] = []
  for (let i = 0; i < 40; i++)
    ids.push(...(await node.append(channel, ...new Array(100).fill(`"${'y'.repeat(900)}"`))))
  const client = new SocketIoClient(node, { channels: [channel] }, POLLING)
  clients.push(client)
  await client.connect({ channels: [channel], cursor: start })
  t.strictSame(idsOf(await take(client, ids.length)), ids)
})

// Events ----------------------------------------------------------------------------------------------------

t.test('a type that the library reserves arrives as message', async t => {
  const channel = fresh()
  for (const options of [WEBSOCKET, POLLING]) {
    const client = await connect([channel], node, options)
    const types = ['connect', 'connect_error', 'disconnect', 'disconnecting', 'newListener', 'removeListener']
    for (const type of [...types, 'connected', 'message', 'a.B_c:~@-9']) await node.append(channel, { type })
    for (const type of types) {
      t.match(await client.next(), { event: new RegExp(`"type":"${type}"`), type: undefined })
    }
    t.equal(((await client.next()) as { type?: string }).type, 'connected')
    t.equal(((await client.next()) as { type?: string }).type, undefined)
    t.equal(((await client.next()) as { type?: string }).type, 'a.B_c:~@-9')
    t.ok(client.socket.connected)
    client.cut()
  }
})

t.test('a gap arrives as gap, before the event after it', async t => {
  const channel = fresh()
  const ids = await node.append(channel, '1', '2')
  for (const options of [WEBSOCKET, POLLING]) {
    const client = await connect([], node, options)
    const gaps: unknown[] = []
    client.socket.on('gap', gap => gaps.push(gap))
    await client.ask('subscribe', { channel, cursor: 'zzz-5' })
    t.same(await client.next(), { gap: { channel, from: 'zzz-5', to: at(ids[0], 0) } })
    t.same(gaps, [{ channel, from: 'zzz-5', to: at(ids[0], 0) }])
    t.equal(idOf(((await client.next()) as { event: string }).event), ids[0])
    client.cut()
  }
})

t.test(
  'clients over WebSocket that read the same channels from the same cursors each receive all events',
  async t => {
    const channels = [fresh(), fresh(), fresh()]
    const [one, other] = await Promise.all([connect(channels), connect(channels)])
    const ids = (await Promise.all(channels.map(each => node.append(each, '1', '2', '3')))).flat()
    for (const client of [one, other]) t.same(new Set(idsOf(await take(client, 9))), new Set(ids))
  },
)

// Commands --------------------------------------------------------------------------------------------------

t.test('the answer precedes the first event, and the answer to unsubscribe follows the last', async t => {
  for (const options of [WEBSOCKET, POLLING]) {
    const channel = fresh()
    const client = await connect([], node, options)
    let publishing = true
    const publisher = (async () => {
      while (publishing) {
        await node.append(channel, '1', '2')
        await setImmediate()
      }
    })()
    for (let i = 0; i < 15; i++) {
      const from = client.log.length
      await client.ask('subscribe', { channel })
      await until('events', () => client.log.length > from + 1)
      t.match(client.log[from], /^3\d+\[\{"ok"/, 'the answer first')
      await client.ask('unsubscribe', { channel })
      t.equal(node.hub.readers(channel), 0)
      const after = client.log.length
      await client.ask('publish', { channel: 'elsewhere', data: 1 })
      t.equal(client.log.length, after + 1)
    }
    publishing = false
    await publisher
    client.cut()
  }
})

t.test('subscribe, unsubscribe and subscribe in one batch are handled in order', async t => {
  for (const options of [WEBSOCKET, POLLING]) {
    const channel = fresh()
    const [first] = await node.append(channel, '1', '2')
    const client = await connect([], node, options)
    const answers = await Promise.all([
      client.ask('subscribe', { channel, cursor: 'earliest' }),
      client.ask('unsubscribe', { channel }),
      client.ask('subscribe', { channel, cursor: first }),
      client.ask('subscribe', { channel }),
    ])
    t.same(
      answers.map(({ ok, error }) => (ok ? 'ok' : error?.code)),
      ['ok', 'ok', 'ok', 'FW_ALREADY_SUBSCRIBED'],
    )
    client.cut()
  }
})

t.test('errors are reported in the answer, with a code, and the connection continues', async t => {
  const channel = fresh()
  const client = await connect([channel])
  const deep = JSON.parse(`${'['.repeat(1000)}${']'.repeat(1000)}`)
  const wrong: [string, unknown[], string][] = [
    ['nonsense', [{}], 'FW_BAD_COMMAND'],
    ['toString', [{}], 'FW_BAD_COMMAND'],
    ['__proto__', [{}], 'FW_BAD_COMMAND'],
    ['subscribe', [], 'FW_BAD_COMMAND'],
    ['subscribe', ['a'], 'FW_BAD_COMMAND'],
    ['subscribe', [null], 'FW_BAD_COMMAND'],
    ['subscribe', [[]], 'FW_BAD_COMMAND'],
    ['subscribe', [deep], 'FW_BAD_COMMAND'],
    ['subscribe', [{ channel: 'a' }, { channel: 'b' }], 'FW_BAD_COMMAND'],
    ['subscribe', [{ channel: 'a', more: 1 }], 'FW_BAD_COMMAND'],
    ['subscribe', [{ channel: 'a', cursor: 'a-1', from: Buffer.from('x') }], 'FW_BAD_COMMAND'],
    ['subscribe', [{}], 'FW_BAD_CHANNEL'],
    ['subscribe', [{ channel: 1 }], 'FW_BAD_CHANNEL'],
    ['subscribe', [{ channel: deep }], 'FW_BAD_CHANNEL'],
    ['subscribe', [{ channel: 'a b' }], 'FW_BAD_CHANNEL'],
    ['subscribe', [{ channel: 'fanwire:probe' }], 'FW_BAD_CHANNEL'],
    ['subscribe', [{ channel }], 'FW_ALREADY_SUBSCRIBED'],
    ['subscribe', [{ channel: 'a', cursor: 'x' }], 'FW_BAD_CURSOR'],
    ['subscribe', [{ channel: 'a', cursor: null }], 'FW_BAD_CURSOR'],
    ['subscribe', [{ channel: 'a', cursor: 5 }], 'FW_BAD_CURSOR'],
    ['subscribe', [{ channel: 'a', cursor: 'a-1,b-2' }], 'FW_BAD_CURSOR'],
    ['unsubscribe', [{ channel: 'nobody' }], 'FW_NOT_SUBSCRIBED'],
    ['unsubscribe', [{ channel: null }], 'FW_BAD_CHANNEL'],
    ['unsubscribe', [{ channel, cursor: 'latest' }], 'FW_BAD_COMMAND'],
    ['publish', [1], 'FW_BAD_EVENT'],
    ['publish', [{}], 'FW_BAD_EVENT'],
    ['publish', [{ channel: 'b' }], 'FW_BAD_EVENT'],
    ['publish', [{ data: 1 }], 'FW_BAD_EVENT'],
    ['publish', [{ channels: ['b'], data: 1 }], 'FW_BAD_EVENT'],
    ['publish', [{ channel: 'b', data: 1, more: 1 }], 'FW_BAD_EVENT'],
    ['publish', [{ channel: 'b', data: Buffer.from('x') }], 'FW_BAD_COMMAND'],
    ['publish', [{ channel: 'b', data: 1, type: 'gap' }], 'FW_BAD_TYPE'],
    ['publish', [{ channel: 'b', data: 1, type: 'a b' }], 'FW_BAD_TYPE'],
    ['publish', [{ channel: 'b', data: 1, idempotencyKey: '' }], 'FW_BAD_IDEMPOTENCY_KEY'],
    ['publish', [{ channel: 'b', data: 1, priority: 'urgent' }], 'FW_BAD_EVENT'],
  ]
  for (const [name, given, code] of wrong) {
    const answer = await client.ask(name, ...given)
    t.equal(answer.error?.code, code, `${name} ${String(JSON.stringify(given)).slice(0, 60)}`)
    t.ok(answer.error?.message)
    t.equal(answer.ok, undefined)
  }
  client.socket.emit('nonsense', {})
  t.equal(await client.errors.take(), 'FW_BAD_COMMAND', 'a client without a callback receives an error event')
  client.socket.emit('publish', { channel, data: 'quiet' })
  t.match(await client.event(), /"quiet"/)
  t.equal(node.hub.readers('a'), 0)
})

t.test('data is published byte for byte; keys, types and priorities are as over HTTP', async t => {
  const channel = fresh()
  const raw = await handshake()
  const client = await connect([channel])
  for (const data of [
    '1.0',
    '-0',
    '12345678901234567890',
    '{"a":1,"a":2,"__proto__":{}}',
    '"\\ud800 ł 🙂"',
  ]) {
    raw.send(`427["publish", {"data":${data} ,"channel":"${channel}","type":"post"}]`)
    const event = await client.event()
    t.match(await raw.text(/^437/), `"id":"${idOf(event)}"`)
    t.equal(event.slice(event.indexOf('"type"')), `"type":"post","data":${data}}`)
  }
  const first = await client.ask('publish', { channel, data: 1, idempotencyKey: 'k' })
  t.same(await client.ask('publish', { channel, data: 2, idempotencyKey: 'k' }), {
    ok: { ...first.ok, replayed: true },
  })
})

t.test('publishes of one client keep their order', async t => {
  for (const options of [WEBSOCKET, POLLING]) {
    const channel = fresh()
    const client = await connect([channel], node, options)
    for (let i = 0; i < 500; i++) client.socket.emit('publish', { channel, data: i })
    t.strictSame(
      (await take(client, 500)).map(event => JSON.parse(event).data),
      Array.from({ length: 500 }, (_, i) => i),
    )
    client.cut()
  }
})

t.test('publish needs a configured key, in auth or a header; other commands do not', async t => {
  const channel = fresh()
  const publish = { channel, data: 1 }
  const header = (authorization: string) => ({ extraHeaders: { authorization } })
  const { io: connectIo } = await import('socket.io-client')
  const refused = async (options: Options) => {
    const client = connectIo(`http://127.0.0.1:${keyed.port}`, {
      ...WEBSOCKET,
      ...options,
      reconnection: false,
      forceNew: true,
    })
    const error = await new Promise<Error>(resolve => client.once('connect_error', resolve))
    client.disconnect()
    return error as Error & { data?: { code: string } }
  }
  const wrong = await refused({ auth: { key: 'wrong' } })
  t.match([wrong.message, wrong.data?.code], [/does not know it/, 'FW_UNAUTHORIZED'])
  t.ok(await refused(header('Bearer wrong')))
  const bad: Options[] = [{}, { auth: { key: 5 } }]
  for (const options of bad) {
    const client = await connect([], keyed, options)
    t.equal((await client.ask('publish', publish)).error?.code, 'FW_UNAUTHORIZED')
    t.ok((await client.ask('subscribe', { channel })).ok)
  }
  const good: Options[] = [{ auth: { key: 'sesame' } }, header('Bearer sesame')]
  for (const options of good) {
    for (const transport of [WEBSOCKET, POLLING, BOTH]) {
      const client = await connect([], keyed, { ...options, ...transport })
      t.ok((await client.ask('publish', publish)).ok)
      const large = { channel, data: 'x'.repeat(2000) }
      t.equal((await client.ask('publish', large)).error?.code, 'FW_TOO_LARGE')
    }
  }
})

t.test('the number of channels of a connection is limited', async t => {
  const client = await connect([1, 2, 3, 4, 5].map(fresh), keyed)
  const extra = fresh()
  t.equal((await client.ask('subscribe', { channel: extra })).error?.code, 'FW_TOO_MANY_CHANNELS')
})

// Raw packets -----------------------------------------------------------------------------------------------

/** A WebSocket that sends raw packets. */
class ByHand {
  readonly socket: WebSocket
  readonly texts: string[] = []

  constructor(of: Node, query = '') {
    this.socket = new WebSocket(`ws://127.0.0.1:${of.port}/socket.io/?EIO=4&transport=websocket${query}`)
    this.socket.on('message', data => this.texts.push(String(data)))
    this.socket.on('error', () => {})
    clients.push({ cut: () => this.socket.terminate() })
  }

  send(packet: string | Buffer): this {
    this.socket.send(packet)
    return this
  }

  /** The next packet that matches. Earlier packets are discarded. Raises if the connection ends first. */
  async text(pattern: RegExp): Promise<string> {
    const find = () => this.texts.findIndex(text => pattern.test(text))
    const isOver = () => this.socket.readyState === WebSocket.CLOSED
    await until(String(pattern), () => find() !== -1 || isOver())
    if (find() === -1) throw new Error(`the connection ended before ${pattern}`)
    return this.texts.splice(0, find() + 1).at(-1) ?? ''
  }

  get closed(): Promise<unknown> {
    return this.socket.readyState === WebSocket.CLOSED ? Promise.resolve() : once(this.socket, 'close')
  }
}

/** Opens a WebSocket that has joined the namespace. */
async function handshake(of = node): Promise<ByHand> {
  const raw = new ByHand(of)
  await raw.text(/^0/)
  raw.send('40')
  await raw.text(/^40/)
  return raw
}

const polls = (of: Node, sid?: string) =>
  of.get(`/socket.io/?EIO=4&transport=polling${sid === undefined ? '' : `&sid=${sid}`}`)

async function post(of: Node, sid: string, body: string): Promise<{ status: number; body: string }> {
  const answer = await fetch(`http://127.0.0.1:${of.port}/socket.io/?EIO=4&transport=polling&sid=${sid}`, {
    method: 'POST',
    body,
    headers: { 'content-type': 'text/plain;charset=UTF-8' },
  })
  return { status: answer.status, body: await answer.text() }
}

/** Opens a polling session that has joined the namespace. Returns its id. */
async function session(of = node): Promise<string> {
  const { sid } = JSON.parse((await polls(of)).body.slice(1))
  const joined = polls(of, sid)
  await post(of, sid, '40')
  t.match((await joined).body, /^40\{"sid":/)
  clients.push({ cut: () => void post(of, sid, '1').catch(() => {}) })
  return sid
}

t.test("the handshake announces the node's settings", async t => {
  const announced = {
    upgrades: ['websocket'],
    pingInterval: 25_000,
    pingTimeout: 30_000,
    maxPayload: 1_114_112,
  }
  const { status, headers, body } = await polls(node)
  t.equal(status, 200)
  t.equal(headers['cache-control'], 'no-store')
  t.equal(body[0], '0')
  t.match(JSON.parse(body.slice(1)), { sid: /^[\w-]{20}$/, ...announced })
  const raw = new ByHand(node)
  t.match(JSON.parse((await raw.text(/^0/)).slice(1)), { ...announced, upgrades: [] })
})

t.test('heartbeats: the node pings, and drops a client that sends pings itself', async t => {
  const own = await startMemoryNode({ ...ON, HEARTBEAT: '50ms' })
  t.teardown(() => own.close())
  const raw = await handshake(own)
  await raw.text(/^2$/)
  raw.send('3')
  await raw.text(/^2$/)
  raw.send('3').send('2')
  await raw.closed
  t.pass('a client of another version, which pings, is dropped')
  await until('all clients have left', () => connections(own) === 0)
})

t.test('an upgrade to WebSocket is a probe, then the pending packets, and then only WebSocket', async t => {
  const channel = fresh()
  const sid = await session()
  await post(node, sid, `421["subscribe",{"channel":"${channel}"}]`)
  const [first] = await node.append(channel, '"while nobody polls"')
  const raw = new ByHand(node, `&sid=${sid}`)
  await once(raw.socket, 'open')
  raw.send('2probe')
  t.equal(await raw.text(/./), '3probe')
  t.match((await polls(node, sid)).body, /^431\[\{"ok":\{[^{}]*\}\}\]$/, 'the answer')
  t.match((await polls(node, sid)).body, new RegExp(`^42\\["message",.*"${first}"`), 'then the event')
  const ids = await node.append(channel, '"a"', '"b"')
  raw.send('5')
  await node.append(channel, '"c"')
  t.match(await raw.text(/^42/), `"${ids[0]}"`)
  t.match(await raw.text(/^42/), `"${ids[1]}"`)
  t.match(await raw.text(/^42/), /"c"/)
  raw.send(`422["unsubscribe",{"channel":"${channel}"}]`)
  t.match(await raw.text(/^432/), '"ok"')
  t.equal((await polls(node, sid)).status, 400, 'polls are rejected after the upgrade')
})

t.test('there is one namespace; others are rejected with an error, in limited number', async t => {
  const raw = new ByHand(node)
  await raw.text(/^0/)
  raw.send('40/admin,{"token":1}')
  const rejected = await raw.text(/^44/)
  t.match(JSON.parse(rejected.slice('44/admin,'.length)), {
    message: /namespace/,
    data: { code: 'FW_NOT_FOUND' },
  })
  raw.send('40')
  await raw.text(/^40/)
  raw.send('421["nonsense",{}]')
  t.match(await raw.text(/^431/), 'FW_BAD_COMMAND')
  for (let i = 0; i < 20; i++) raw.send(`40/${i}`)
  await raw.closed
  const client = new SocketIoClient(node, { channels: [] })
  clients.push(client)
  const admin = client.socket.io.socket('/admin')
  const error = await new Promise(resolve => admin.once('connect_error', resolve))
  t.match(error, { message: /namespace/, data: { code: 'FW_NOT_FOUND' } })
})

t.test('a session that connects many times at once is closed, and is one client at most', async t => {
  const added = t.capture(node.app.fanwire.clients, 'add', node.app.fanwire.clients.add)
  for (const times of [2, 16, 1000]) {
    const { sid } = JSON.parse((await polls(node)).body.slice(1))
    await post(node, sid, Array(times).fill('40').join('\x1e'))
    await until('it is closed', async () => (await polls(node, sid)).status === 400)
  }
  await until('all have left', () => connections() === 0)
  t.ok(added().length <= 3, `${added().length} clients`)
})

t.test('invalid packets end the connection, and nothing else', async t => {
  const witness = await connect([fresh()])
  const bad: (string | Buffer)[] = [
    '',
    'x',
    '4',
    '49',
    '4x',
    '44{"message":"I am the server"}',
    '42/elsewhere,["subscribe",{}]',
    '451-["publish",{"channel":"a","data":{"_placeholder":true,"num":0}}]x',
    '450-["a"]',
    '45999-["a"]',
    '421-["a"]',
    '40',
    '40[]',
    '40null',
    '40{"pid":',
    Buffer.from([1, 2, 3]),
    Buffer.from('{"a":1}'),
    '2',
    '0',
    '5',
    '4'.repeat(2_000_000),
  ]
  for (const packet of bad) {
    const raw = await handshake()
    raw.send(packet)
    if (typeof packet === 'string' && packet.startsWith('451-')) raw.send('421["subscribe",{}]')
    const over = await Promise.race([
      raw.closed.then(() => true),
      raw
        .send('427["nonsense",{}]')
        .text(/^437/)
        .then(
          () => false,
          () => true,
        ),
    ])
    if (!over) t.match(packet, /^$|^[025]$/, `continued after ${String(packet).slice(0, 40)}`)
    raw.socket.terminate()
  }
  const early = new ByHand(node)
  await early.text(/^0/)
  early.send('42["subscribe",{"channel":"a"}]')
  await early.closed
  t.ok((await witness.ask('subscribe', { channel: fresh() })).ok)
  await until('only the witness is left', () => connections() === 1)
})

t.test('W8: an acknowledgement number has up to 15 digits; a packet with more is rejected', async t => {
  const raw = await handshake()
  raw.send('42123456789012345["nonsense",{}]')
  t.match(await raw.text(/^43/), /^43123456789012345\[\{"error"/)
  raw.send('421234567890123456["nonsense",{}]')
  await raw.closed
})

t.test('events that are not JSON, or carry bytes, get an error', async t => {
  const raw = await handshake()
  for (const [packet, code] of [
    ['421', 'FW_BAD_JSON'],
    ['421[', 'FW_BAD_JSON'],
    ['421{}', 'FW_BAD_JSON'],
    ['421[]', 'FW_BAD_COMMAND'],
    ['421[1,{}]', 'FW_BAD_COMMAND'],
    ['421["subscribe",{"channel":]', 'FW_BAD_JSON'],
    ['421["disconnect",{}]', 'FW_BAD_COMMAND'],
    ['421["emitted",{}]', 'FW_BAD_COMMAND'],
    ['421["error",{}]', 'FW_BAD_COMMAND'],
    [`421[${'['.repeat(100_000)}${']'.repeat(100_000)}]`, 'FW_BAD_COMMAND'],
    [`421["subscribe",{"channel":${'['.repeat(100_000)}${']'.repeat(100_000)}}]`, 'FW_BAD_CHANNEL'],
    ['451-1["publish",{"channel":"a","data":{"_placeholder":true,"num":0}}]', 'FW_BAD_COMMAND'],
  ] as const) {
    raw.send(packet)
    if (packet.startsWith('451-')) raw.send(Buffer.from('bytes'))
    t.match(await raw.text(/^431/), code, packet.slice(0, 40))
  }
  raw.send('431[1]').send('429[2]').send('421["nonsense",{}]')
  t.match(await raw.text(/^431/), 'FW_BAD_COMMAND', 'unexpected acknowledgements are ignored')
})

t.test('clients that connect and disconnect at any moment leave nothing behind', async () => {
  for (let round = 0; round < 3; round++) {
    await Promise.all(
      Array.from({ length: 24 }, async (_, i) => {
        const client = new SocketIoClient(node, { channels: [] }, [WEBSOCKET, POLLING, BOTH][i % 3])
        for (let j = 0; j < 10; j++) client.socket.emit('subscribe', { channel: fresh(), cursor: 'earliest' })
        for (let wait = i % 5; wait > 0; wait--) await setImmediate()
        if (i % 4 > 0) await client.connected()
        if (i % 2 === 0) client.socket.disconnect()
        else client.cut()
      }),
    )
  }
  await until('all clients have left', () => node.hub.stats().readers === 0 && connections() === 0)
})

// Clients that do not read ----------------------------------------------------------------------------------

t.test('the node reads only a bounded amount from a client that posts and never polls', async t => {
  const channel = fresh()
  const sid = await session()
  await post(node, sid, `421["subscribe",{"channel":"${channel}"}]`)
  let answered = 0
  const command = `42${1}["nonsense",{"x":"${'x'.repeat(100)}"}]`
  const body = new Array<string>(1000).fill(command).join('\x1e')
  // The first post is read, because the node cannot know yet that the client does not poll.
  await post(node, sid, body)
  void post(node, sid, body).then(
    () => answered++,
    () => {},
  )
  for (let i = 0; i < 100; i++) await setImmediate()
  t.equal(answered, 0, 'a post waits for the client to poll')
  t.match((await polls(node, sid)).body, /^431\[\{"ok"/)
  let answers = 0
  while (answers < 2000) answers += (await polls(node, sid)).body.split('\x1e').length
  t.equal(answers, 2000)
  await until('the post is answered', () => answered === 1)
})

t.test('the number of packets in a payload is limited', async t => {
  const sid = await session()
  const many = (count: number) => new Array<string>(count).fill('43[]').join('\x1e')
  t.equal((await post(node, sid, many(9000))).status, 200)
  const before = connections()
  await post(node, sid, many(11_000)).catch(() => {})
  await until('it is closed', () => connections() === before - 1)
})

t.test('10,000 commands of a client that does not read are answered once it does', async t => {
  const client = await connect()
  const [socket] = [...node.app.sockets].slice(-1)
  if (socket === undefined) throw new Error('no socket')
  client.pause()
  let most = 0
  const answers: Promise<unknown>[] = []
  const name = 'n'.repeat(110)
  for (let i = 0; i < 10_000; i++) {
    answers.push(new Promise(resolve => client.socket.emit(name, { i }, resolve)))
    if (i % 100 === 0) {
      await setImmediate()
      most = Math.max(most, socket.writableLength)
    }
  }
  t.ok(most < 1024 * 1024, `at most ${most} bytes were queued`)
  client.resume()
  t.equal((await Promise.all(answers)).length, 10_000)
})

t.test('a client that stops polling receives a stall error later, and is cut', async t => {
  const own = await startMemoryNode({ ...ON, STALL: '200ms' })
  t.teardown(() => own.close())
  const channel = fresh()
  const sid = await session(own)
  await post(own, sid, `421["subscribe",{"channel":"${channel}"}]`)
  await own.append(channel, '1')
  await until('it receives a goodbye', () => own.hub.connections.leaving.size === 1)
  t.match((await polls(own, sid)).body, /^431\[\{"ok":/, 'the pending answer arrives first')
  t.match((await polls(own, sid)).body, /^42\["close",\{"code":4001,/)
  await until('it is cut', () => connections(own) === 0)
  const never = await session(own)
  await post(own, never, `421["subscribe",{"channel":"${channel}"}]`)
  await own.append(channel, '1')
  await until('the other receives a goodbye', () => own.hub.connections.leaving.size === 1)
  await until('the other is cut', () => connections(own) === 0)
})

// Stopping --------------------------------------------------------------------------------------------------

t.test('a stopping node sends a goodbye, and its clients reconnect', async t => {
  for (const options of [WEBSOCKET, POLLING, BOTH]) {
    const own = await startMemoryNode(ON)
    t.teardown(() => own.close())
    const channel = fresh()
    const client = await connect([channel], own, options)
    if (options === BOTH) await upgraded(client)
    const reason = new Promise(resolve => client.socket.once('disconnect', resolve))
    const closed = new Promise(resolve => client.socket.once('close', resolve))
    await reading(own, channel)
    const [id] = await own.append(channel, '"last"')
    await own.hub.connections.drain(10)
    t.match(await closed, { code: 1001, reason: /stopping/, retry: Number })
    // Not 'io server disconnect', after which a client does not reconnect.
    t.equal(await reason, 'transport close')
    t.ok(client.log.some(text => text.includes(`"${id}"`)))
    await until('all clients have left', () => connections(own) === 0)
  }
})

t.test('a connection ends at its maximum age, and the client continues with its cursor', async t => {
  const own = await startMemoryNode({ ...ON, MAX_AGE: '300ms', HEARTBEAT: '50ms' })
  t.teardown(() => own.close())
  const channel = fresh()
  for (const options of [WEBSOCKET, POLLING]) {
    const client = new SocketIoClient(
      own,
      { channels: [channel] },
      { ...options, reconnection: true, reconnectionDelay: 10 },
    )
    clients.push(client)
    const seen: string[] = []
    let cursor: string | undefined
    client.socket.on('message', event => {
      cursor = event.id
      seen.push(event.id)
    })
    let connects = 0
    client.socket.on('connect', () => {
      connects++
      client.socket.emit('subscribe', { channel, cursor }, (answer: { ok: { cursor: string } }) => {
        cursor ??= answer.ok.cursor
      })
    })
    await until('it is there', () => cursor !== undefined)
    const ids: string[] = []
    while (connects < 3) {
      ids.push(...(await own.append(channel, '1')))
      await new Promise(resolve => setTimeout(resolve, 5))
    }
    await until('all came', () => seen.length >= ids.length)
    t.strictSame(seen, ids)
    client.socket.disconnect()
  }
})

t.test('a node that is not ready, or stops, accepts no new clients; existing ones continue', async t => {
  const own = await startMemoryNode(ON)
  t.teardown(() => own.close())
  const channel = fresh()
  const there = await connect([channel], own, POLLING)
  own.app.fanwire.health.drain()
  const { status, headers, body } = await polls(own)
  t.equal(status, 503)
  t.ok(headers['retry-after'])
  t.equal(JSON.parse(body).error.code, 'FW_DRAINING')
  const raw = new Raw(own.port).send(handshakeRequest())
  t.match(await raw.until(/\}\}$/), /^HTTP\/1.1 503 [^]*FW_DRAINING/)
  await raw.ended
  const [id] = await own.append(channel, '1')
  t.equal(idOf(await there.event()), id)
})

// Origins, limits, and the rest ------------------------------------------------------------------------------

const handshakeRequest = (headers = '') =>
  'GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\n' +
  `Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n${headers}\r\n`

t.test('a page of a foreign origin may not connect; one of an allowed origin may', async t => {
  const path = '/socket.io/?EIO=4&transport=polling'
  const foreign = await node.get(path, { origin: 'http://elsewhere.example' })
  t.equal(foreign.status, 403)
  t.equal(JSON.parse(foreign.body).error.code, 'FW_FORBIDDEN_ORIGIN')
  t.equal(foreign.headers['access-control-allow-origin'], undefined)
  const own = await node.get(path, { origin: 'http://localhost:5173' })
  t.equal(own.status, 200)
  t.equal(own.headers['access-control-allow-origin'], 'http://localhost:5173')
  const raw = new Raw(node.port).send(handshakeRequest('Origin: http://elsewhere.example\r\n'))
  t.match(await raw.until(/\}\}$/), /^HTTP\/1.1 403 [^]*FW_FORBIDDEN_ORIGIN/)
  await raw.ended
  const page = await connect([], node, { extraHeaders: { origin: 'http://localhost:5173' } })
  t.ok(page.socket.connected)
})

t.test('beyond the connection limit a client receives an error', async t => {
  const own = await startMemoryNode({ ...ON, MAX_CONNECTIONS: '1' })
  t.teardown(() => own.close())
  await connect([], own)
  const { status, body } = await polls(own)
  t.equal(status, 503)
  t.equal(JSON.parse(body).error.code, 'FW_TOO_MANY_CONNECTIONS')
  const raw = new Raw(own.port).send(handshakeRequest())
  t.match(await raw.until(/\}\}$/), /^HTTP\/1.1 503 [^]*FW_TOO_MANY_CONNECTIONS/)
  await raw.ended
})

t.test('polling sessions are limited in number', async t => {
  const own = await startMemoryNode({ ...ON, MAX_CONNECTIONS: '3' })
  t.teardown(() => own.close())
  for (let i = 0; i < 3; i++) t.equal((await polls(own)).status, 200)
  t.equal((await polls(own, '')).status, 503)
  const { status, body } = await polls(own)
  t.equal(status, 503)
  t.equal(JSON.parse(body).error.code, 'FW_TOO_MANY_CONNECTIONS')
})

t.test('invalid requests are answered with an error', async t => {
  const cases: [string, number][] = [
    ['/socket.io/', 400],
    ['/socket.io/?EIO=3&transport=polling', 400],
    ['/socket.io/?EIO=4', 400],
    ['/socket.io/?EIO=4&transport=pigeon', 400],
    ['/socket.io/?EIO=4&transport=webtransport', 400],
    ['/socket.io/?EIO=4&transport=websocket', 426],
    ['/socket.io/?EIO=4&transport=polling&sid=nobody', 400],
    ['/socket.io/?EIO=4&transport=polling&sid=__proto__', 400],
    ['/socket.io/?EIO=4&transport=polling&transport=websocket', 400],
    ['/socket.io/?EIO=4&transport=polling&sid=a&sid=b', 400],
    ['/socket.io/socket.io.js', 404],
    ['/socket.io', 404],
  ]
  for (const [path, status] of cases) t.equal((await node.get(path)).status, status, path)
  const raw = await handshake()
  const { status } = await node.get(`/socket.io/?EIO=4&transport=websocket&sid=x`)
  t.equal(status, 426)
  raw.socket.terminate()
  const sid = await session()
  t.equal((await post(node, sid, 'x'.repeat(1_200_000))).status, 413)
  const put = await fetch(`http://127.0.0.1:${node.port}/socket.io/?EIO=4&transport=polling`, {
    method: 'PUT',
  })
  t.equal(put.status, 405)
  const odd = new Raw(node.port).send(handshakeRequest().replace('transport=websocket', 'transport=polling'))
  await odd.ended
  t.match(odd.text, /^HTTP\/1.1 400 /)
  const stranger = new Raw(node.port).send(handshakeRequest().replace('websocket ', 'websocket&sid=nobody '))
  t.match(await stranger.until(/unknown/), /^HTTP\/1.1 400 /)
  await stranger.ended
})

t.test('packets sent together with the handshake are handled', async t => {
  const frame = (text: string) => {
    const bytes = Buffer.from(text)
    return Buffer.concat([Buffer.from([0x81, 0x80 | bytes.length, 0, 0, 0, 0]), bytes])
  }
  const raw = new Raw(node.port).send(Buffer.concat([Buffer.from(handshakeRequest()), frame('40')]))
  clients.push({ cut: () => raw.close() })
  await raw.until(/40\{"sid"/)
  raw.send(frame('421["nonsense",{}]'))
  t.match(await raw.until(/FW_BAD_COMMAND/), /0\{"sid"[^]*40\{"sid"[^]*431\[/)
})

t.test('with several workers only WebSocket is offered, and this is reported', async t => {
  const own = await startMemoryNode(ON, {}, { workers: 2 })
  t.teardown(() => own.close())
  const { status, body } = await polls(own)
  t.equal(status, 400)
  t.match(JSON.parse(body).error.message, /websocket/)
  t.ok((await connect([fresh()], own)).socket.connected)
})

t.test('the ws wire and other wires work beside Socket.IO', async t => {
  const channel = fresh()
  const target = { channels: [channel] }
  const ws = await new WsClient(node, target).connect(target)
  clients.push(ws)
  const client = await connect([channel], node, BOTH)
  await upgraded(client)
  const ids = await node.append(channel, '1', '2')
  t.same(idsOf(await take(ws, 2)), ids)
  t.same(idsOf(await take(client, 2)), ids)
  const foreign = new WsClient(node, target, { headers: { origin: 'http://elsewhere.example' } })
  t.ok((await foreign.connect(target).catch(error => error)) instanceof Refused)
})

t.test('the metrics count Socket.IO as a wire', async t => {
  const own = await startMemoryNode(ON)
  t.teardown(() => own.close())
  await connect([fresh()], own)
  const { body } = await own.get('/metrics')
  t.match(body, /^fanwire_connections\{wire="socket\.io"\} 1$/m)
  t.match(body, /^fanwire_deliveries_total\{wire="socket\.io"\} \d+$/m)
})

t.test(
  'ids are cursors: events published while a client is disconnected arrive when it reconnects',
  async t => {
    const channel = fresh()
    const client = await connect([channel])
    const [first] = await node.append(channel, '1')
    t.equal(idOf(await client.event()), first)
    client.cut()
    const ids = await node.append(channel, '2', '3')
    t.equal(offsetOf(ids[1] ?? ''), 3)
    const again = await connect()
    t.same(await again.ask('subscribe', { channel, cursor: first }), { ok: { channel, cursor: first } })
    t.same(idsOf(await take(again, 2)), ids)
  },
)
