// What only the ws wire has: frames, commands and how a connection ends. DESIGN.md section 4.3.

import { createHash } from 'node:crypto'
import t, { type Test } from 'tap'
import type { HubOptions } from '../../services/fanout/hub.ts'
import { printPosition } from '../../services/log/position.ts'
import { type Target, WsClient } from '../contract/clients.ts'
import { type Node, type Settings, startMemoryNode, until } from '../contract/node.ts'
import { at, fresh, idOf } from '../contract/wires.ts'
import { Gate } from './scripted-log.ts'
import { Raw } from './raw.ts'

async function nodeWith(t: Test, settings: Settings = {}, options: Partial<HubOptions> = {}): Promise<Node> {
  const node = await startMemoryNode(settings, options)
  t.teardown(() => node.close())
  return node
}

type Options = ConstructorParameters<typeof WsClient>[2]

async function connect(node: Node, target: Partial<Target> = {}, options?: Options): Promise<WsClient> {
  const all = { channels: [], ...target }
  return new WsClient(node, all, options).connect(all)
}

const KEY = 'dGhlIHNhbXBsZSBub25jZQ=='

/** A handshake by hand. */
async function shake(t: Test, node: Node, path = '/v1/ws'): Promise<Raw> {
  const raw = new Raw(node.port)
  t.teardown(() => raw.cut())
  raw.ask(
    `GET ${path} HTTP/1.1`,
    'Host: x',
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    `Sec-WebSocket-Key: ${KEY}`,
    'Sec-WebSocket-Extensions: permessage-deflate',
  )
  await raw.saw(/"open"/)
  return raw
}

/** A frame as a client sends it: masked, unless it should not be. */
function frame(first: number, payload: Uint8Array, masked = true): Buffer {
  const { length } = payload
  const size = length < 126 ? [length] : [126, length >> 8, length & 255]
  size[0] = (size[0] ?? 0) | (masked ? 0x80 : 0)
  return Buffer.concat([Buffer.from([first, ...size]), masked ? Buffer.alloc(4) : Buffer.alloc(0), payload])
}

const TEXT = 0x81

// Connecting ------------------------------------------------------------------------------------------------

t.test('the handshake is RFC 6455 and negotiates no extension', async t => {
  const node = await nodeWith(t)
  const raw = await shake(t, node)
  t.match(raw.head, /^http\/1\.1 101 /)
  const accept = createHash('sha1').update(`${KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')
  t.match(raw.text, `Sec-WebSocket-Accept: ${accept}\r\n`)
  t.notMatch(raw.head, /sec-websocket-extensions/)
})

t.test('channels are optional, and a request that is no handshake is told so', async t => {
  const node = await nodeWith(t)
  const client = await connect(node)
  t.strictSame(client.log, ['{"open":{"cursor":""}}'])
  t.strictSame(await client.ask({ ref: 1, subscribe: 'a' }), {
    ref: 1,
    ok: { channel: 'a', cursor: `${(await node.log.state('a')).head.epoch}-0` },
  })
  const { status, body, headers } = await node.get('/v1/ws')
  t.equal(status, 426)
  t.equal(JSON.parse(body).error.code, 'FW_UPGRADE_REQUIRED')
  t.equal(headers.upgrade, 'websocket')
  client.cut()
})

t.test('where it stands comes first, however early a command', async t => {
  const node = await nodeWith(t)
  const gate = new Gate()
  const follow = node.log.follow.bind(node.log)
  node.log.follow = async (channel, follower) => {
    await gate.pass()
    return follow(channel, follower)
  }
  const client = new WsClient(node, { channels: ['a'] })
  client.socket.on('open', () => {
    client.send({ ref: 1, ping: true })
    client.send('garbage')
    client.send({ ref: 2, publish: { channel: 'b', data: 1 } })
  })
  await until('the channel is opened', () => gate.waiting === 1)
  const stranger = await connect(node)
  await stranger.ask({ ping: true })
  gate.open()
  await until('all is answered', () => client.log.length === 4)
  t.match(client.log[0], /^\{"open":/)
  client.cut()
  stranger.cut()
})

t.test('a node that can not open the channels says: try again', async t => {
  const node = await nodeWith(t, { MAX_FOLLOWED: '1' })
  const first = await connect(node, { channels: ['a'] })
  const second = new WsClient(node, { channels: ['b'] })
  t.match(await second.next(), { close: { code: 1013 } })
  t.match(await first.ask({ ref: 1, subscribe: 'b' }), { ref: 1, error: { code: 'FW_TOO_MANY_FOLLOWED' } })
  await until('only one is left', () => node.hub.stats().wires.ws?.connections === 1)
  first.cut()
})

// Commands --------------------------------------------------------------------------------------------------

t.test('subscribe begins where it is told to, after its ok', async t => {
  const node = await nodeWith(t)
  const client = await connect(node)
  const ids = await node.append('a', '1', '2', '3')
  const epoch = ids[0]?.split('-')[0]
  for (const [cursor, stands, first] of [
    ['earliest', `${epoch}-0`, '1'],
    [ids[1], ids[1], '3'],
    ['zzz-9', 'zzz-9', `gap zzz-9 ${epoch}-0`],
    ['latest', 'head', ''],
    [undefined, 'head', ''],
  ]) {
    const { head } = await node.log.state('a')
    const from = client.log.length
    t.strictSame(
      await client.ask({ ref: 's', subscribe: 'a', ...(cursor === undefined ? {} : { cursor }) }),
      {
        ref: 's',
        ok: { channel: 'a', cursor: stands === 'head' ? printPosition(head) : stands },
      },
    )
    const last = await node.append('a', '"end"')
    await until('all has come', () => client.log.at(-1)?.includes(`"${last[0]}"`) === true)
    const said = client.log.slice(from)
    t.match(said[0], /"ok"/)
    const next = JSON.parse(said[1] ?? '')
    const told = next.gap === undefined ? JSON.stringify(next.data) : `gap ${next.gap.from} ${next.gap.to}`
    t.equal(told, first === '' ? '"end"' : first)
    const left = await client.ask({ unsubscribe: 'a' })
    t.strictSame(left, { ok: { channel: 'a', cursor: last[0] } }, 'unsubscribe says where it stood')
  }
  client.cut()
})

t.test('subscribing and unsubscribing in one breath: nothing comes but between their oks', async t => {
  const node = await nodeWith(t)
  const channel = fresh()
  const client = await connect(node)
  let publishing = true
  const publisher = (async () => {
    while (publishing) {
      await node.append(channel, '1', '2', '3')
      await new Promise(resolve => setImmediate(resolve))
    }
  })()
  const rounds = 60
  for (let i = 0; i < rounds; i++) {
    client.send({ ref: `in ${i}`, subscribe: channel, cursor: i % 2 === 0 ? 'earliest' : 'latest' })
    if (i % 3 === 0) await client.event()
    client.send({ ref: `out ${i}`, unsubscribe: channel })
  }
  await until('all is answered', () => client.log.some(text => text.includes(`"out ${rounds - 1}"`)))
  publishing = false
  await publisher
  client.send({ ref: 'last', ping: true })
  await until('the last is answered', () => client.log.some(text => text.includes('"last"')))
  const refs: string[] = []
  let subscribed = false
  let expected = ''
  for (const text of client.log.slice(1)) {
    const message = JSON.parse(text)
    if (message.channel !== undefined) {
      if (!subscribed) t.fail('an event after the ok of an unsubscribe')
      if (message.id !== expected) t.fail(`${message.id} instead of ${expected}`)
      expected = at(message.id, Number(message.id.split('-')[1]) + 1)
    } else {
      t.ok(message.ok, message.ref)
      refs.push(message.ref)
      subscribed = message.ref.startsWith('in')
      if (subscribed) expected = at(message.ok.cursor, Number(message.ok.cursor.split('-')[1]) + 1)
    }
  }
  const wanted = Array.from({ length: rounds }, (_, i) => [`in ${i}`, `out ${i}`]).flat()
  t.strictSame(refs, [...wanted, 'last'], 'answered in order')
  t.equal(node.hub.readers(channel), 0)
  client.cut()
})

t.test('publish takes the data to the letter', async t => {
  const node = await nodeWith(t)
  const client = await connect(node, { channels: ['a'] })
  for (const [i, data] of [
    '1.0',
    '1e400',
    '{"__proto__":{},"a":1,"a":2}',
    '"\u2028 \\u0000 🙂"',
    '[ 1,\n2 ]',
  ].entries()) {
    const answer = await client.ask(`{"publish" : {"type":"x","data": ${data} ,"channel":"a"},"ref":${i}}`)
    const ok = answer.ok as { channel: string; id: string; time: number }
    t.equal(answer.ref, i)
    t.strictSame(Object.keys(ok), ['channel', 'id', 'time'])
    const event = await client.event()
    t.equal(
      event,
      `{"channel":"a","id":"${ok.id}","time":${ok.time},"type":"x","data":${data.replaceAll('\n', ' ')}}`,
    )
    t.equal(event, (await node.get(`/v1/channels/a/events/${ok.id}`)).body)
  }
  const keyed = { channel: 'a', data: 1, idempotencyKey: 'k' }
  const [one, two] = [await client.ask({ publish: keyed }), await client.ask({ publish: keyed })]
  t.equal((one.ok as { id: string }).id, (two.ok as { id: string }).id)
  const id = idOf(await client.event())
  t.equal((one.ok as { id: string }).id, id)
  await client.ask({ publish: { channel: 'a', data: 2 } })
  t.equal(JSON.parse(await client.event()).data, 2, 'and only once')
  client.cut()
})

t.test('what a command is wrong in is said with its ref and a code, and the connection stays', async t => {
  const node = await nodeWith(t, { MAX_CHANNELS: '3', MAX_BODY: '100' })
  const client = await connect(node, { channels: ['a'] })
  for (const [command, code] of [
    ['{', 'FW_BAD_JSON'],
    ['', 'FW_BAD_JSON'],
    ['null', 'FW_BAD_COMMAND'],
    ['[]', 'FW_BAD_COMMAND'],
    ['"ping"', 'FW_BAD_COMMAND'],
    ['{}', 'FW_BAD_COMMAND'],
    ['{"ref":{},"ping":true}', 'FW_BAD_COMMAND'],
    ['{"ref":null,"ping":true}', 'FW_BAD_COMMAND'],
    [`{"ref":"${'x'.repeat(129)}","ping":true}`, 'FW_BAD_COMMAND'],
    [{ ref: 1, ping: false }, 'FW_BAD_COMMAND'],
    [{ ref: 1, hello: 1 }, 'FW_BAD_COMMAND'],
    ['{"ref":1,"__proto__":{"ping":true}}', 'FW_BAD_COMMAND'],
    [{ ref: 1, ping: true, subscribe: 'b' }, 'FW_BAD_COMMAND'],
    [{ ref: 1, subscribe: 'b', limit: 5 }, 'FW_BAD_COMMAND'],
    [{ ref: 1, subscribe: 'a/b' }, 'FW_BAD_CHANNEL'],
    [{ ref: 1, subscribe: 5 }, 'FW_BAD_CHANNEL'],
    [{ ref: 1, subscribe: 'fanwire:probe' }, 'FW_BAD_CHANNEL'],
    [{ ref: 1, subscribe: ['a', 'b'] }, 'FW_BAD_CHANNEL'],
    [{ ref: 1, subscribe: 'b', cursor: 'x' }, 'FW_BAD_CURSOR'],
    [{ ref: 1, subscribe: 'b', cursor: 5 }, 'FW_BAD_CURSOR'],
    [{ ref: 1, subscribe: 'b', cursor: 'e-1,e-2' }, 'FW_BAD_CURSOR'],
    [{ ref: 1, subscribe: 'a' }, 'FW_ALREADY_SUBSCRIBED'],
    [{ ref: 1, unsubscribe: 'b' }, 'FW_NOT_SUBSCRIBED'],
    [{ ref: 1, unsubscribe: 'b', cursor: 'latest' }, 'FW_BAD_COMMAND'],
    [{ ref: 1, publish: {} }, 'FW_BAD_EVENT'],
    [{ ref: 1, publish: null }, 'FW_BAD_EVENT'],
    [{ ref: 1, publish: { channel: 'a' } }, 'FW_BAD_EVENT'],
    [{ ref: 1, publish: { data: 1 } }, 'FW_BAD_EVENT'],
    [{ ref: 1, publish: { channels: ['a'], data: 1 } }, 'FW_BAD_EVENT'],
    [{ ref: 1, publish: { channel: 'a', data: 1, extra: 1 } }, 'FW_BAD_EVENT'],
    [{ ref: 1, publish: { channel: 'a b', data: 1 } }, 'FW_BAD_CHANNEL'],
    [{ ref: 1, publish: { channel: 'a', data: 1, type: 'gap' } }, 'FW_BAD_TYPE'],
    [{ ref: 1, publish: { channel: 'a', data: 1, idempotencyKey: '' } }, 'FW_BAD_IDEMPOTENCY_KEY'],
    [{ ref: 1, publish: { channel: 'a', data: 'x'.repeat(100) } }, 'FW_TOO_LARGE'],
  ] as const) {
    const answer = await client.ask(command)
    const text = typeof command === 'string' ? command : JSON.stringify(command)
    t.equal(answer.error?.code, code, text.replaceAll(/[{}#]/g, ''))
    if (typeof command === 'object') t.equal(answer.ref, 1)
  }
  t.match(await client.ask({ subscribe: 'b' }), { ok: { channel: 'b' } })
  t.match(await client.ask({ subscribe: 'c' }), { ok: { channel: 'c' } })
  t.match(await client.ask({ subscribe: 'd' }), { error: { code: 'FW_TOO_MANY_CHANNELS' } })
  t.strictSame(await client.ask({ ref: 'p', ping: true }), { ref: 'p', ok: {} })
  client.socket.send(Buffer.from('{"ping":true}'), { binary: true })
  await client.ask({ ping: true })
  t.match(client.log.at(-2), /FW_BAD_COMMAND/, 'a binary message is none')
  t.equal(node.hub.readers('a'), 1, 'nothing has changed')
  client.cut()
})

t.test('publishing needs a key where publishing needs one', async t => {
  const node = await nodeWith(t, { PUBLISH_KEY: 'secret' })
  const publish = { ref: 1, publish: { channel: 'a', data: 1 } }
  const stranger = await connect(node)
  t.match(await stranger.ask(publish), { ref: 1, error: { code: 'FW_UNAUTHORIZED' } })
  t.match(await stranger.ask({ subscribe: 'a' }), { ok: {} }, 'reading does not')
  const known = await connect(node, {}, { headers: { authorization: 'Bearer secret' } })
  t.match(await known.ask(publish), { ref: 1, ok: { channel: 'a' } })
  t.equal(JSON.parse(await stranger.event()).data, 1)
  stranger.cut()
  known.cut()
})

t.test('a page of a foreign origin can not connect', async t => {
  const node = await nodeWith(t)
  const foreign = connect(node, {}, { headers: { origin: 'https://evil.example' } })
  await t.rejects(foreign, { status: 403, code: 'FW_FORBIDDEN_ORIGIN' })
  const local = await connect(node, {}, { headers: { origin: 'http://localhost:5173' } })
  local.cut()
})

// Frames ----------------------------------------------------------------------------------------------------

t.test('messages of every length come whole', async t => {
  const node = await nodeWith(t)
  const client = await connect(node, { channels: ['a'] })
  await node.append('a', '""')
  const bare = (await client.event()).length
  for (const length of [125, 126, 127, 65_535, 65_536, 65_537, 1_000_000]) {
    await node.append('a', `"${'x'.repeat(length - bare)}"`)
    const event = await client.event()
    // Offsets with two digits are a byte longer.
    t.ok(event.length === length || event.length === length + 1, `${event.length}`)
  }
  client.cut()
})

t.test('a connection that breaks the protocol is closed with the code for it', async t => {
  const node = await nodeWith(t, { MAX_BODY: '1KiB' })
  for (const [what, bytes, code] of [
    ['a frame that is not masked', frame(TEXT, Buffer.from('{"ping":true}'), false), 1002],
    ['a reserved bit', frame(0xc1, Buffer.from('x')), 1002],
    ['a reserved opcode', frame(0x83, Buffer.from('x')), 1002],
    ['a continuation of nothing', frame(0x80, Buffer.from('x')), 1002],
    ['a control frame that is too long', frame(0x89, Buffer.alloc(126)), 1002],
    ['text that is not UTF-8', frame(TEXT, Buffer.from([0x22, 0xff, 0x22])), 1007],
  ] as const) {
    const raw = await shake(t, node, '/v1/ws?channel=a')
    const before = raw.bytes.length
    raw.send(bytes)
    await until(`${what} is answered`, () => raw.bytes.length > before || raw.closed)
    t.equal(raw.bytes[before], 0x88, what)
    t.equal(raw.bytes.readUInt16BE(before + 2), code, what)
    raw.cut()
  }
  const large = await connect(node, { channels: ['a'] })
  large.send(`"${'x'.repeat(70 * 1024)}"`)
  t.match(await large.next(), { close: { code: 1009 } })
  await until('all have gone', () => node.hub.stats().readers === 0)
})

t.test('a ping is answered, and a close', async t => {
  const node = await nodeWith(t)
  const client = await connect(node, { channels: ['a'] })
  const pong = new Promise<string>(resolve => client.socket.once('pong', data => resolve(String(data))))
  client.socket.ping('hello')
  t.equal(await pong, 'hello')
  client.socket.close(1000)
  t.match(await client.next(), { close: { code: 1000 } })
  await until('it has left', () => node.hub.stats().readers === 0)
})

t.test('a client that answers no ping is cut, one that does stays', async t => {
  const node = await nodeWith(t, { HEARTBEAT: '200ms' }, { answerWithin: 300 })
  const silent = await connect(node, { channels: ['a'] }, { autoPong: false })
  const answers = await connect(node, { channels: ['a'] })
  t.match(await silent.next(), { close: { code: 1006 } })
  await until('it is gone', () => node.hub.stats().readers === 1)
  await node.append('a', '1')
  await answers.event()
  answers.cut()
})

t.test('when the node stops, each is told to come back', async t => {
  const node = await nodeWith(t)
  const clients = await Promise.all([connect(node, { channels: ['a'] }), connect(node)])
  await node.hub.drain(0)
  for (const client of clients) {
    t.strictSame(await client.next(), { close: { code: 1001, reason: 'the node is stopping' } })
  }
  await until('all have gone', () => node.hub.stats().wires.ws?.connections === 0)
})

t.test('a client that commands without reading the answers costs no memory', async t => {
  const node = await nodeWith(t)
  const client = await connect(node)
  const [socket] = node.app.sockets
  client.pause()
  const count = 45_000
  const ref = 'x'.repeat(128)
  let most = 0
  const watch = setInterval(() => {
    most = Math.max(most, socket?.writableLength ?? 0)
  }, 5)
  t.teardown(() => clearInterval(watch))
  for (let i = 0; i < count; i++) {
    client.send({ ref, unsubscribe: 'a' })
    if (i % 1000 === 0) await new Promise(resolve => setImmediate(resolve))
  }
  await until('the node reads no more of it', () => node.hub.blocked.size === 1)
  t.ok(client.socket.bufferedAmount > 0, 'so it waits at the client')
  client.resume()
  for (let i = 0; i < count; i++) {
    if ((await client.answers.take(5000)).error?.code !== 'FW_NOT_SUBSCRIBED') t.fail('another answer')
  }
  t.ok(most > 0 && most < 1024 * 1024, `at most ${most} bytes were queued`)
  client.cut()
})

t.test('a client that leaves in the middle of a command leaves nothing behind', async t => {
  const node = await nodeWith(t, { LINGER: '50ms' })
  const gate = new Gate()
  const follow = node.log.follow.bind(node.log)
  node.log.follow = async (channel, follower) => {
    await gate.pass()
    return follow(channel, follower)
  }
  const client = await connect(node)
  client.send({ subscribe: 'a' })
  client.send({ subscribe: 'b' })
  await until('the channel is opened', () => gate.waiting === 1)
  client.cut()
  await until('it is gone', () => node.hub.stats().wires.ws?.connections === 0)
  gate.open()
  await until('nothing is left', () => node.hub.stats().channels === 0)
  t.equal(node.hub.stats().readers, 0)
})
