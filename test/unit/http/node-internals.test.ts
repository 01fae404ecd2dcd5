// Undocumented behaviour of Node and ws on which the node relies. Each test is named after a file of
// services/http/node/, so that the failing test names the file when a release changes the behaviour.

import { pbkdf2 } from 'node:crypto'
import { once } from 'node:events'
import { createServer as createHttpServer } from 'node:http'
import { type AddressInfo, connect, createServer, Socket } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { TLSSocket } from 'node:tls'
import { promisify } from 'node:util'
import { deflateRawSync } from 'node:zlib'
import { pino } from 'pino'
import t from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import { guard } from '../../../services/http/node/guard.ts'
import { SERVED, whenGone } from '../../../services/http/node/served-socket.ts'
import { createSendNow } from '../../../services/http/node/send-now.ts'
import { hold, release, shareTurns } from '../../../services/http/node/ws-intake.ts'
import { forgetInflater } from '../../../services/http/node/ws-inflater.ts'
import { hardenReceiver } from '../../../services/http/node/ws-receiver.ts'
import { TURN } from '../../../services/http/turns.ts'
import { type Node, startMemoryNode } from '../../contract/node.ts'
import { socketPair } from '../../support/socket-pair.ts'
import { until } from '../../support/until.ts'
import { Raw } from './app.ts'
import { codeOf, frame, handshake } from '../wires/ws-by-hand.ts'

t.test('guard: an error thrown by a socket listener ends that socket only', async t => {
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

/** Occupies all threads of libuv's pool, so that nothing is inflated until they are free. */
function busyThreads(): Promise<unknown> {
  const threads = Array.from({ length: 4 }, () => promisify(pbkdf2)('x', 'y', 200_000, 32, 'sha256'))
  return Promise.all(threads)
}

t.test('S1: ws-receiver: no byte of a WebSocket is parsed after its first error', async t => {
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
      await until('the bytes have arrived', () => socket.bytesRead === before + bytes.length)
    }
    await busy
    await raw.ended
    t.equal(codeOf(raw.text), 1002)
  }
  bystander.send(frame(0x81, '{"ping":true}'))
  t.match(await bystander.until(/"ok"/), /"ok":\{\}/, 'the others continue')
  bystander.close()
})

t.test('S1: ws-receiver: an error in the middle of inflating ends that socket only', async t => {
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

t.test('ws-intake: a turn handles its share of messages, and none of a held client', async t => {
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
  t.equal(taken, 101, 'one message was already parsed')
  release(socket)
  await until('all are taken', () => taken === 1000)
  await turn()
  t.ok(Math.max(...turns) <= 2 * TURN, `${turns}`)
  hold(socket)
  client.send('last')
  for (let i = 0; i < 100; i++) await turn()
  socket.terminate()
  await once(socket, 'close')
  t.ok(taken >= 1000, 'a held socket closes like any other')
})

t.test('served-socket: a client is reported gone once, at its close frame or at the end of TCP', async t => {
  const server = new WebSocketServer({ ...SERVED, port: 0, host: '127.0.0.1' })
  t.teardown(() => server.close())
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  for (const [leave, lasts] of [
    [(raw: Raw) => void raw.send(frame(0x88, '')), true],
    [(raw: Raw) => raw.close(), false],
  ] as const) {
    const connected = once(server, 'connection')
    const raw = handshake({ port }, '/')
    const [socket] = (await connected) as [WebSocket]
    await raw.until(/\r\n\r\n/)
    let gone = 0
    whenGone(socket, () => gone++)
    const closed = once(socket, 'close')
    // The client does not notice that the server ends the connection.
    raw.socket.pause()
    leave(raw)
    await until('it has gone', () => gone === 1)
    if (lasts) t.equal(socket.readyState, WebSocket.CLOSING)
    await closed
    t.equal(gone, 1)
    raw.close()
  }
})

const HOST = 'Host: 127.0.0.1\r\n'

/** Members of a socket that Node's HTTP server sets. */
interface HttpSocket extends Socket {
  parser?: unknown
  _httpMessage?: unknown
}

/** Opens a connection. Returns it and the node's socket. */
async function connection(node: Node): Promise<{ raw: Raw; socket: HttpSocket }> {
  const connected = once(node.app.server, 'connection')
  const raw = new Raw(node.port)
  const [socket] = await connected
  return { raw, socket }
}

t.test('detach: a stream releases everything that HTTP kept for its socket', async t => {
  const node = await startMemoryNode()
  t.teardown(() => node.close())
  const { raw, socket } = await connection(node)
  t.ok(socket.parser, 'the socket has a parser at first')
  raw.send(`GET /v1/stream?channel=a HTTP/1.1\r\n${HOST}\r\n`)
  await raw.until(/"open"/)
  await until('it is released', () => socket.parser === null)
  t.equal(socket._httpMessage, null)
  t.equal(socket.listenerCount('data'), 0)
  for (const event of ['close', 'end', 'error']) {
    t.notMatch(
      socket.listeners(event).map(({ name }) => name),
      [/socketOn/],
      `no listener of Node's HTTP remains for '${event}'`,
    )
  }
  raw.close()
})

t.test('upgrades: a WebSocket releases everything that its handshake left on its socket', async t => {
  const node = await startMemoryNode()
  t.teardown(() => node.close())
  const { raw, socket } = await connection(node)
  raw.send(
    `GET /v1/ws HTTP/1.1\r\n${HOST}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n` +
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
  )
  await raw.until(/"open"/)
  await until('it is released', () => socket.parser === null && socket._httpMessage === null)
  raw.close()
})

t.test('malformed: unparsable input gets its exact error, wherever the parser stopped', async t => {
  const node = await startMemoryNode()
  t.teardown(() => node.close())
  const long = 'x'.repeat(100_000)
  for (const [what, bytes, status] of [
    ['no HTTP', 'garbage\r\n\r\n', 400],
    ['a long URL', `GET /${long} HTTP/1.1\r\n${HOST}\r\n`, 414],
    ['a long header', `GET / HTTP/1.1\r\n${HOST}X: ${long}\r\n\r\n`, 431],
    [
      'a long chunk extension',
      `POST /v1/events HTTP/1.1\r\n${HOST}Content-Type: application/x-ndjson\r\n` +
        `Transfer-Encoding: chunked\r\n\r\n1;${long}\r\n1\r\n`,
      413,
    ],
  ] as const) {
    const raw = new Raw(node.port).send(bytes)
    await raw.ended
    t.match(raw.text, new RegExp(`^HTTP/1.1 ${status} .*"code":"FW_`, 's'), what)
  }
})

t.test('closing: an answer arrives while its client keeps sending', async t => {
  const node = await startMemoryNode()
  t.teardown(() => node.close())
  const { raw, socket } = await connection(node)
  raw.send(`CONNECT a:1 HTTP/1.1\r\n${HOST}\r\n`).send(Buffer.alloc(1_000_000))
  await raw.ended
  t.match(raw.text, /^HTTP\/1.1 405 .*\}$/s)
  await until('the socket is destroyed', () => socket.destroyed)
})

t.test('pipelining: one listener receives all HTTP socket data, and it is ours', async t => {
  const node = await startMemoryNode()
  t.teardown(() => node.close())
  const { raw, socket } = await connection(node)
  await until('it has begun', () => node.app.sockets.size === 1)
  t.equal(socket.listenerCount('data'), 1)
  t.notMatch(socket.listeners('data')[0]?.name, /socketOnData/)
  const server = createHttpServer()
  server.once('connection', (given: Socket) => {
    t.match(given.listeners('data')[0]?.name, /socketOnData$/, "Node's own is the first")
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1')
  await once(server, 'connection')
  client.destroy()
  server.close()
  raw.close()
})

t.test("half-open: a server that allows it answers after the client's end", async t => {
  const server = createHttpServer((_request, response) => setImmediate(() => response.end('late')))
  Object.assign(server, { httpAllowHalfOpen: true })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const raw = new Raw((server.address() as AddressInfo).port)
  raw.socket.end(`GET / HTTP/1.1\r\n${HOST}\r\n`)
  await raw.ended
  t.match(raw.text, /late$/)
})

t.test('unrouted: CONNECT, Expect and versions reach our handlers', async t => {
  const node = await startMemoryNode()
  t.teardown(() => node.close())
  for (const [head, status] of [
    [`CONNECT a:1 HTTP/1.1\r\n${HOST}`, 405],
    [`GET /healthz HTTP/1.1\r\n${HOST}Expect: x\r\n`, 417],
    [`GET /healthz HTTP/2.0\r\n${HOST}`, 400],
  ] as const) {
    const raw = new Raw(node.port).send(`${head}\r\n`)
    t.match(await raw.until(/\}$/), new RegExp(`^HTTP/1.1 ${status} .*"code":"FW_`, 's'), head)
    raw.close()
  }
})

t.test('ws-inflater: a message can be inflated after the previous inflater was released', async t => {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate: true })
  t.teardown(() => server.close())
  await once(server, 'listening')
  const texts: string[] = []
  server.on('connection', socket => {
    socket.on('message', data => {
      texts.push(String(data))
      forgetInflater(socket)
    })
  })
  const { port } = server.address() as AddressInfo
  const client = new WebSocket(`ws://127.0.0.1:${port}`, { perMessageDeflate: { threshold: 0 } })
  await once(client, 'open')
  const sent = ['first', 'second', 'third']
  for (const text of sent) client.send(text)
  await until('all have come', () => texts.length === sent.length)
  t.strictSame(texts, sent)
  client.terminate()
})

t.test('queued-bytes: libuv reports the unwritten bytes of a socket', async t => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const connected = once(server, 'connection')
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1').pause()
  const [socket] = (await connected) as [Socket & { _handle: { writeQueueSize: number } }]
  const size = 50_000_000
  socket.write(Buffer.alloc(size))
  const before = socket._handle.writeQueueSize
  t.ok(before > 0 && before <= size, `${before} of ${size}`)
  client.resume()
  await until('all is written', () => socket._handle.writeQueueSize === 0)
  socket.destroy()
  client.destroy()
})

const sendNow = createSendNow() ?? (() => undefined)

/** Writes until the kernel accepts no more bytes. */
function fill(socket: Socket): Buffer[] {
  for (const sent: Buffer[] = []; ;) {
    sent.push(Buffer.alloc(300_001, sent.length))
    if (sendNow(socket, sent.at(-1) as Buffer) === 'waits') return sent
  }
}

t.test('send-now: bytes that the kernel does not accept are sent before later writes', async t => {
  const { server, client } = await socketPair(t)
  const sent = fill(server)
  t.equal(server.writableLength, 0)
  server.end('the end')
  const got: Buffer[] = []
  for await (const bytes of client) got.push(bytes)
  t.ok(Buffer.concat(got).equals(Buffer.concat([...sent, Buffer.from('the end')])))
})

t.test('send-now: a client that disconnects while bytes are pending ends its socket', async t => {
  const { server, client } = await socketPair(t)
  fill(server)
  const [[error]] = await Promise.all([once(server, 'error'), client.resetAndDestroy()])
  t.match(error, { code: /^(ECONNRESET|EPIPE)$/ })
  t.equal(sendNow(server, Buffer.from('x')), undefined)
})

t.test('send-now: a socket that is destroyed while bytes are pending reports nothing', async t => {
  const { server } = await socketPair(t)
  fill(server)
  server.on('error', error => t.fail(error.message))
  server.destroy()
  await once(server, 'close')
})

t.test('send-now: declines while the stream has pending bytes, after its end, and over TLS', async t => {
  const bytes = Buffer.from('x')
  const { server } = await socketPair(t)
  t.equal(sendNow(server, bytes), 'sent')
  server.cork()
  server.write('y')
  t.equal(sendNow(server, bytes), undefined, 'bytes wait')
  server.uncork()
  t.equal(sendNow(server, bytes), 'sent')
  t.equal(sendNow(new TLSSocket(server), bytes), undefined, 'TLS')
  t.equal(sendNow(new Socket(), bytes), undefined, 'not connected')
  server.end()
  t.equal(sendNow(server, bytes), undefined, 'ended')
  server.destroy()
  t.equal(sendNow(server, bytes), undefined, 'destroyed')
})
