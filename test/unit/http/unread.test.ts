// Clients that do not read their responses: the node cuts them, since it holds what they do not read.

import { once } from 'node:events'
import { type ClientHttp2Session, connect } from 'node:http2'
import type { Socket } from 'node:net'
import t, { type Test } from 'tap'
import { acceptedBytes } from '../../../services/http/node/queued-bytes.ts'
import { makeCertificate } from '../../contract/http2.ts'
import { startMemoryNode, type Node, type Settings } from '../../contract/node.ts'
import { fresh } from '../../contract/wires.ts'
import { until } from '../../support/until.ts'
import { get, RawSession } from '../http2/by-hand.ts'
import { Raw } from './app.ts'

const { cert, key } = makeCertificate()
const HOST = 'Host: 127.0.0.1\r\n'
const STALL_MS = 30_000

async function nodeWith(t: Test, settings: Settings): Promise<Node> {
  const node = await startMemoryNode(settings)
  t.teardown(() => node.close())
  return node
}

/** Begins a connection whose client does not read. */
function paused(t: Test, { port, secure }: Node): Raw {
  const raw = new Raw(port, { secure })
  raw.socket.pause()
  t.teardown(() => raw.close())
  return raw
}

/** Fills a channel with 4 MiB. */
async function fill({ append }: Node, channel: string): Promise<void> {
  await append(channel, ...Array.from({ length: 64 }, () => `"${'x'.repeat(64_000)}"`))
}

const poll = (channel: string) => `GET /v1/poll?channel=${channel}&limit=1000 HTTP/1.1\r\n${HOST}\r\n`

/** Requests more than the kernel holds for a client. Returns the node's socket once bytes wait in the node. */
async function unread({ app }: Node, raw: Raw, channel: string): Promise<Socket> {
  const begun = once(app.server, 'request')
  raw.send(poll(channel).repeat(8))
  const [{ socket }] = (await begun) as [{ readonly socket: Socket }]
  await until('bytes wait', () => socket.writableLength > 0)
  return socket
}

/** Checks all connections as the node does, at this time. */
function check({ app }: Node, now: number): void {
  for (const connection of app.protocols.checked) connection.check(now, STALL_MS)
}

for (const [name, settings] of Object.entries({ plain: {}, TLS: { TLS_CERT: cert, TLS_KEY: key } })) {
  t.test(`clients that do not read their responses are cut, ${name}`, async t => {
    const node = await nodeWith(t, { STALL: '200ms', ...settings })
    const channel = fresh()
    await fill(node, channel)
    for (let i = 0; i < 3; i++) await unread(node, paused(t, node), channel)
    await until('all are cut', () => node.app.sockets.size === 0)
    t.equal(node.app.protocols.underWay, 0)
    t.equal(node.app.protocols.checked.size, 0)
  })

  t.test(`a client that reads slowly stays until it stops, ${name}`, async t => {
    const node = await nodeWith(t, { STALL: '1d', ...settings })
    const channel = fresh()
    await fill(node, channel)
    const raw = paused(t, node)
    const socket = await unread(node, raw, channel)
    const { socket: client } = raw
    for (let round = 1; round <= 3; round++) {
      check(node, round * STALL_MS)
      const before = acceptedBytes(socket)
      client.resume()
      await until('the client reads some', () => acceptedBytes(socket) > before)
      client.pause()
    }
    check(node, 4 * STALL_MS)
    await until('bytes wait', () => socket.writableLength > 0)
    t.notOk(socket.destroyed, 'it read something each time')
    // What the kernel still accepts counts as read.
    for (let round = 5; !socket.destroyed && round < 100; round++) {
      await new Promise(resolve => setImmediate(resolve))
      check(node, round * STALL_MS)
    }
    t.ok(socket.destroyed)
  })
}

t.test('a client that sends a body meanwhile stays', async t => {
  const node = await nodeWith(t, { STALL: '1d' })
  const channel = fresh()
  await fill(node, channel)
  const raw = paused(t, node)
  const socket = await unread(node, raw, channel)
  check(node, 0)
  const { bytesRead } = socket
  raw.send(`POST /v1/channels/${channel}/events HTTP/1.1\r\n${HOST}Content-Length: 10\r\n\r\n`)
  await until('it arrives', () => socket.bytesRead > bytesRead)
  check(node, STALL_MS)
  t.notOk(socket.destroyed)
})

t.test('clients that have nothing to read stay: held polls, idle connections and slow bodies', async t => {
  const node = await nodeWith(t, { STALL: '1d' })
  const held = new Raw(node.port).send(`GET /v1/long-poll?channel=a&wait=55 HTTP/1.1\r\n${HOST}\r\n`)
  const idle = new Raw(node.port).send(poll('a'))
  const slow = new Raw(node.port).send(
    `POST /v1/channels/a/events HTTP/1.1\r\n${HOST}Content-Type: application/json\r\nContent-Length: 6\r\n\r\n"s`,
  )
  await until('one waits', () => node.hub.readers('a') === 1)
  await idle.until(/cursor/)
  await until('two requests are in flight', () => node.app.protocols.underWay === 2)
  for (let round = 0; round < 10; round++) check(node, round * STALL_MS)
  slow.send('low"')
  await slow.until(/201 Created/)
  t.match(await held.until(/"slow"/), '"slow"')
  t.match(await idle.send(poll('a')).until(/"slow"/), '"slow"')
  for (const raw of [held, idle, slow]) raw.close()
})

t.test('a stream leaves this check to the fan-out, which tells its client why it is closed', async t => {
  const node = await nodeWith(t, { STALL: '1d' })
  const raw = new Raw(node.port).send(`GET /v1/stream?channel=a HTTP/1.1\r\n${HOST}\r\n`)
  await raw.until(/open/)
  await until('it is left', () => node.app.protocols.checked.size === 0)
  t.equal(node.hub.readers('a'), 1)
  raw.close()
})

t.test('HTTP/2: streams that are not read are cut, however active their session is', async t => {
  const node = await nodeWith(t, { STALL: '200ms', HEARTBEAT: '20ms', H2C_PORT: '0' })
  const channel = fresh()
  await fill(node, channel)
  const session = new RawSession(node.h2cPort ?? 0).send(get(1, '/v1/sse?channel=a'))
  t.teardown(() => session.close())
  await until('a stream is open', () => session.body(1).includes('open'))
  // The client's window is 65,535 bytes and never grows.
  session.send(...[3, 5, 7].map(stream => get(stream, `/v1/poll?channel=${channel}&limit=1000`)))
  await until('they are answered', () => session.answered.length === 4)
  await until('they are cut', () => node.app.protocols.underWay === 1)
  session.send(get(9, '/v1/channels/a'))
  await until('the session continues', () => session.answered.includes(9))
  t.equal(node.hub.readers('a'), 1)
})

t.test('HTTP/2: a large response arrives, also if it is read slowly', async t => {
  const node = await nodeWith(t, { STALL: '1d', H2C_PORT: '0' })
  const channel = fresh()
  await fill(node, channel)
  const path = `/v1/poll?channel=${channel}&limit=1000`
  const session: ClientHttp2Session = connect(`http://127.0.0.1:${node.h2cPort}`)
  t.teardown(() => session.destroy())
  const request = session.request({ ':path': path })
  const [headers] = (await once(request, 'response')) as [Record<string, string>]
  let text = ''
  let round = 0
  for await (const piece of request) {
    text += piece
    // Nothing is read meanwhile, and the client's window is small.
    if (text.length > round * 500_000) check(node, ++round * STALL_MS)
  }
  const { body } = await node.get(path)
  t.ok(round > 5)
  t.equal(Number(headers['content-length']), Buffer.byteLength(body))
  t.ok(text === body)
})
