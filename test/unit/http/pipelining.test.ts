// Pipelined requests on one connection: each is answered, in order, and at most 32 are held at a time.

import t from 'tap'
import { MAX_UNANSWERED } from '../../../services/http/node/pipelining.ts'
import { makeCertificate } from '../../contract/http2.ts'
import { startMemoryNode } from '../../contract/node.ts'
import { fresh } from '../../contract/wires.ts'
import { startNode } from '../../support/node.ts'
import { until } from '../../support/until.ts'
import { Raw } from './app.ts'

const { cert, key } = makeCertificate()
const node = await startMemoryNode()
const secure = await startMemoryNode({ TLS_CERT: cert, TLS_KEY: key })
t.teardown(() => Promise.all([node.close(), secure.close()]))

const HOST = 'Host: 127.0.0.1\r\n'
const poll = (query: string) => `GET /v1/poll?${query} HTTP/1.1\r\n${HOST}\r\n`
const longPoll = (query: string) => `GET /v1/long-poll?${query} HTTP/1.1\r\n${HOST}\r\n`
const publish = (channel: string, body: string) =>
  `POST /v1/channels/${channel}/events HTTP/1.1\r\n${HOST}Content-Type: application/json\r\n${body}`
const sized = (json: string) => `Content-Length: ${Buffer.byteLength(json)}\r\n\r\n${json}`
/** A body in chunks of one byte. */
const chunked = (json: string) =>
  `Transfer-Encoding: chunked\r\n\r\n${[...json].map(each => `1\r\n${each}\r\n`).join('')}0\r\n\r\n`

/** Waits for `count` responses. Returns their bodies. */
async function bodies(raw: Raw, count: number): Promise<string[]> {
  const pieces = () => raw.text.split(/HTTP\/1\.1 (?=\d{3} )/).slice(1)
  await until(`${count} answers`, () => pieces().length >= count && /\}$/.test(raw.text))
  return pieces().map(each => each.slice(each.indexOf('\r\n\r\n') + 4))
}

t.test('S2: at most 32 requests of a connection are held, and the rest follow in turn', async t => {
  const channel = fresh()
  const raw = new Raw(node.port).send(longPoll(`channel=${channel}&wait=55`).repeat(5000))
  await until('the first are held', () => node.hub.readers(channel) >= MAX_UNANSWERED)
  t.equal((await node.get('/healthz')).status, 200)
  for (let round = 1; round <= 5; round++) {
    t.equal(node.hub.readers(channel), MAX_UNANSWERED)
    await node.append(channel, `"to round ${round}"`)
    const answers = await bodies(raw, round * MAX_UNANSWERED)
    t.equal(answers.length, round * MAX_UNANSWERED)
    t.ok(answers.slice(-MAX_UNANSWERED).every(each => each.includes(`"to round ${round}"`)))
    await until('the next are held', () => node.hub.readers(channel) === MAX_UNANSWERED)
  }
  raw.close()
})

t.test('S2: a disconnect is noticed although the node has paused reading from the client', async t => {
  const own = await startMemoryNode({ STALL: '1s', LOG_TIMEOUT: '1s' })
  t.teardown(() => own.close())
  const raw = new Raw(own.port).send(longPoll('channel=a&wait=55').repeat(5000))
  await until('the first are held', () => own.hub.readers('a') === MAX_UNANSWERED)
  raw.close()
  await until('they are released', () => own.hub.readers('a') === 0 && own.app.sockets.size === 0)
})

t.test('S2: 120,000 long polls over one connection do not crash a node with a small heap', async t => {
  const small = await startNode({ env: { NODE_OPTIONS: '--max-old-space-size=64', FANWIRE_STALL: '5s' } })
  t.teardown(() => small.kill())
  const raw = new Raw(small.port).send(longPoll('channel=a&wait=55').repeat(120_000))
  const readers = async () => {
    const text = await (await fetch(`${small.url}/metrics`)).text()
    return Number(/^fanwire_readers (\d+)$/m.exec(text)?.[1])
  }
  await until('some are held', async () => (await readers()) === MAX_UNANSWERED)
  raw.close()
  await until('they are released', async () => (await readers()) === 0)
  t.equal((await fetch(`${small.url}/healthz`)).status, 200)
})

t.test('S2: thousands of immediate requests are all answered, in order', async t => {
  for (const server of [node, secure]) {
    const channel = fresh()
    let inTurn = 0
    let most = 0
    server.app.server.on('request', () => {
      if (inTurn++ === 0) setImmediate(() => (inTurn = 0))
      most = Math.max(most, inTurn)
    })
    const ids = await server.append(channel, ...Array.from({ length: 50 }, (_, i) => `${i}`))
    const cursors = Array.from({ length: 2000 }, (_, i) => ids[i % 49] ?? '')
    const raw = new Raw(server.port, { secure: server.secure })
    raw.send(cursors.map(each => poll(`channel=${channel}&cursor=${each}&limit=1`)).join(''))
    const answers = await bodies(raw, cursors.length)
    t.strictSame(
      answers.map(body => JSON.parse(body).events[0].data),
      cursors.map((_, i) => (i % 49) + 1),
    )
    t.ok(most <= 2 * MAX_UNANSWERED, `${most} in one turn of the event loop`)
    raw.close()
  }
})

t.test('S2: publishes with bodies are all accepted, wherever their bytes are cut', async t => {
  const texts = ['1', '"\\r\\n\\r\\n"', `"${'x'.repeat(300)}"`, '[1,\r\n\r\n2]', '{"a":"GET / HTTP/1.1"}']
  for (const [cut, body] of [
    [1_000_000, sized],
    [1_000_000, chunked],
    [1460, sized],
    [1460, chunked],
    [97, sized],
    [101, chunked],
    [1, sized],
  ] as const) {
    const channel = fresh()
    const count = cut === 1 ? 40 : 200
    const sent = Array.from({ length: count }, (_, i) => texts[i % texts.length] ?? '')
    const bytes = Buffer.from(sent.map(each => publish(channel, body(each))).join(''))
    const raw = new Raw(node.port)
    raw.socket.setNoDelay()
    for (let at = 0; at < bytes.length; at += cut) {
      raw.send(bytes.subarray(at, at + cut))
      // Lets each piece arrive separately.
      if (at % 10 === 0) await new Promise(resolve => setImmediate(resolve))
    }
    const answers = await bodies(raw, count)
    t.equal(answers.length, count, `pieces of ${cut}`)
    const { body: page } = await node.get(`/v1/poll?channel=${channel}&limit=1000`)
    const { events } = JSON.parse(page) as { events: { id: string; data: unknown }[] }
    t.equal(events.length, count)
    // Publishes run in parallel, so their order in the log may differ. The order of the responses must not.
    const dataOf = new Map(events.map(({ id, data }) => [id, data]))
    t.strictSame(
      answers.map(each => dataOf.get(JSON.parse(each).id)),
      sent.map(each => JSON.parse(each)),
    )
    raw.close()
  }
})

t.test('S2: nothing is parsed after an error, or after the last answer', async t => {
  const channel = fresh()
  for (const first of [
    'GET /%zz HTTP/9.9\r\n\r\n',
    `GET /healthz HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`,
  ]) {
    const raw = new Raw(node.port).send(first + publish(channel, sized('1')))
    await raw.ended
    t.notMatch(raw.text, / 201 /)
  }
  t.equal((await node.log.state(channel)).count, 0)
})

t.test('S2: polls held by one connection count as connections', async t => {
  const own = await startMemoryNode({ MAX_CONNECTIONS: '40' })
  t.teardown(() => own.close())
  const raws = Array.from({ length: 4 }, () => new Raw(own.port))
  for (const raw of raws) raw.send(longPoll('channel=a&wait=55').repeat(MAX_UNANSWERED))
  const stranger = new Raw(own.port)
  await until('the held polls reach the limit', () => own.app.protocols.beyond > 60)
  stranger.send(poll('channel=a'))
  t.match(await stranger.until(/\}$/), /"FW_TOO_MANY_CONNECTIONS"/)
  t.ok(own.hub.readers('a') <= 40 + 32 + raws.length, `${own.hub.readers('a')} are held`)
  for (const raw of raws) raw.close()
  stranger.close()
})

t.test('requests in flight are counted until they are answered, or their client disconnects', async t => {
  const own = await startMemoryNode()
  t.teardown(() => own.close())
  const { protocols } = own.app
  const channel = fresh()
  const [answered, cut] = [1, 2].map(() => new Raw(own.port).send(longPoll(`channel=${channel}`).repeat(3)))
  await until('all are held', () => own.hub.readers(channel) === 6)
  t.strictSame([protocols.underWay, protocols.beyond], [6, 4])
  cut?.close()
  await until('the requests of the closed connection are released', () => protocols.underWay === 3)
  t.equal(protocols.beyond, 2)
  const over = own.app.inFlight.answered(10_000)
  await own.append(channel, '1')
  await over
  t.strictSame([protocols.underWay, protocols.beyond], [0, 0])
  answered?.close()
})
