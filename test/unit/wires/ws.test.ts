// WebSocket, beyond the contract of every wire: commands, frames, and misbehaving clients.

import { once } from 'node:events'
import { setImmediate } from 'node:timers/promises'
import t from 'tap'
import type { WebSocket } from 'ws'
import { queryOf, Refused, type Target, WsClient } from '../../contract/clients.ts'
import { type Node, offsetOf, startMemoryNode } from '../../contract/node.ts'
import { at, fresh, idOf, idsOf, reading, take } from '../../contract/wires.ts'
import { Raw } from '../http/app.ts'
import * as byHand from './ws-by-hand.ts'
import { codeOf, frame } from './ws-by-hand.ts'
import { until } from '../../support/until.ts'

const node = await startMemoryNode()
const keyed = await startMemoryNode({ PUBLISH_KEY: 'sesame', MAX_BODY: '1KiB', MAX_CHANNELS: '5' })
t.teardown(() => Promise.all([node.close(), keyed.close()]))
const clients: { cut(): void }[] = []
t.afterEach(() => {
  for (const client of clients.splice(0)) client.cut()
})

async function connect(
  target: Target = { channels: [] },
  of: Node = node,
  headers: Record<string, string> = {},
): Promise<WsClient> {
  const client = await new WsClient(of, target, { headers }).connect(target)
  clients.push(client)
  return client
}

const connections = (of = node) => of.hub.stats().wires.ws?.connections

async function closeCode(socket: WebSocket): Promise<number> {
  const [code] = await once(socket, 'close')
  return code
}

// Commands --------------------------------------------------------------------------------------------------

t.test('a connection without channels opens with an empty cursor, and follows nothing', async t => {
  const client = await connect()
  t.equal(client.opened, '')
  t.same(client.log, ['{"open":{"cursor":""}}'])
  t.equal(node.hub.stats().readers, 0)
})

t.test('the ok of a subscribe has the cursor, and precedes the first event', async t => {
  const channel = fresh()
  const [first = '', second = '', third = ''] = await node.append(channel, '1', '2', '3')
  let head = third
  const client = await connect()
  for (const cursor of [undefined, 'latest', 'earliest', second, 'zzz-4']) {
    const stands = cursor === undefined || cursor === 'latest' ? head : cursor
    const from = client.log.length
    const asked = await client.ask({ ref: 1, subscribe: channel, cursor })
    t.same(asked, { ref: 1, ok: { channel, cursor: stands === 'earliest' ? at(first, 0) : stands } })
    head = (await node.append(channel, '"next"'))[0] ?? ''
    await until('the event', () => client.log.some(text => text.includes(`"${head}"`)))
    t.match(client.log[from], '"ok"', 'the ok precedes the event')
    t.same(await client.ask({ ref: 2, unsubscribe: channel }), { ref: 2, ok: { channel, cursor: head } })
  }
})

t.test('no event of a channel follows the ok of its unsubscribe', async t => {
  const channel = fresh()
  const client = await connect({ channels: [channel] })
  let publishing = true
  const publisher = (async () => {
    while (publishing) {
      await node.append(channel, '1', '2')
      await setImmediate()
    }
  })()
  for (let i = 0; i < 30; i++) {
    await client.ask({ unsubscribe: channel })
    t.equal(node.hub.readers(channel), 0)
    const after = client.log.length
    await client.ask({ ping: true })
    t.same(client.log.slice(after), ['{"ok":{}}'])
    await client.ask({ subscribe: channel })
    const before = client.log.length
    await until('events', () => client.log.length > before)
  }
  publishing = false
  await publisher
})

t.test('a subscribe with the cursor of the unsubscribe continues there', async t => {
  const channel = fresh()
  const client = await connect()
  let cursor = at((await node.append(channel, '"first"'))[0], 1)
  const seen: string[] = []
  const ids: string[] = []
  for (let i = 0; i < 40; i++) {
    await client.ask({ subscribe: channel, cursor })
    ids.push(...(await node.append(channel, ...new Array<string>(1 + (i % 7)).fill('1'))))
    if (i % 2 === 0) await setImmediate()
    const { ok } = await client.ask({ unsubscribe: channel })
    cursor = (ok as { cursor: string }).cursor
  }
  await client.ask({ subscribe: channel, cursor })
  await until('all', () => client.log.filter(text => text.startsWith('{"channel"')).length >= ids.length)
  for (const text of client.log) if (text.startsWith('{"channel"')) seen.push(idOf(text))
  t.strictSame(seen, ids)
})

t.test('subscribe, unsubscribe and subscribe in one batch are handled in order', async t => {
  const channel = fresh()
  const [first] = await node.append(channel, '1', '2')
  const client = await connect()
  for (let i = 0; i < 20; i++) {
    client.send({ ref: 'a', subscribe: channel, cursor: 'earliest' })
    client.send({ ref: 'b', unsubscribe: channel })
    client.send({ ref: 'c', subscribe: channel, cursor: first })
    client.send({ ref: 'd', subscribe: channel })
    const answers = [1, 2, 3, 4].map(() => client.answers.take())
    const got = await Promise.all(answers)
    t.same(
      got.map(each => each.ref),
      ['a', 'b', 'c', 'd'],
    )
    t.same(
      got.map(each => each.ok !== undefined),
      [true, true, true, false],
    )
    t.equal(got[3]?.error?.code, 'FW_ALREADY_SUBSCRIBED')
    t.match(got[2]?.ok, { channel, cursor: first })
    t.equal(node.hub.readers(channel), 1)
    await client.ask({ ref: 'e', unsubscribe: channel })
    t.equal(node.hub.readers(channel), 0)
  }
})

t.test('a client that disconnects in the middle of its commands leaves nothing behind', async () => {
  for (let i = 0; i < 30; i++) {
    const client = await connect({ channels: [fresh()] })
    for (let j = 0; j < 20; j++) client.send({ subscribe: fresh(), cursor: 'earliest' })
    if (i % 3 === 0) await setImmediate()
    if (i % 3 === 1) await client.answers.take()
    if (i % 2 === 0) client.cut()
    else client.socket.close()
  }
  await until('all clients have left', () => node.hub.stats().readers === 0 && connections() === 0)
  await until('no socket is left', () => node.app.sockets.size === 0)
})

t.test('ping is answered', async t => {
  const client = await connect()
  t.same(await client.ask({ ref: 4, ping: true }), { ref: 4, ok: {} })
})

t.test('the ref is returned unchanged, and only if sent', async t => {
  const client = await connect()
  for (const ref of ['1', '-1', '0.5', '1e3', '""', '"x"', `"${'x'.repeat(128)}"`, '"\\u0000\\n"', '"ł🙂"']) {
    const answer = await client.ask(`{"ref":${ref},"ping":true}`)
    t.same(answer, { ref: JSON.parse(ref), ok: {} })
    t.match(await client.ask(`{"ref":${ref},"ping":1}`), {
      ref: JSON.parse(ref),
      error: { code: 'FW_BAD_COMMAND' },
    })
  }
  t.same(await client.ask({ ping: true }), { ok: {} })
  for (const ref of ['null', 'true', '{}', '[1]', `"${'x'.repeat(129)}"`, '1e999']) {
    const answer = await client.ask(`{"ref":${ref},"ping":true}`)
    t.equal(answer.error?.code, 'FW_BAD_COMMAND', ref)
    t.notOk('ref' in answer)
  }
})

t.test('an invalid command gets an error with a code, and the connection continues', async t => {
  const channel = fresh()
  const client = await connect({ channels: [channel] })
  const wrong: [string | Buffer, string][] = [
    ['', 'FW_BAD_JSON'],
    ['garbage', 'FW_BAD_JSON'],
    ['{"ping":true', 'FW_BAD_JSON'],
    ['\0', 'FW_BAD_JSON'],
    ['null', 'FW_BAD_COMMAND'],
    ['1', 'FW_BAD_COMMAND'],
    ['"ping"', 'FW_BAD_COMMAND'],
    ['[]', 'FW_BAD_COMMAND'],
    ['[{"ping":true}]', 'FW_BAD_COMMAND'],
    ['{}', 'FW_BAD_COMMAND'],
    ['{"ref":1}', 'FW_BAD_COMMAND'],
    ['{"ping":false}', 'FW_BAD_COMMAND'],
    ['{"ping":true,"more":1}', 'FW_BAD_COMMAND'],
    ['{"__proto__":{"ping":true}}', 'FW_BAD_COMMAND'],
    ['{"ping":true,"__proto__":1}', 'FW_BAD_COMMAND'],
    ['{"constructor":1}', 'FW_BAD_COMMAND'],
    ['{"toString":1,"ping":true}', 'FW_BAD_COMMAND'],
    [Buffer.from('{"ping":true}'), 'FW_BAD_COMMAND'],
    [Buffer.from([0xff, 0x00]), 'FW_BAD_COMMAND'],
    ['{"subscribe":1}', 'FW_BAD_CHANNEL'],
    ['{"subscribe":""}', 'FW_BAD_CHANNEL'],
    ['{"subscribe":["a"]}', 'FW_BAD_CHANNEL'],
    ['{"subscribe":"a b"}', 'FW_BAD_CHANNEL'],
    ['{"subscribe":"a\\n"}', 'FW_BAD_CHANNEL'],
    ['{"subscribe":"fanwire:probe"}', 'FW_BAD_CHANNEL'],
    [`{"subscribe":"${channel}"}`, 'FW_ALREADY_SUBSCRIBED'],
    ['{"subscribe":"a","cursor":5}', 'FW_BAD_CURSOR'],
    ['{"subscribe":"a","cursor":null}', 'FW_BAD_CURSOR'],
    ['{"subscribe":"a","cursor":"x"}', 'FW_BAD_CURSOR'],
    ['{"subscribe":"a","cursor":"a-1,b-2"}', 'FW_BAD_CURSOR'],
    ['{"subscribe":"a","channel":"b"}', 'FW_BAD_COMMAND'],
    ['{"subscribe":"a","unsubscribe":"a"}', 'FW_BAD_COMMAND'],
    ['{"unsubscribe":"nobody"}', 'FW_NOT_SUBSCRIBED'],
    ['{"unsubscribe":null}', 'FW_BAD_CHANNEL'],
    ['{"unsubscribe":"a","cursor":"latest"}', 'FW_BAD_COMMAND'],
    ['{"publish":1}', 'FW_BAD_EVENT'],
    ['{"publish":null}', 'FW_BAD_EVENT'],
    ['{"publish":[]}', 'FW_BAD_EVENT'],
    ['{"publish":{}}', 'FW_BAD_EVENT'],
    ['{"publish":{"channel":"b"}}', 'FW_BAD_EVENT'],
    ['{"publish":{"data":1}}', 'FW_BAD_EVENT'],
    ['{"publish":{"channels":["b"],"data":1}}', 'FW_BAD_EVENT'],
    ['{"publish":{"channel":"b","data":1,"data":2}}', 'FW_BAD_EVENT'],
    ['{"publish":{"channel":"b","data":1,"__proto__":1}}', 'FW_BAD_EVENT'],
    ['{"publish":{"channel":"b c","data":1}}', 'FW_BAD_CHANNEL'],
    ['{"publish":{"channel":"b","data":1,"type":"gap"}}', 'FW_BAD_TYPE'],
    ['{"publish":{"channel":"b","data":1,"type":"a\\r\\nb"}}', 'FW_BAD_TYPE'],
    ['{"publish":{"channel":"b","data":1,"idempotencyKey":""}}', 'FW_BAD_IDEMPOTENCY_KEY'],
    ['{"publish":{"channel":"b","data":1,"priority":"urgent"}}', 'FW_BAD_EVENT'],
    ['{"publish":{"channel":"b","data":1},"ping":true}', 'FW_BAD_COMMAND'],
    ['{"publish":{"channel":"b","data":1},"publish":{"channel":"b","data":2}}', 'FW_BAD_COMMAND'],
  ]
  for (const [message, code] of wrong) {
    client.socket.send(message)
    const answer = await client.answers.take()
    t.equal(answer.error?.code, code, String(message))
    t.ok(answer.error?.message)
    t.equal(answer.ok, undefined)
  }
  const [id] = await node.append(channel, '1')
  t.equal(idOf(await client.event()), id)
  t.equal(node.hub.readers('a'), 0)
})

t.test('a publish works as over HTTP, and keeps the data byte for byte', async t => {
  const channel = fresh()
  const client = await connect({ channels: [channel] })
  for (const [data, kept] of [
    ['1.0', '1.0'],
    ['-0', '-0'],
    ['12345678901234567890', '12345678901234567890'],
    ['{"a":1,"a":2,"__proto__":{}}', '{"a":1,"a":2,"__proto__":{}}'],
    ['{ "a":\r\n1 }', '{ "a":  1 }'],
    ['"\\ud800 \u2028 ł 🙂"', '"\\ud800 \u2028 ł 🙂"'],
    ['null', 'null'],
  ] as const) {
    client.send(` { "ref":3, "publish" : {"data": ${data} ,"type":"post","channel":"${channel}"}}`)
    const { ref, ok } = await client.answers.take()
    const { id, time } = ok as { id: string; time: number }
    t.equal(ref, 3)
    t.strictSame(ok, { channel, id, time })
    t.equal(
      await client.event(),
      `{"channel":"${channel}","id":"${id}","time":${time},"type":"post","data":${kept}}`,
    )
  }
})

t.test('publish with a used key is a replay, and appends nothing', async t => {
  const channel = fresh()
  const client = await connect()
  const publish = { channel, data: 1, idempotencyKey: 'k1' }
  const first = await client.ask({ ref: 1, publish })
  const again = await client.ask({ ref: 2, publish: { ...publish, data: 'other' } })
  t.match(again, { ref: 2, ok: { ...first.ok, replayed: true } })
  t.notMatch(first.ok, { replayed: true })
  const other = await client.ask({ publish: { ...publish, idempotencyKey: 'k2' } })
  t.equal(offsetOf((other.ok as { id: string }).id), 2)
})

t.test('publishes of one client keep their order', async t => {
  const channel = fresh()
  const client = await connect({ channels: [channel] })
  for (let i = 0; i < 500; i++) client.send({ ref: i, publish: { channel, data: i } })
  const events = await take(client, 500)
  t.strictSame(
    events.map(event => JSON.parse(event).data),
    Array.from({ length: 500 }, (_, i) => i),
  )
})

t.test('publish needs a configured key; other commands do not', async t => {
  const channel = fresh()
  const publish = { channel, data: 1 }
  const wrong = { authorization: 'Bearer wrong' }
  await t.rejects(connect({ channels: [] }, keyed, wrong), /FW_UNAUTHORIZED/, 'before the handshake')
  for (const headers of [{}, { authorization: 'sesame' }]) {
    const client = await connect({ channels: [] }, keyed, headers as Record<string, string>)
    t.equal((await client.ask({ publish })).error?.code, 'FW_UNAUTHORIZED')
    t.ok((await client.ask({ subscribe: channel })).ok)
  }
  const client = await connect({ channels: [] }, keyed, { authorization: 'Bearer sesame' })
  t.ok((await client.ask({ publish })).ok)
  const large = await client.ask({ ref: 1, publish: { channel, data: 'x'.repeat(2000) } })
  t.match(large, { ref: 1, error: { code: 'FW_TOO_LARGE' } })
})

t.test('the number of channels of a connection is limited, and one more is rejected', async t => {
  const client = await connect({ channels: [fresh(), fresh()] }, keyed)
  const channels = Array.from({ length: 3 }, fresh)
  for (const channel of channels) t.ok((await client.ask({ subscribe: channel })).ok)
  const extra = fresh()
  t.equal((await client.ask({ subscribe: extra })).error?.code, 'FW_TOO_MANY_CHANNELS')
  await client.ask({ unsubscribe: channels[0] })
  t.ok((await client.ask({ subscribe: extra })).ok)
  const ids = await Promise.all([...channels.slice(1), extra].map(each => keyed.append(each, '1')))
  await until('all three', () => client.log.filter(text => text.startsWith('{"channel"')).length === 3)
  const got = client.log.filter(text => text.startsWith('{"channel"'))
  t.same(new Set(idsOf(got)), new Set(ids.flat()))
})

t.test('a channel that cannot be opened is reported in the answer to its command', async t => {
  const own = await startMemoryNode({ MAX_FOLLOWED: '1' })
  t.teardown(() => own.close())
  const client = await connect({ channels: [fresh()] }, own)
  t.equal((await client.ask({ subscribe: fresh() })).error?.code, 'FW_TOO_MANY_FOLLOWED')
  const { socket } = new WsClient(own, { channels: [fresh()] })
  t.equal(
    await closeCode(socket),
    1013,
    'the connection closes with 1013 (retry later) if its URL names the channel',
  )
})

// Reading ---------------------------------------------------------------------------------------------------

t.test('readers at one cursor get identical bytes, of whatever size', async t => {
  const channel = fresh()
  const query = queryOf({ channels: [channel] })
  const raws = [1, 2].map(() => handshake(node, `/v1/ws?${query}`))
  clients.push(...raws.map(raw => ({ cut: () => raw.close() })))
  await Promise.all(raws.map(raw => raw.until(/"open"[^]*\}\}/)))
  const client = await connect({ channels: [channel] })
  // The object around the data adds to the length: these sizes cover every boundary of the frame's length.
  const [probe] = await node.append(channel, '""')
  const around = (await client.event()).length - 2
  const range = (from: number) => Array.from({ length: 12 }, (_, i) => from + i)
  const aims = [...range(120), ...range(65530), 200_000]
  for (const aim of aims) await node.append(channel, `"${'x'.repeat(Math.max(0, aim - around - 2))}"`)
  const lengths = new Set((await take(client, aims.length)).map(event => event.length))
  for (const length of [125, 126, 127, 65535, 65536]) t.ok(lengths.has(length), `one of ${length} bytes`)
  const last = await node.append(channel, '"the end"')
  await Promise.all(raws.map(raw => raw.until(/"the end"\}/)))
  const [one, other] = raws.map(raw => raw.text.slice(raw.text.indexOf(`"${probe}"`)))
  t.equal(one, other)
  t.equal(idOf(await client.event()), last[0])
})

t.test('a stopping node closes its connections with 1001, which means reconnect', async t => {
  const own = await startMemoryNode()
  t.teardown(() => own.close())
  const channel = fresh()
  const client = await connect({ channels: [channel] }, own)
  const quiet = await connect({ channels: [] }, own)
  await own.append(channel, '1')
  await client.event()
  const closed = Promise.all([closeCode(client.socket), closeCode(quiet.socket)])
  await own.hub.connections.drain(10)
  t.same(await closed, [1001, 1001])
  t.match(client.log.at(-1), '"data":1')
  await until('all clients have left', () => connections(own) === 0 && own.app.sockets.size === 0)
})

t.test(
  '10,000 pings of a client that does not read are answered once it reads; until then its input is paused',
  async t => {
    const client = await connect()
    const [socket] = [...node.app.sockets].slice(-1)
    if (socket === undefined) throw new Error('no socket')
    client.pause()
    const count = 10_000
    // Long enough that the kernel cannot buffer all unread data.
    const ref = 'r'.repeat(110)
    let most = 0
    for (let i = 0; i < count; i++) {
      client.send(`{"ref":"${ref}${i}","ping":true}`)
      if (i % 100 === 0) {
        await setImmediate()
        most = Math.max(most, socket.writableLength)
      }
    }
    for (let i = 0; i < 100; i++) {
      await setImmediate()
      most = Math.max(most, socket.writableLength)
    }
    t.ok(most < 1024 * 1024, `at most ${most} bytes were queued`)
    client.resume()
    const refs: unknown[] = []
    for (let i = 0; i < count; i++) refs.push((await client.answers.take()).ref)
    t.strictSame(
      refs,
      Array.from({ length: count }, (_, i) => `${ref}${i}`),
    )
  },
)

t.test('endless ping frames use only bounded memory, too', async t => {
  const client = await connect()
  const [socket] = [...node.app.sockets].slice(-1)
  if (socket === undefined) throw new Error('no socket')
  client.pause()
  const payload = Buffer.alloc(125, 'p')
  let most = 0
  let stuck = 0
  // Until the node stops reading, or far more was sent than kernels buffer.
  for (let i = 0; i < 200_000 && stuck < 500 && client.socket.readyState === 1; i++) {
    client.socket.ping(payload)
    if (i % 200 === 0) {
      await setImmediate()
      most = Math.max(most, socket.writableLength)
      stuck = client.socket.bufferedAmount > 1024 * 1024 ? stuck + 100 : 0
    }
  }
  t.ok(most < 1024 * 1024, `at most ${most} bytes were queued`)
  if (client.socket.readyState === 1) {
    let pongs = 0
    client.socket.on('pong', () => pongs++)
    client.resume()
    await until('pongs come', () => pongs > 1000)
    client.send({ ref: 1, ping: true })
    t.same(await client.answers.take(), { ref: 1, ok: {} })
  }
})

t.test('commands in flight are bounded too, and do not delay other clients', async t => {
  const own = await startMemoryNode()
  t.teardown(() => own.close())
  let appending = 0
  let most = 0
  let open = false
  const append = own.log.append.bind(own.log)
  own.log.append = async (channel, drafts) => {
    most = Math.max(most, ++appending)
    while (!open) await setImmediate()
    appending--
    return append(channel, drafts)
  }
  const channel = fresh()
  const client = await connect({ channels: [channel] }, own)
  const data = 'x'.repeat(10_000)
  for (let i = 0; i < 1000; i++) client.send({ ref: i, publish: { channel, data } })
  await until('many are under way', () => appending >= 50)
  for (let i = 0; i < 100; i++) await setImmediate()
  t.ok(most <= 200, `${most} at a time`)
  const other = await connect({ channels: [] }, own)
  t.ok((await other.ask({ ping: true })).ok)
  open = true
  const refs: unknown[] = []
  for (let i = 0; i < 1000; i++) refs.push((await client.answers.take()).ref)
  t.equal(new Set(refs).size, 1000)
})

// Frames ----------------------------------------------------------------------------------------------------

/** Opens a WebSocket that sends raw frames. */
function handshake(of: Node, path?: string, headers?: string): Raw {
  const raw = byHand.handshake(of, path, headers)
  clients.push({ cut: () => raw.close() })
  return raw
}

t.test('invalid frames end the connection with the matching code', async t => {
  const cases: [string, Buffer, number][] = [
    ['unmasked', frame(0x81, '{"ping":true}', false), 1002],
    ['a reserved bit', frame(0xc1, '{"ping":true}'), 1002],
    ['an unknown opcode', frame(0x83, 'x'), 1002],
    ['an unknown control opcode', frame(0x8b, 'x'), 1002],
    ['a continuation of nothing', frame(0x80, 'x'), 1002],
    ['a message within a message', Buffer.concat([frame(0x01, '{'), frame(0x81, '}')]), 1002],
    ['a fragmented control frame', frame(0x09, 'x'), 1002],
    ['a long control frame', frame(0x89, 'x'.repeat(126)), 1002],
    ['a close of one byte', frame(0x88, 'x'), 1002],
    ['a close with a bad code', frame(0x88, Buffer.from([0x03, 0xed])), 1002],
    ['a close that is not UTF-8', frame(0x88, Buffer.from([0x03, 0xe8, 0xff])), 1007],
    ['text that is not UTF-8', frame(0x81, Buffer.from([0x22, 0xff, 0x22])), 1007],
    ['half a character', frame(0x81, Buffer.from([0x22, 0xc3])), 1007],
    ['a good close', frame(0x88, Buffer.from([0x03, 0xe8])), 1000],
    [
      'too large',
      Buffer.concat([Buffer.from([0x81, 0xff, 0, 0, 0, 0, 0, 0x20, 0, 0]), Buffer.alloc(4)]),
      1009,
    ],
    [
      'a length near 2^64 bytes',
      Buffer.concat([Buffer.from([0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]), Buffer.alloc(4)]),
      1009,
    ],
  ]
  for (const [what, bytes, code] of cases) {
    const channel = fresh()
    const raw = handshake(node, `/v1/ws?channel=${channel}`)
    await raw.until(/"open"[^]*\}\}/)
    raw.send(bytes)
    // oxlint-disable-next-line no-control-regex
    const text = await raw.until(/\}\}[^]*\x88[\x02-\x7d][^][^]/)
    t.equal(codeOf(text), code, what)
    // Nothing may follow a close frame.
    const length = raw.text.length
    await node.append(channel, '"after the close"')
    raw.close()
    t.equal(raw.text.length, length)
  }
  await until('all clients have left', () => connections() === 0 && node.hub.stats().readers === 0)
})

t.test('a message may come in fragments, with control frames between, and byte by byte', async t => {
  const raw = handshake(node)
  await raw.until(/"open"[^]*\}\}/)
  raw.send(
    Buffer.concat([
      frame(0x01, '{"ref":"'),
      frame(0x89, 'are you there'),
      frame(0x00, ''),
      frame(0x00, 'pieces","pi'),
      frame(0x80, 'ng":true}'),
    ]),
  )
  const text = await raw.until(/"pieces","ok":\{\}\}/)
  t.match(text, '\x8a\x0dare you there')
  for (const byte of frame(0x81, '{"ref":"byte by byte","ping":true}')) {
    raw.send(Buffer.from([byte]))
    await setImmediate()
  }
  t.match(await raw.until(/"byte by byte","ok":\{\}\}/), '"byte by byte"')
})

t.test('commands sent together with the handshake are answered, after the opening', async t => {
  const channel = fresh()
  const raw = new Raw(node.port).send(
    Buffer.concat([
      Buffer.from(
        `GET /v1/ws?channel=${channel} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
          'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
      ),
      frame(0x81, '{"ref":1,"ping":true}'),
      frame(0x81, `{"ref":2,"unsubscribe":"${channel}"}`),
    ]),
  )
  clients.push({ cut: () => raw.close() })
  const text = await raw.until(/"ref":2[^]*\}\}/)
  t.match(text, /"open"[^]*"ref":1[^]*"ref":2,"ok"/)
})

t.test('a client that ends its side without a close frame is released', async () => {
  const channel = fresh()
  for (const end of ['end', 'resetAndDestroy', 'destroy'] as const) {
    const raw = handshake(node, `/v1/ws?channel=${channel}`)
    await raw.until(/"open"/)
    await reading(node, channel)
    raw.socket[end]()
    await until(`${end}: all readers have left`, () => node.hub.readers(channel) === 0 && connections() === 0)
    raw.close()
  }
})

t.test('connections that open and close at any moment leave nothing behind', async t => {
  const channel = fresh()
  const witness = await connect({ channels: [channel] })
  const ids: string[] = []
  const ways: ((raw: Raw) => unknown)[] = [
    raw => raw.close(),
    raw => raw.socket.end(),
    raw => raw.socket.resetAndDestroy(),
    raw => raw.send(frame(0x88, Buffer.from([0x03, 0xe8]))).socket.end(),
    raw => raw.send(frame(0x81, '{"subscribe":"somewhere"}')).close(),
    raw => raw.send('garbage'.repeat(100)),
    raw => raw.until(/101/).then(() => raw.socket.resetAndDestroy()),
    raw => raw.until(/"open"/).then(() => raw.send(frame(0x81, '{', false))),
    raw => raw.until(/"open"/).then(() => raw.send(frame(0x89, 'x')).socket.end()),
  ]
  for (let round = 0; round < 3; round++) {
    await Promise.all(
      Array.from({ length: 70 }, async (_, i) => {
        for (let wait = i % 4; wait > 0; wait--) await setImmediate()
        const raw = handshake(node, `/v1/ws?channel=${channel}`)
        await ways[i % ways.length]?.(raw)
        ids.push(...(await node.append(channel, `"${'x'.repeat(i * 10)}"`)))
        await setImmediate()
        raw.close()
      }),
    )
  }
  t.same(idsOf(await take(witness, ids.length)), ids)
  await until('only the witness is left', () => connections() === 1 && node.hub.stats().readers === 1)
  await until('only its socket is left', () => node.app.sockets.size === 1)
})

// The handshake ---------------------------------------------------------------------------------------------

t.test('a plain GET is answered with 426', async t => {
  const { status, headers, body } = await node.get(`/v1/ws?channel=${fresh()}`)
  t.equal(status, 426)
  t.equal(headers.upgrade, 'websocket')
  t.equal(JSON.parse(body).error.code, 'FW_UPGRADE_REQUIRED')
})

t.test('a page of a foreign origin may not connect; one of an allowed origin may', async t => {
  const target = { channels: [] }
  const foreign = new WsClient(node, target, { headers: { origin: 'http://elsewhere.example' } })
  const refused = await foreign.connect(target).catch(error => error)
  t.ok(refused instanceof Refused)
  t.equal(refused.status, 403)
  t.equal(refused.code, 'FW_FORBIDDEN_ORIGIN')
  const own = await connect(target, node, { origin: 'http://localhost:5173' })
  t.ok((await own.ask({ ping: true })).ok)
})

t.test('errors in the request are reported before the handshake', async t => {
  for (const [query, code] of [
    ['channel=a%20b', 'FW_BAD_CHANNEL'],
    ['cursor=x', 'FW_BAD_CURSOR'],
    ['token=x', 'FW_BAD_PARAMETER'],
  ]) {
    const text = await handshake(node, `/v1/ws?${query}`).until(/"message"[^]*\}\}/)
    t.match(text, /^HTTP\/1\.1 400 /)
    t.match(text, `"code":"${code}"`)
  }
})

t.test('no extension is negotiated, since frames are shared', async t => {
  const raw = handshake(
    node,
    '/v1/ws',
    'Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n',
  )
  t.notMatch(await raw.until(/"open"/), /sec-websocket-extensions/i)
})
