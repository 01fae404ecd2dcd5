// Clients that do not read their responses over HTTP/1.1: the node cuts them, since it holds what they do not read.

import { once } from 'node:events'
import type { Socket } from 'node:net'
import t, { type Test } from 'tap'
import { progressOf } from '../../../services/http/node/queued-bytes.ts'
import { makeCertificate } from '../../contract/http2.ts'
import { startMemoryNode, type Node, type Settings } from '../../contract/node.ts'
import { fresh } from '../../contract/wires.ts'
import { until } from '../../support/until.ts'
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
  for (const connection of app.protocols.http1) connection.check(now, STALL_MS)
}

for (const [name, settings] of Object.entries({ plain: {}, TLS: { TLS_CERT: cert, TLS_KEY: key } })) {
  t.test(`clients that do not read their responses are cut, ${name}`, async t => {
    const node = await nodeWith(t, { STALL: '200ms', ...settings })
    const channel = fresh()
    await fill(node, channel)
    for (let i = 0; i < 3; i++) await unread(node, paused(t, node), channel)
    await until('all are cut', () => node.app.sockets.size === 0)
    t.equal(node.app.protocols.underWay, 0)
    t.equal(node.app.protocols.http1.size, 0)
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
      const before = progressOf(socket)
      client.resume()
      await until('the client reads some', () => progressOf(socket) > before)
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
  await until('it is left', () => node.app.protocols.http1.size === 0)
  t.equal(node.hub.readers('a'), 1)
  raw.close()
})
