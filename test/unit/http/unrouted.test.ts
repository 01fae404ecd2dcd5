// Requests that Node would answer by itself, without a code, or would misinterpret.

import { once } from 'node:events'
import { constants } from 'node:http2'
import t from 'tap'
import { ask, destroy, openSession } from '../../contract/http2.ts'
import { startMemoryNode } from '../../contract/node.ts'
import { WIRES } from '../../contract/clients.ts'
import { until } from '../../support/until.ts'
import { Raw } from './app.ts'
import { handshake } from '../wires/ws-by-hand.ts'

const node = await startMemoryNode({ H2C_PORT: '0', SOCKET_IO: '1' })
t.teardown(() => node.close())

const HOST = 'Host: 127.0.0.1\r\n'

async function answerTo(bytes: string): Promise<string> {
  const raw = new Raw(node.port).send(bytes)
  const text = await raw.until(/\}$/)
  raw.close()
  return text
}

t.test("H4: a request line with another version than the connection's is 400", async t => {
  for (const version of ['2.0', '0.9']) {
    for (const path of [
      ...WIRES.map(({ name }) => `/v1/${name}?channel=a`),
      '/healthz',
      '/socket.io/?EIO=4',
    ]) {
      const text = await answerTo(`GET ${path} HTTP/${version}\r\n${HOST}\r\n`)
      t.match(text, /^HTTP\/1.1 400 .*"code":"FW_BAD_REQUEST"/s, `${version} ${path}`)
    }
  }
  t.equal(node.hub.stats().readers, 0)
})

t.test('H4: the connection of a request with another version counts towards the limit', async t => {
  const own = await startMemoryNode({ MAX_CONNECTIONS: '1' })
  t.teardown(() => own.close())
  const first = new Raw(own.port).send(`GET /healthz HTTP/1.1\r\n${HOST}\r\n`)
  await first.until(/\}$/)
  const second = new Raw(own.port).send(`GET /v1/poll?channel=a HTTP/2.0\r\n${HOST}\r\n`)
  await second.ended
  t.match(
    second.text,
    /connection: close/i,
    'beyond the connection limit, the connection ends after one response',
  )
  first.close()
})

t.test('H12: CONNECT is 405, with a code', async t => {
  const raw = new Raw(node.port).send(
    `CONNECT example.com:443 HTTP/1.1\r\n${HOST}\r\nGET /healthz HTTP/1.1\r\n${HOST}\r\n`,
  )
  await raw.ended
  t.match(raw.text, /^HTTP\/1.1 405 .*allow: .*"code":"FW_METHOD_NOT_ALLOWED".*\}$/is)
  t.notMatch(raw.text, / 200 /)
  const session = await openSession(node)
  const stream = session.request({ ':method': 'CONNECT', ':authority': 'example.com:443' })
  const [headers] = await once(stream, 'response')
  t.equal(headers[constants.HTTP2_HEADER_STATUS], 405)
  let body = ''
  for await (const piece of stream) body += piece
  t.match(JSON.parse(body), { error: { code: 'FW_METHOD_NOT_ALLOWED' } })
  destroy(session)
})

t.test('H12: an Expect that is not 100-continue is 417, with a code', async t => {
  const text = await answerTo(`GET /v1/poll?channel=a HTTP/1.1\r\n${HOST}Expect: x\r\n\r\n`)
  t.match(text, /^HTTP\/1.1 417 .*"code":"FW_EXPECTATION_FAILED"/s)
  const known = await answerTo(`GET /v1/poll?channel=a HTTP/1.1\r\n${HOST}Expect: 100-Continue\r\n\r\n`)
  t.match(known, /^HTTP\/1.1 100 Continue\r\n\r\nHTTP\/1.1 200 /)
  const session = await openSession(node)
  const answer = await ask(session, { ':path': '/v1/poll?channel=a', expect: 'x' })
  t.equal(answer.status, 417)
  t.equal(JSON.parse(answer.body).error.code, 'FW_EXPECTATION_FAILED')
  destroy(session)
})

t.test('H12: a handshake in absolute-form is valid', async t => {
  for (const url of ['http://127.0.0.1/v1/ws?channel=a', 'HTTP://127.0.0.1:80/v1/ws']) {
    const raw = handshake(node, url)
    t.match(await raw.until(/"open"/), /^HTTP\/1.1 101 /, url)
    raw.close()
  }
})

t.test('W1: an upgrade waits for the requests before it', async t => {
  const poll = `GET /v1/long-poll?channel=before&wait=55 HTTP/1.1\r\n${HOST}\r\n`
  const ask = 'GET /v1/ws HTTP/1.1\r\n'
  const upgrade =
    `${HOST}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n` +
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'
  for (const [what, head, answer, end] of [
    ['a handshake', ask + upgrade, 101, /"open"/],
    ['a refused one', `${ask}${upgrade}Origin: http://elsewhere.example\r\n`, 403, /"FW_FORBIDDEN_ORIGIN"/],
    ['CONNECT', `CONNECT a:1 HTTP/1.1\r\n${HOST}`, 405, /"FW_METHOD_NOT_ALLOWED"/],
    ['another upgrade', `GET /healthz HTTP/1.1\r\n${HOST}Connection: Upgrade\r\nUpgrade: x\r\n`, 200, /"ok"/],
  ] as const) {
    const raw = new Raw(node.port).send(`${poll}${poll}${head}\r\n`)
    await until('the polls are held', () => node.hub.readers('before') === 2)
    t.equal(raw.text, '', what)
    await node.append('before', '"now"')
    const text = await raw.until(end)
    t.strictSame(text.match(/(?<=HTTP\/1.1 )\d{3}/g), ['200', '200', `${answer}`], what)
    raw.close()
  }
})

t.test('H11: an invalid upgrade is handled as an ordinary request, with its body', async t => {
  const upgrade = (to: string) =>
    `Connection: Upgrade, HTTP2-Settings\r\nUpgrade: ${to}\r\nHTTP2-Settings: AAA\r\n`
  const publish = `POST /v1/channels/upgrades/events HTTP/1.1\r\n${HOST}Content-Type: application/json\r\n`
  for (const to of ['h2c', 'websocket', 'TLS/1.0', 'x']) {
    const sized = await answerTo(`${publish}${upgrade(to)}Content-Length: 7\r\n\r\n{"n":1}`)
    t.match(sized, /^HTTP\/1.1 201 /, to)
    const chunked = await answerTo(
      `${publish}${upgrade(to)}Transfer-Encoding: chunked\r\n\r\n7\r\n{"n":2}\r\n0\r\n\r\n`,
    )
    t.match(chunked, /^HTTP\/1.1 201 /, to)
    const plain = await answerTo(`GET /v1/poll?channel=upgrades HTTP/1.1\r\n${HOST}${upgrade(to)}\r\n`)
    t.match(plain, /^HTTP\/1.1 200 /, to)
  }
  const withBody = await answerTo(
    `GET /v1/ws HTTP/1.1\r\n${HOST}${upgrade('websocket')}Sec-WebSocket-Version: 13\r\n` +
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nContent-Length: 2\r\n\r\n{}',
  )
  t.match(
    withBody,
    /^HTTP\/1.1 426 .*"code":"FW_UPGRADE_REQUIRED"/s,
    'a request with a body is not a handshake',
  )
})
