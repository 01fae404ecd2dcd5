// The share of a turn of the event loop that a client gets if it sends as fast as it can.

import { setImmediate as turn } from 'node:timers/promises'
import { deflateRawSync } from 'node:zlib'
import t, { type Test } from 'tap'
import * as library from 'ws'
import { type Node, type Settings, startMemoryNode } from '../../contract/node.ts'
import { until } from '../../support/until.ts'
import type { Raw } from '../http/app.ts'
import { Gate } from '../broker/fanout/scripted-log.ts'
import { codeOf, frame, handshake } from './ws-by-hand.ts'

const TEXT = 0x81
const [PING, PONG] = [0x89, 0x8a]
const SOCKET_IO = '/socket.io/?EIO=4&transport=websocket'

async function nodeWith(t: Test, settings: Settings = {}): Promise<Node> {
  const node = await startMemoryNode({ SOCKET_IO: '1', ...settings })
  t.teardown(() => node.close())
  return node
}

async function open(t: Test, node: Node, headers = ''): Promise<Raw> {
  const raw = handshake(node, '/v1/ws', headers)
  t.teardown(() => raw.close())
  await raw.until(/"open"/)
  return raw
}

async function openSocketIo(t: Test, node: Node): Promise<Raw> {
  const raw = handshake(node, SOCKET_IO)
  t.teardown(() => raw.close())
  raw.send(frame(TEXT, '40'))
  await raw.until(/40\{"sid"/)
  return raw
}

const text = (command: object) => frame(TEXT, JSON.stringify(command))
const many = (count: number, each: (i: number) => Buffer) =>
  Buffer.concat(Array.from({ length: count }, (_, i) => each(i)))

/** Records the parser of each parsed message, in order. */
function watchParsers(t: Test): object[] {
  const { Receiver } = library as unknown as { Receiver: { prototype: NodeJS.EventEmitter } }
  const { prototype } = Receiver
  const { emit } = prototype
  const seen: object[] = []
  prototype.emit = function (event, ...args) {
    if (event === 'message' || event === 'ping' || event === 'pong') seen.push(this)
    return emit.call(this, event, ...args)
  }
  t.teardown(() => Reflect.deleteProperty(prototype, 'emit'))
  return seen
}

const COUNT = 10_000

t.test(
  'S4: while one client has 10,000 messages queued, another is answered after a few of them',
  async t => {
    const node = await nodeWith(t)
    const bystander = await open(t, node)
    const seen = watchParsers(t)
    const floods: Record<string, { open: typeof open; of(i: number): Buffer }> = {
      pings: { open, of: i => text({ ref: i, ping: true }) },
      'text that is not JSON': { open, of: () => frame(TEXT, '{') },
      'subscribe and unsubscribe': {
        open,
        of: i => text({ ref: i, [i % 2 === 0 ? 'subscribe' : 'unsubscribe']: 'a' }),
      },
      'PING frames': { open, of: () => frame(PING, '') },
      'PONG frames': { open, of: () => frame(PONG, '') },
      'Socket.IO commands': {
        open: openSocketIo,
        of: i => frame(TEXT, `42${i}["unsubscribe",{"channel":"a"}]`),
      },
      'Engine.IO packets': { open: openSocketIo, of: () => frame(TEXT, '3') },
    }
    for (const [what, { open, of }] of Object.entries(floods)) {
      const flood = await open(t, node)
      seen.length = 0
      flood.send(many(COUNT, of))
      bystander.send(text({ ref: what, ping: true }))
      await bystander.until(new RegExp(`"${what}"`))
      const before = seen.findIndex(each => each !== seen[0])
      t.ok(before <= 128, `${what}: after ${before === -1 ? 0 : before}`)
      await until(`${what}: all are taken`, () => seen.length === COUNT + 1)
      flood.close()
    }
  },
)

t.test('S4: a fast sender is answered in order, and completely', async t => {
  const node = await nodeWith(t)
  const client = await open(t, node)
  client.send(many(COUNT, i => text({ ref: i, ping: true })))
  await client.until(new RegExp(`"ref":${COUNT - 1},`))
  const refs = [...client.text.matchAll(/"ref":(\d+)/g)].map(([, ref]) => Number(ref))
  t.strictSame(refs, [...refs.keys()])
  t.equal(refs.length, COUNT)
})

t.test('S4: large messages count for more than small ones', async t => {
  const node = await nodeWith(t)
  const [flood, bystander] = [await open(t, node), await open(t, node)]
  const seen = watchParsers(t)
  flood.send(many(400, () => frame(TEXT, 'x'.repeat(16_000))))
  bystander.send(text({ ref: 'me', ping: true }))
  await bystander.until(/"me"/)
  const before = seen.findIndex(each => each !== seen[0])
  t.ok(before <= 8, `after ${before}`)
})

t.test('S2: pending commands are limited in number, however many arrive at once', async t => {
  const node = await nodeWith(t)
  const appended: string[] = []
  const gate = new Gate()
  const append = node.log.append.bind(node.log)
  node.log.append = async (channel, drafts) => {
    await gate.pass()
    appended.push(...drafts.map(({ data }) => data.toString()))
    return append(channel, drafts)
  }
  const publish = (i: number) => text({ ref: i, publish: { channel: 'a', data: i } })
  const [client, leaves] = [await open(t, node), await open(t, node)]
  for (const each of [client, leaves]) {
    const before = gate.waiting
    each.send(many(1000, publish))
    await until('the limit of pending commands is reached', () => gate.waiting >= before + 64)
    for (let i = 0; i < 100; i++) await turn()
    t.ok(gate.waiting <= before + 66, `${gate.waiting - before} of 1,000`)
  }
  leaves.close()
  await until(
    'a client that disconnects meanwhile is released',
    () => node.hub.stats().wires.ws?.connections === 1,
  )
  gate.open()
  await client.until(/"ref":999,/)
  const refs = [...client.text.matchAll(/"ref":(\d+)/g)].map(([, ref]) => Number(ref))
  t.strictSame(refs, [...refs.keys()], 'all commands are answered, in order')
})

t.test('S4: commands in one Socket.IO post are handled in turns, too', async t => {
  const node = await nodeWith(t)
  const base = `http://127.0.0.1:${node.port}/socket.io/?EIO=4&transport=polling`
  const opening = await (await fetch(base)).text()
  const url = `${base}&sid=${JSON.parse(opening.slice(1)).sid}`
  await fetch(url, { method: 'POST', body: '40' })
  const bystander = await open(t, node)
  const order: string[] = []
  const append = node.log.append.bind(node.log)
  node.log.append = async (channel, drafts) => {
    if (order.push(channel) === 1) bystander.send(text({ publish: { channel: 'b', data: 1 } }))
    return append(channel, drafts)
  }
  const packets = Array.from({ length: 3000 }, (_, i) => `42["publish",{"channel":"a","data":${i}}]`)
  const [post] = await Promise.all([
    fetch(url, { method: 'POST', body: packets.join('\x1e') }),
    until('all are appended', () => order.length === 3001),
  ])
  t.equal(post.status, 200)
  t.ok(order.indexOf('b') <= 1000, `after ${order.indexOf('b')} of 3,000`)
  const { body } = await node.get('/v1/poll?channel=a&limit=1000')
  t.strictSame(
    JSON.parse(body).events.map(({ data }: { data: number }) => data),
    [...Array(1000).keys()],
    'in order',
  )
})

t.test('S4: clients without publish rights may only send small messages', async t => {
  const node = await nodeWith(t, { PUBLISH_KEY: 'secret', WS_DEFLATE: '1' })
  const large = JSON.stringify({ ref: 1, publish: { channel: 'a', data: 'x'.repeat(70_000) } })
  const masked = (first: number, payload: Buffer) => {
    const head = Buffer.alloc(14)
    head[0] = first
    head[1] = 0x80 | 127
    head.writeBigUInt64BE(BigInt(payload.length), 2)
    return Buffer.concat([head, payload])
  }
  const key = 'Authorization: Bearer secret\r\n'
  const stranger = await open(t, node)
  stranger.send(masked(TEXT, Buffer.from(large)))
  await stranger.ended
  t.equal(codeOf(stranger.text), 1009)
  const publisher = await open(t, node, key)
  publisher.send(masked(TEXT, Buffer.from(large)))
  t.match(await publisher.until(/"ref":1,/), /"ref":1,"ok"/)

  const deflate = 'Sec-WebSocket-Extensions: permessage-deflate\r\n'
  const deflated = masked(0xc1, deflateRawSync(Buffer.from(large), { finishFlush: 2 }).subarray(0, -4))
  const hidden = await open(t, node, deflate)
  hidden.send(deflated)
  await hidden.ended
  t.equal(codeOf(hidden.text), 1009)
  const compressing = await open(t, node, deflate + key)
  compressing.send(deflated)
  t.match(await compressing.until(/"ref":1,|\x88/), /./)
  t.equal(compressing.socket.closed, false)

  const socketIo = await openSocketIo(t, node)
  socketIo.send(masked(TEXT, Buffer.from(`42["subscribe",{"channel":"${'a'.repeat(70_000)}"}]`)))
  await socketIo.ended
  t.equal(codeOf(socketIo.text), 1009)
  const polls = `http://127.0.0.1:${node.port}/socket.io/?EIO=4&transport=polling`
  const opening = await (await fetch(polls)).text()
  const url = `${polls}&sid=${JSON.parse(opening.slice(1)).sid}`
  t.equal((await fetch(url, { method: 'POST', body: '40' })).status, 200)
  t.equal((await fetch(url, { method: 'POST', body: '4'.repeat(70_000) })).status, 413)
})

t.test('an answer to a heartbeat costs no memory, a flood of them is counted', async t => {
  const node = await nodeWith(t)
  const seen = watchParsers(t)
  const client = await open(t, node)
  const isCounted = () => Object.hasOwn(seen[0] ?? {}, 'startLoop')
  for (const count of [1, 2]) {
    client.send(frame(PONG, ''))
    await until('the PONG is taken', () => seen.length === count)
    t.equal(isCounted(), false)
    await turn()
  }
  client.send(many(3, () => frame(PONG, '')))
  await until('all are taken', () => seen.length === 5)
  t.equal(isCounted(), true)
})
