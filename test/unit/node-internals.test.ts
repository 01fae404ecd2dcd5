// What is relied on of Node and of ws beyond what they document: a test for each file of services/http/node/, so that a
// release that changes it is seen at once, and by name.

import { pbkdf2 } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { promisify } from 'node:util'
import { deflateRawSync } from 'node:zlib'
import { pino } from 'pino'
import t from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import { guard } from '../../services/http/node/guard.ts'
import { hold, release, shareTurns } from '../../services/http/node/ws-intake.ts'
import { hardenReceiver } from '../../services/http/node/ws-receiver.ts'
import { TURN } from '../../services/http/turns.ts'
import { startMemoryNode } from '../contract/node.ts'
import { until } from '../until.ts'
import { codeOf, frame, handshake } from './ws-by-hand.ts'

t.test('guard: what a listener of a socket raises ends that socket alone', async t => {
  const lines: string[] = []
  const logger = pino({}, { write: line => void lines.push(line) })
  const server = createServer(socket => {
    guard(socket, logger)
    socket.on('data', () => {
      throw new Error('b00m')
    })
  }).listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const [first, second] = [connect(port, '127.0.0.1'), connect(port, '127.0.0.1')]
  await Promise.all([once(first, 'connect'), once(second, 'connect')])
  first.write('x')
  await once(first, 'close')
  t.match(lines, [/"b00m"/])
  t.equal(second.readyState, 'open')
  second.destroy()
})

/** Work for all threads that inflate, so that nothing is inflated before they are done. */
function busyThreads(): Promise<unknown> {
  const threads = Array.from({ length: 4 }, () => promisify(pbkdf2)('x', 'y', 200_000, 32, 'sha256'))
  return Promise.all(threads)
}

t.test('S1: ws-receiver: nothing of a WebSocket is parsed after its first error', async t => {
  const node = await startMemoryNode({ WS_DEFLATE: '1' })
  t.teardown(() => node.close())
  const spaces = deflateRawSync(Buffer.alloc(1_000_000, ' '), { finishFlush: 2 }).subarray(0, -4)
  const deflate = 'Sec-WebSocket-Extensions: permessage-deflate\r\n'
  const bystander = handshake(node, '/v1/ws', deflate)
  await bystander.until(/"open"/)
  for (const then of [frame(0x81, 'hi'), frame(0x89, 'a ping'), frame(0x88, '\x03\xe8')]) {
    const connected = once(node.app.server, 'connection')
    const raw = handshake(node, '/v1/ws', deflate)
    const [socket] = await connected
    await raw.until(/"open"/)
    const busy = busyThreads()
    for (const bytes of [frame(0xc1, spaces), frame(0x88, '\0\x01'), then]) {
      const before = socket.bytesRead
      raw.send(bytes)
      await until('it has come', () => socket.bytesRead === before + bytes.length)
    }
    await busy
    await raw.ended
    t.equal(codeOf(raw.text), 1002)
  }
  bystander.send(frame(0x81, '{"ping":true}'))
  t.match(await bystander.until(/"ok"/), /"ok":\{\}/, 'the others go on')
  bystander.close()
})

t.test('S1: ws-receiver: what is raised in the middle of inflating ends that socket alone', async t => {
  hardenReceiver()
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate: true })
  t.teardown(() => server.close())
  await once(server, 'listening')
  const errors: Error[] = []
  server.on('connection', socket => {
    socket.on('error', error => errors.push(error))
    socket.on('message', () => {
      throw new Error('b00m')
    })
  })
  const { port } = server.address() as AddressInfo
  const client = new WebSocket(`ws://127.0.0.1:${port}`, { perMessageDeflate: { threshold: 0 } })
  await once(client, 'open')
  client.send('{"ping":true}')
  await once(client, 'close')
  t.match(errors, [{ message: 'b00m' }])
})

t.test('ws-intake: a turn has its share of messages, and none of a client that is held', async t => {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' })
  t.teardown(() => server.close())
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const client = new WebSocket(`ws://127.0.0.1:${port}`)
  const [[socket]] = (await Promise.all([once(server, 'connection'), once(client, 'open')])) as [
    [WebSocket],
    unknown,
  ]
  t.teardown(() => client.terminate())
  shareTurns(socket)
  const turns: number[] = []
  let taken = 0
  let inTurn = 0
  socket.on('message', () => {
    taken++
    if (inTurn++ === 0) {
      setImmediate(() => {
        turns.push(inTurn)
        inTurn = 0
      })
    }
    if (taken === 100) hold(socket)
  })
  for (let i = 0; i < 1000; i++) client.send('x')
  await until('it is held', () => taken >= 100)
  for (let i = 0; i < 100; i++) await turn()
  t.equal(taken, 101, 'one message was on its way')
  release(socket)
  await until('all are taken', () => taken === 1000)
  await turn()
  t.ok(Math.max(...turns) <= 2 * TURN, `${turns}`)
  hold(socket)
  client.send('last')
  for (let i = 0; i < 100; i++) await turn()
  socket.terminate()
  await once(socket, 'close')
  t.ok(taken >= 1000, 'one that is held closes as any other')
})
