// A rejected WebSocket handshake: its socket has left Node's HTTP server, so the node itself must answer with a code,
// end the socket and release it, on every path of rejection.

import { once } from 'node:events'
import { connect as connectTcp } from 'node:net'
import { connect as connectTls } from 'node:tls'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { makeCertificate } from '../contract/http2.ts'
import { descriptorsOf, withoutProc } from '../support/descriptors.ts'
import { APP, appsFile } from '../support/pusher.ts'
import { type NodeOptions, type RunningNode, startNode } from '../support/node.ts'
import { startRedis } from '../support/redis-server.ts'
import { until } from '../support/until.ts'
import { Raw } from '../unit/http/app.ts'

const VERSION = 'Sec-WebSocket-Version: 13\r\n'
const KEY = 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'
const UPGRADE = 'Connection: Upgrade\r\nUpgrade: websocket\r\n'
const HOST = 'Host: 127.0.0.1\r\n'
const HANDSHAKE = `${HOST}${UPGRADE}${VERSION}${KEY}`
const NEXT = `GET /healthz HTTP/1.1\r\n${HOST}\r\n`

async function nodeFor(t: Test, options: NodeOptions = {}): Promise<RunningNode> {
  const node = await startNode({ ...options, env: { FANWIRE_SOCKET_IO: '1', ...options.env } })
  t.teardown(() => node.kill())
  return node
}

/** All received bytes, until the node ends the connection. The client's side stays open. */
async function exchange({ url, port }: RunningNode, bytes: string): Promise<string> {
  const address = { host: '127.0.0.1', port, rejectUnauthorized: false, allowHalfOpen: true }
  const socket = url.startsWith('https') ? connectTls(address) : connectTcp(address)
  let text = ''
  socket.on('data', data => (text += data))
  socket.on('error', error => (text += error.message))
  socket.write(bytes)
  await once(socket, 'end')
  socket.destroy()
  return text
}

/** Checks that ten handshakes, each followed by a request, are rejected with the code, ended and released. */
async function refuses(
  t: Test,
  node: RunningNode,
  what: string,
  head: string,
  status: number,
  code: string,
  others = 0,
): Promise<void> {
  const texts = await Promise.all(Array.from({ length: 10 }, () => exchange(node, `${head}\r\n${NEXT}`)))
  for (const text of new Set(texts.map(text => /^.*$/m.exec(text)?.[0]))) {
    t.match(text, new RegExp(`^HTTP/1.1 ${status} `), what)
  }
  t.match(texts[0], /^connection: close\r$/im)
  t.match(
    texts[0],
    new RegExp(`\\{"error":\\{"code":"${code}","message":".*"\\}\\}$`),
    'the response ends with the error',
  )
  await until(`${what}: no descriptor is left`, () => descriptorsOf(node) === others)
}

/** Checks one rejection in each place where a ready node decides on handshakes. */
async function refusesAll(t: Test, node: RunningNode): Promise<void> {
  const origin = 'Origin: http://elsewhere.example\r\n'
  for (const [what, head, status, code] of [
    ['a foreign page', `GET /v1/ws HTTP/1.1\r\n${HANDSHAKE}${origin}`, 403, 'FW_FORBIDDEN_ORIGIN'],
    [
      'a foreign page, Socket.IO',
      `GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n${HANDSHAKE}${origin}`,
      403,
      'FW_FORBIDDEN_ORIGIN',
    ],
    [
      'a long URL',
      `GET /v1/ws?channel=${'a'.repeat(40_000)} HTTP/1.1\r\n${HANDSHAKE}`,
      414,
      'FW_URL_TOO_LONG',
    ],
    ['no Host', `GET /v1/ws HTTP/1.1\r\n${UPGRADE}${VERSION}${KEY}`, 400, 'FW_BAD_REQUEST'],
    ['a bad query', `GET /v1/ws?cursor=x HTTP/1.1\r\n${HANDSHAKE}`, 400, 'FW_BAD_CURSOR'],
    ['no key', `GET /v1/ws HTTP/1.1\r\n${HOST}${UPGRADE}${VERSION}`, 400, 'FW_BAD_REQUEST'],
    ['another version', `GET /v1/ws HTTP/1.1\r\n${HOST}${UPGRADE}${KEY}`, 426, 'FW_UPGRADE_REQUIRED'],
  ] as const) {
    await refuses(t, node, what, head, status, code)
  }
}

t.test('W1: a rejected handshake ends its socket and leaks no descriptor', { skip: withoutProc }, async t => {
  const node = await nodeFor(t)
  await refusesAll(t, node)
  const socket = new WebSocket(`${node.url.replace('http', 'ws')}/v1/ws`)
  await once(socket, 'open')
  t.equal(descriptorsOf(node), 1, 'an accepted handshake is counted, so a leak would be')
  socket.terminate()
})

t.test('W1: a rejected handshake ends its socket over TLS', { skip: withoutProc }, async t => {
  const { cert, key } = makeCertificate()
  await refusesAll(t, await nodeFor(t, { env: { FANWIRE_TLS_CERT: cert, FANWIRE_TLS_KEY: key } }))
})

t.test(
  'W1: a rejected handshake ends its socket with workers, and while the log is unavailable',
  { skip: withoutProc },
  async t => {
    const redis = await startRedis()
    const node = await nodeFor(t, { env: { WORKERS: '2', REDIS_URL: redis.url } })
    await refusesAll(t, node)
    await redis.stop()
    const unready = () =>
      node.logs.filter(line => /"not ready/.test(line)).map(line => JSON.parse(line).worker)
    await until('no worker is ready', () => new Set(unready()).size === 2)
    await refuses(t, node, 'not ready', `GET /v1/ws HTTP/1.1\r\n${HANDSHAKE}`, 503, 'FW_[A-Z_]+')
  },
)

t.test('W1: a rejected handshake ends its socket while the node stops', { skip: withoutProc }, async t => {
  const env = { FANWIRE_CENTRIFUGE: '1', FANWIRE_PUSHER_APPS: appsFile() }
  const node = await nodeFor(t, { args: ['--drain-notice', '1h'], env })
  node.signal('SIGTERM')
  await node.logged(/"not ready: the node is stopping"/)
  for (const path of ['/v1/ws', '/connection/websocket', `/app/${APP.key}?protocol=7`]) {
    await refuses(t, node, path, `GET ${path} HTTP/1.1\r\n${HANDSHAKE}`, 503, 'FW_DRAINING')
  }
})

t.test(
  'W1: a handshake beyond FANWIRE_MAX_CONNECTIONS ends its socket, and later ones are accepted again',
  { skip: withoutProc },
  async t => {
    const node = await nodeFor(t, { args: ['--max-connections', '3'] })
    const held = Array.from({ length: 3 }, () => new Raw(node.port))
    await until('all connections are open', () => descriptorsOf(node) === 3)
    const ask = `GET /v1/ws HTTP/1.1\r\n${HANDSHAKE}`
    await refuses(t, node, 'too many', ask, 503, 'FW_TOO_MANY_CONNECTIONS', 3)
    for (const raw of held) raw.close()
    for (let i = 0; i < 20; i++) await exchange(node, `${ask}Origin: http://elsewhere.example\r\n\r\n`)
    const socket = new WebSocket(`${node.url.replace('http', 'ws')}/v1/ws`)
    await once(socket, 'open')
    socket.terminate()
  },
)

t.test('W1: a non-handshake is answered as a request, and its connection continues', async t => {
  const node = await nodeFor(t)
  for (const [what, line, status] of [
    ['HEAD', 'HEAD /v1/ws', 405],
    ['POST', 'POST /v1/ws', 405],
    ['an unknown path', 'GET /v1/nothing', 404],
    ['another path', 'GET /v1/poll?channel=a', 200],
  ] as const) {
    const raw = new Raw(node.port).send(`${line} HTTP/1.1\r\n${HANDSHAKE}\r\n${NEXT}`)
    const text = await raw.until(/\{"ok":true\}$/)
    t.match(
      text,
      new RegExp(`^HTTP/1.1 ${status} .*\\r\\nHTTP/1.1 200 |^HTTP/1.1 ${status} .*HTTP/1.1 200 `, 's'),
      what,
    )
    raw.close()
  }
})

t.test('W8: a handshake that violates the WebSocket protocol is rejected with a code', async t => {
  const node = await nodeFor(t)
  const handshake = (more: string) => `GET /v1/ws HTTP/1.1\r\n${HOST}${UPGRADE}${more}`
  for (const [what, more, status, code] of [
    ['a short key', `${VERSION}Sec-WebSocket-Key: short\r\n`, 400, 'FW_BAD_REQUEST'],
    ['no version', KEY, 426, 'FW_UPGRADE_REQUIRED'],
    ['another version', `${KEY}Sec-WebSocket-Version: 99\r\n`, 426, 'FW_UPGRADE_REQUIRED'],
    ['a bad protocol', `${VERSION}${KEY}Sec-WebSocket-Protocol: a b\r\n`, 400, 'FW_BAD_REQUEST'],
    ['a protocol twice', `${VERSION}${KEY}Sec-WebSocket-Protocol: a, a\r\n`, 400, 'FW_BAD_REQUEST'],
  ] as const) {
    const text = await exchange(node, `${handshake(more)}\r\n`)
    t.match(text, new RegExp(`^HTTP/1.1 ${status} .*"code":"${code}"`, 's'), what)
    t.match(text, /^sec-websocket-version: 13\r$/im, 'the response names the supported version')
  }
})

t.test('W8: no unsupported subprotocol is accepted', async t => {
  const node = await nodeFor(t)
  for (const path of ['/v1/ws', '/socket.io/?EIO=4&transport=websocket']) {
    const raw = new Raw(node.port).send(
      `GET ${path} HTTP/1.1\r\n${HANDSHAKE}Sec-WebSocket-Protocol: mqtt, graphql-ws\r\n\r\n`,
    )
    const text = await raw.until(/\r\n\r\n/)
    t.match(text, /^HTTP\/1.1 101 /)
    t.notMatch(text, /^sec-websocket-protocol:/im)
    raw.close()
  }
})
