// Forms of requests that clients, browsers and proxies send: names, parameters and bodies.

import { once } from 'node:events'
import { connect as connectHttp2 } from 'node:http2'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { openStream } from '../../contract/clients.ts'
import { startMemoryNode } from '../../contract/node.ts'
import { fresh } from '../../contract/wires.ts'
import { parseIncoming } from '../../../services/wires/pusher/checks.ts'
import { ClosedWorld } from '../../support/closed-node.ts'
import { Raw } from './app.ts'

const node = await startMemoryNode({ H2C_PORT: '0' })
t.teardown(() => node.close())
const base = `http://127.0.0.1:${node.port}`

const JSON_TYPE = { 'content-type': 'application/json' }

interface Result {
  readonly error?: { readonly code: string; readonly message: string }
}

/** Sends a request. Returns the status, and the error if there is one. */
async function ask(path: string, init: RequestInit = {}): Promise<Result & { status: number }> {
  const answer = await fetch(base + path, init)
  const text = await answer.text()
  return { status: answer.status, ...(text.startsWith('{"error"') ? (JSON.parse(text) as Result) : {}) }
}

const post = (path: string, body: string | Buffer, type = 'application/json') =>
  ask(path, { method: 'POST', headers: { 'content-type': type }, body })

// Names -----------------------------------------------------------------------------------------------------

t.test('H5: a channel name with a dot segment is rejected, however it is sent', async t => {
  const bulk = (entry: object) =>
    fetch(`${base}/v1/events`, {
      method: 'POST',
      headers: JSON_TYPE,
      body: JSON.stringify({ events: [entry] }),
    })
  for (const channel of ['.', '..', './a', 'a/..', 'a/../b', 'a/./b']) {
    for (const wire of ['poll', 'long-poll', 'sse', 'stream', 'push', 'refresh', 'ws']) {
      const read = await ask(`/v1/${wire}?channel=${encodeURIComponent(channel)}`)
      t.match(read, { status: 400, error: { code: 'FW_BAD_CHANNEL' } }, `${wire} ${channel}`)
    }
    for (const entry of [{ channel }, { channels: ['a', channel] }]) {
      const answer = (await (await bulk({ ...entry, data: 1 })).json()) as { results: Result[] }
      t.equal(answer.results[0]?.error?.code, 'FW_BAD_CHANNEL', channel)
    }
  }
  // Sent unchanged: fetch would resolve the path step.
  for (const channel of ['.', '..', '%2e%2E']) {
    const state = await node.get(`/v1/channels/${channel}`)
    t.equal(state.status, 400)
    t.match(JSON.parse(state.body), {
      error: { code: 'FW_BAD_CHANNEL', message: /without a segment \. or \.\. / },
    })
  }
  for (const channel of ['...', 'a..b', '.a', 'a.', '~', '-']) {
    t.equal((await post(`/v1/channels/${channel}/events`, '1')).status, 201, channel)
  }
})

// Parameters ------------------------------------------------------------------------------------------------

const ADDED = [
  '_=123',
  '_dc=1',
  '__hstc=1',
  'utm_source=x',
  'utm_',
  'ngsw-bypass',
  'ngsw-bypass=true',
  'fbclid=x',
  'gclid=x',
  '_=1&_=2',
]

t.test('H6: third-party parameters added to a URL are ignored, on all routes', async t => {
  const channel = fresh()
  const id = await node.publish(channel, '1')
  for (const added of ADDED) {
    for (const path of ['poll', 'long-poll', 'refresh']) {
      const read = await ask(`/v1/${path}?channel=${channel}&cursor=earliest&${added}`)
      t.equal(read.status, 200, `${path} ${added}`)
    }
    for (const path of ['sse', 'stream', 'push']) {
      const answer = await fetch(`${base}/v1/${path}?channel=${channel}&${added}`)
      t.equal(answer.status, 200, `${path} ${added}`)
      await answer.body?.cancel()
    }
    t.equal((await ask(`/v1/ws?${added}`)).status, 426)
    t.equal((await ask(`/v1/channels/${channel}?${added}`)).status, 200)
    t.equal((await ask(`/v1/channels/${channel}/events/${id}?${added}`)).status, 200)
    t.equal((await post(`/v1/channels/${fresh()}/events?${added}`, '1')).status, 201)
    t.equal((await post(`/v1/events?${added}`, '{"events":[]}')).status, 200)
    for (const path of ['healthz', 'readyz', 'metrics']) t.equal((await ask(`/${path}?${added}`)).status, 200)
  }
})

t.test('H6: other unknown parameters are rejected, with the nearest known name', async t => {
  const refused = async (path: string, message: RegExp, init?: RequestInit) => {
    t.match(await ask(path, init), { status: 400, error: { code: 'FW_BAD_PARAMETER', message } }, path)
  }
  await refused('/v1/poll?channel=a&curser=earliest', /unknown parameter "curser": did you mean cursor\?/)
  await refused('/v1/poll?channels=a', /did you mean channel\?/)
  await refused('/v1/poll?Channel=a', /did you mean channel\?/)
  await refused('/v1/poll?channel=a&max=5', /"max": This path takes channel, cursor, .*\blimit\b/)
  await refused('/v1/long-poll?channel=a&waits=5', /did you mean wait\?/)
  await refused('/v1/refresh?channel=a&evry=5', /did you mean every\?/)
  await refused('/v1/sse?channel=a&lasteventid=a-1', /did you mean lastEventId\?/)
  await refused(
    '/v1/stream?channel=a&lastEventId=a-1',
    /"lastEventId": This path takes channel, cursor, (?!.*\blimit\b)/,
  )
  await refused('/v1/channels/a?limit=5', /this path takes no parameters/)
  const publish = { method: 'POST', headers: JSON_TYPE, body: '1' }
  await refused('/v1/channels/a/events?typ=x', /did you mean type\?/, publish)
  await refused('/v1/channels/a/events?type=x&type=y', /type occurs more than once/, publish)
  await refused(`/v1/poll?${'x'.repeat(5000)}=1`, /^.{0,200}$/)
})

// Resuming --------------------------------------------------------------------------------------------------

/** The text that an EventSource receives, up to the first match. */
async function follow(
  t: Test,
  query: string,
  headers: Record<string, string>,
  upTo: RegExp,
): Promise<string> {
  const { asked, answer } = await openStream(node, `/v1/sse?${query}`, headers)
  t.teardown(() => asked.destroy())
  let text = ''
  for await (const piece of answer) {
    text += piece
    if (upTo.test(text)) return text
  }
  throw new Error(`the answer ended: ${text}`)
}

t.test('H6: lastEventId in the query counts if the header is missing', async t => {
  const channel = fresh()
  const ids = await node.append(channel, '1', '2', '3')
  const first = async (query: string, headers: Record<string, string> = {}) => {
    const text = await follow(t, `channel=${channel}&cursor=earliest&${query}`, headers, /"id":"[^"]+"/)
    return /"id":"([^"]+)"/.exec(text)?.[1]
  }
  for (const name of ['lastEventId', 'last_event_id', 'Last-Event-ID']) {
    t.equal(await first(`${name}=${ids[1]}`), ids[2], name)
    t.equal(await first(`${name}=${ids[1]}`, { 'last-event-id': `${ids[0]}` }), ids[1], 'the header wins')
    t.equal(await first(`${name}=`), ids[0], 'an empty one counts as missing')
  }
})

t.test("H7: an invalid Last-Event-ID is a gap up to the reader's start", async t => {
  const channel = fresh()
  const [first, second = ''] = await node.append(channel, '1', '2')
  const [epoch] = second.split('-')
  const foreign = ['7', 'x', 'a-01', 'a-1,b-2', '\xe4-1', `${'a-1,'.repeat(5000)}a-1`]
  for (const id of foreign) {
    const text = await follow(t, `channel=${channel}`, { 'last-event-id': id }, /gap[^]*\n\n/)
    const gap = { channel, from: `${epoch}-0`, to: second }
    t.match(text, new RegExp(`${epoch}-0[^]*event: gap`), 'the first message is the cursor')
    t.match(text, `data: ${JSON.stringify(gap)}\n`)
    t.match(text, `id: ${second}\n`)
  }
  const query = `channel=${channel}&lastEventId=7&cursor=${first}`
  const text = await follow(t, query, {}, /"data":2/)
  t.match(
    text,
    new RegExp(`event: gap[^]*"to":"${first}"[^]*"id":"${second}"`),
    'then the events after the cursor',
  )
  const malformed = await node.get(`/v1/sse?channel=${channel}&cursor=7`, { 'last-event-id': '7' })
  t.match(
    { status: malformed.status, ...JSON.parse(malformed.body) },
    { status: 400, error: { code: 'FW_BAD_CURSOR' } },
  )
})

t.test('H7: with several channels the gap is reported for each', async t => {
  const channels = [fresh(), fresh()]
  const heads = await Promise.all(channels.map(async each => (await node.append(each, '1', '2'))[1]))
  const query = channels.map(each => `channel=${each}`).join('&')
  const text = await follow(t, query, { 'last-event-id': '7' }, /(event: gap[^]*){2}\n\n/)
  for (const channel of channels) t.match(text, `"channel":"${channel}","from"`)
  t.match(text, `id: ${heads.join(',')}\n`)
})

// Bodies ----------------------------------------------------------------------------------------------------

const MARK = Buffer.from([0xef, 0xbb, 0xbf])
const marked = (text: string) => Buffer.concat([MARK, Buffer.from(text)])

t.test('H13: a byte order mark before JSON is ignored', async t => {
  const channel = fresh()
  t.equal((await post(`/v1/channels/${channel}/events`, marked('{"a":1}'))).status, 201)
  const line = `{"channel":"${channel}","data":2}`
  t.equal((await post('/v1/events', marked(`{"events":[${line}]}`))).status, 200)
  for (const lines of [`${line}\n${line}\n`, line, `\n${line}`]) {
    const answer = await fetch(`${base}/v1/events`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-ndjson' },
      body: marked(lines),
    })
    t.notMatch(await answer.text(), /error/)
  }
  const client = new WebSocket(`ws://127.0.0.1:${node.port}/v1/ws`)
  t.teardown(() => client.terminate())
  await once(client, 'message')
  client.send(marked(`{"publish":{"channel":"${channel}","data":3}}`), { binary: false })
  const [answer] = await once(client, 'message')
  t.match(JSON.parse(String(answer)), { ok: { channel } })
  const { body } = await node.get(`/v1/poll?channel=${channel}`)
  const data = (JSON.parse(body) as { events: { data: unknown }[] }).events.map(event => event.data)
  t.same(data, [{ a: 1 }, 2, 2, 2, 2, 2, 3])
  const second = await post(`/v1/channels/${channel}/events`, Buffer.concat([MARK, marked('1')]))
  t.equal(second.error?.code, 'FW_BAD_JSON', 'only one mark is ignored')
})

t.test('H13: so it is before JSON for administrators, Centrifugo and Pusher', async t => {
  const world = new ClosedWorld()
  const closed = await startMemoryNode(world.settings)
  t.teardown(() => closed.close())
  const { key } = world.keys.all
  const send = (path: string, text: string) =>
    fetch(`http://127.0.0.1:${closed.port}${path}`, {
      method: 'POST',
      headers: { ...JSON_TYPE, authorization: `Bearer ${key}`, 'x-api-key': key },
      body: marked(text),
    })
  t.equal((await send('/v1/admin/users/ann/revoke', '{"before":1}')).status, 202)
  const published = await send('/api/publish', '{"channel":"a","data":1}')
  t.match(await published.json(), { result: { offset: 1 } })
  const connected = await send('/connection/http_stream', '{"id":1,"connect":{}}')
  const { value } = (await connected.body?.getReader().read()) ?? {}
  t.match(String(value && Buffer.from(value)), '"connect"')
  t.match(parseIncoming(marked('{"event":"pusher:ping"}'), false), { event: 'pusher:ping' })
})

// Tolerated and explained mistakes --------------------------------------------------------------------------

t.test('H15: a superfluous slash is reported as such', async t => {
  const paths: [string, string][] = [
    ['POST', `/v1/channels/a/events/`],
    ['GET', '/v1/channels/a/events/'],
    ['POST', '/v1/events/'],
    ['GET', '/v1/poll/?channel=a'],
    ['GET', '/v1/channels/a/'],
    ['GET', '/healthz/'],
  ]
  for (const [method, path] of paths) {
    const answer = await ask(path, method === 'POST' ? { method, headers: JSON_TYPE, body: '1' } : {})
    t.match(answer, { status: 404, error: { code: 'FW_NOT_FOUND', message: /slash at its end/ } }, path)
  }
  for (const path of ['/v1/channels/', '/v1/nothing/', '/v1/']) {
    const answer = await ask(path)
    t.equal(answer.status, 404)
    t.notMatch(answer.error?.message, /slash/, path)
  }
})

t.test('H15: ASCII is accepted as UTF-8', async t => {
  for (const charset of ['us-ascii', 'US-ASCII', '"ascii"', 'utf-8', 'UTF8']) {
    const answer = await post(`/v1/channels/${fresh()}/events`, '1', `text/plain; charset=${charset}`)
    t.equal(answer.status, 201, charset)
  }
  for (const charset of ['latin1', 'utf-16', 'asciix', 'x-us-ascii']) {
    const answer = await post(`/v1/channels/${fresh()}/events`, '1', `application/json; charset=${charset}`)
    t.match(answer, { status: 415, error: { message: /send UTF-8/ } }, charset)
  }
})

t.test('H15: an empty cursor counts as missing', async t => {
  const channel = fresh()
  await node.append(channel, '1')
  const poll = async (query: string) => (await node.get(`/v1/poll?channel=${channel}${query}`)).body
  t.equal(await poll('&cursor='), await poll(''))
  const text = await follow(t, `channel=${channel}&cursor=`, {}, /retry/)
  t.match(text, /-1"?\n/, 'it begins at the head, the default of the wire')
  const { status } = await node.get(`/v1/poll?channel=${channel}&cursor=&cursor=`)
  t.equal(status, 400)
})

// Host and target -------------------------------------------------------------------------------------------

/** Sends a raw request. Returns the status, the error code, and the text of the response. */
async function byHand(head: string, of = node, body = '') {
  const raw = new Raw(of.port).send(`${head}Connection: close\r\n\r\n${body}`)
  const text = await raw.until(/^HTTP\/1\.1 [12][^]*\r\n\r\n[^]|"code"[^]*\}\}/)
  raw.close()
  return {
    status: Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1]),
    code: /"code":"(\w+)"/.exec(text)?.[1],
    text,
  }
}

t.test('H9: a node on loopback answers only to its own names', async t => {
  const loopback = await startMemoryNode({ SOCKET_IO: '1' }, {}, { hosts: undefined })
  t.teardown(() => loopback.close())
  const channel = fresh()
  await loopback.append(channel, '1')
  const paths = [
    `/v1/poll?channel=${channel}`,
    `/v1/long-poll?channel=${channel}&cursor=earliest`,
    `/v1/sse?channel=${channel}`,
    `/v1/stream?channel=${channel}`,
    `/v1/push?channel=${channel}`,
    `/v1/refresh?channel=${channel}`,
    `/v1/channels/${channel}`,
    '/metrics',
    '/socket.io/?EIO=4&transport=polling',
    '/nothing',
  ]
  const get = (path: string, host: string, more = '') =>
    byHand(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\n${more}`, loopback)
  for (const path of paths) {
    for (const host of ['evil.example', `evil.example:${loopback.port}`, '10.0.0.1']) {
      t.match(await get(path, host), { status: 403, code: 'FW_FORBIDDEN_HOST' }, `${path} ${host}`)
    }
    for (const host of ['localhost', `127.0.0.1:${loopback.port}`, `[::1]:${loopback.port}`]) {
      t.equal((await get(path, host)).status, path === '/nothing' ? 404 : 200, `${path} ${host}`)
    }
  }
  const handshake =
    'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n' +
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'
  t.equal((await get('/v1/ws', 'localhost', handshake)).status, 101)
  t.equal((await get('/v1/ws', 'evil.example', handshake)).status, 403)
  const publish = await byHand(
    'POST /v1/channels/a/events HTTP/1.1\r\nHost: evil.example\r\nContent-Type: application/json\r\nContent-Length: 1\r\n',
    loopback,
    '1',
  )
  t.equal(publish.status, 403)
  for (const path of ['/healthz', '/readyz']) t.equal((await get(path, 'evil.example')).status, 200, path)
})

t.test('H12: a request needs exactly one valid Host', async t => {
  const get = (headers: string) => byHand(`GET /v1/channels/a HTTP/1.1\r\n${headers}`)
  for (const headers of [
    '',
    'Host: x\r\nHost: x\r\n',
    'Host: x\r\nhost: y\r\n',
    'Host:\r\n',
    'Host: a b\r\n',
    'Host: a/b\r\n',
    'Host: u@x\r\n',
    'Host: http://x\r\n',
    'Host: x:port\r\n',
    'Host: x,y z\r\n',
    'Host: [::1\r\n',
  ]) {
    t.match(await get(headers), { status: 400, code: 'FW_BAD_REQUEST' }, JSON.stringify(headers))
  }
  for (const headers of ['Host: x\r\n', 'Host: x:8080\r\n', 'HOST: [::1]:1\r\n', 'Host: localhost:\r\n']) {
    t.equal((await get(headers)).status, 200, headers)
  }
  const old = await byHand('GET /v1/channels/a HTTP/1.0\r\n')
  t.equal(old.status, 200, 'HTTP/1.0 needs no Host')
})

t.test('H12: a target with a fragment is rejected', async t => {
  for (const path of ['/v1/channels/a#x', '/metrics#', '/v1/poll?channel=a#b']) {
    t.match(
      await byHand(`GET ${path} HTTP/1.1\r\nHost: x\r\n`),
      { status: 400, code: 'FW_BAD_REQUEST' },
      path,
    )
  }
})

t.test('H12: the authority is checked over HTTP/2 too', async t => {
  const session = connectHttp2(`http://127.0.0.1:${node.h2cPort}`)
  t.teardown(() => session.destroy())
  const status = async (headers: Record<string, string>) => {
    const stream = session.request({ ':path': '/v1/channels/a', ...headers })
    const [answer] = await once(stream.end(), 'response')
    stream.resume()
    return answer[':status']
  }
  t.equal(await status({}), 200)
  t.equal(await status({ ':authority': 'x', host: 'x' }), 200)
  t.equal(await status({ ':authority': 'x', host: 'localhost' }), 400)
  t.equal(await status({ ':authority': 'evil.example' }), 403)
})

t.test('H12: a transfer coding other than chunked is 501, and nothing is stored', async t => {
  const channel = fresh()
  const publish = (coding: string) =>
    byHand(
      `POST /v1/channels/${channel}/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n` +
        `Transfer-Encoding: ${coding}\r\n`,
      node,
      '1\r\n1\r\n0\r\n\r\n',
    )
  for (const coding of ['gzip, chunked', 'deflate,chunked', 'x, chunked']) {
    t.match(await publish(coding), { status: 501, code: 'FW_TRANSFER_ENCODING' }, coding)
  }
  const { body } = await node.get(`/v1/poll?channel=${channel}`)
  t.same(JSON.parse(body).events, [])
  t.equal((await publish('Chunked')).status, 201)
})

t.test('H12: a target in absolute-form works like one in origin-form, and its host counts', async t => {
  const channel = fresh()
  await node.append(channel, '1')
  const ask = (line: string, host = 'evil.example') => byHand(`${line} HTTP/1.1\r\nHost: ${host}\r\n`)
  for (const origin of ['http://localhost', 'HTTPS://x', `http://127.0.0.1:${node.port}`]) {
    const poll = await ask(`GET ${origin}/v1/poll?channel=${channel}`)
    t.equal(poll.status, 200, origin)
    t.match(poll.text, /"data":1/)
    t.match(await ask(`DELETE ${origin}/v1/poll`), {
      status: 405,
      code: 'FW_METHOD_NOT_ALLOWED',
      text: /Allow: GET/i,
    })
    t.match(await ask(`OPTIONS ${origin}/v1/poll`), { status: 204, text: /Allow: GET/i })
    t.match(await ask(`GET ${origin}/v1/poll/`), { status: 404, text: /slash/ })
    for (const query of ['', '?x=1']) {
      const { status, code } = await ask(`GET /${query}`, 'localhost')
      t.match(await ask(`GET ${origin}${query}`), { status, code }, `no path means /${query}`)
    }
  }
  t.match(await ask(`GET http://evil.example/v1/poll?channel=${channel}`, 'x'), { status: 403 })
  t.match(await ask(`GET http://u@x/v1/poll?channel=${channel}`, 'x'), { status: 400 })
  t.match(await ask(`GET http:///v1/poll?channel=${channel}`, 'x'), { status: 400 })
})

t.test('H14: HEAD on an endless response is answered with the head alone', async t => {
  const channel = fresh()
  for (const wire of ['sse', 'stream', 'push', 'long-poll']) {
    const path = `/v1/${wire}?channel=${channel}&cursor=earliest`
    const head = await fetch(base + path, { method: 'HEAD' })
    t.equal(head.status, 200, wire)
    t.equal(await head.text(), '')
    const type =
      { sse: /^text\/event-stream/, 'long-poll': /^application\/json/ }[wire] ?? /^application\/x-ndjson/
    t.match(head.headers.get('content-type'), type)
    t.match(head.headers.get('cache-control'), /no-store/)
    t.equal((await ask('/v1/sse?channel=', { method: 'HEAD' })).status, 400)
    t.match((await ask(path, { method: 'DELETE' })).error?.message, /GET, HEAD/)
  }
  t.equal(node.hub.stats().wires['long-poll']?.connections ?? 0, 0, 'nobody waits')
  const session = connectHttp2(`http://127.0.0.1:${node.h2cPort}`)
  t.teardown(() => session.destroy())
  const stream = session.request({ ':method': 'HEAD', ':path': `/v1/sse?channel=${channel}` })
  const [headers] = await once(stream, 'response')
  t.equal(headers[':status'], 200)
  stream.resume()
  await once(stream, 'end')
})
