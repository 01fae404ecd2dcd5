// Server-sent events, beyond the contract of every wire: requirements of an EventSource, and the raw connection.

import { once } from 'node:events'
import { setImmediate } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { bodyOf, rawBodyOf, readChunks } from '../../contract/chunks.ts'
import {
  openStream,
  queryOf,
  SseClient,
  type SseBlock,
  SseParser,
  type Target,
} from '../../contract/clients.ts'
import { type Node, type Settings, startMemoryNode } from '../../contract/node.ts'
import { at, fresh, idOf, idsOf, take } from '../../contract/wires.ts'
import { Raw } from '../http/app.ts'
import { until } from '../../support/until.ts'

const node = await startMemoryNode()
t.teardown(() => node.close())
const clients: { cut(): void }[] = []
t.afterEach(() => {
  for (const client of clients.splice(0)) client.cut()
})

async function nodeWith(test: Test, settings: Settings): Promise<Node> {
  const own = await startMemoryNode(settings)
  test.teardown(() => own.close())
  return own
}

async function connect(target: Target, headers: Record<string, string> = {}, of = node): Promise<SseClient> {
  const client = await new SseClient(target).connect(of, 'sse', target, headers)
  clients.push(client)
  return client
}

function raw(bytes: string, of = node): Raw {
  const client = new Raw(of.port).send(bytes)
  clients.push({ cut: () => client.close() })
  return client
}

const get = (channel: string, version = '1.1', more = '') =>
  `GET /v1/sse?channel=${channel} HTTP/${version}\r\nHost: x\r\n${more}\r\n`

/** The blocks of a body. */
function parse(body: string): { blocks: SseBlock[]; parser: SseParser } {
  const blocks: SseBlock[] = []
  const parser = new SseParser(block => blocks.push(block))
  parser.write(Buffer.from(body, 'latin1'))
  return { blocks, parser }
}

const connections = (of = node) => of.hub.stats().wires.sse?.connections
async function nobody(of = node): Promise<void> {
  await until(
    'all clients have left',
    () => of.hub.stats().readers === 0 && connections(of) === 0 && of.app.sockets.size === 0,
  )
}

// Resuming --------------------------------------------------------------------------------------------------

t.test('Last-Event-ID has precedence over the cursor, and an empty one counts as missing', async t => {
  const channel = fresh()
  const ids = await node.append(channel, '1', '2', '3')
  const first = async (headers: Record<string, string>, cursor?: string) =>
    idOf(await (await connect({ channels: [channel], cursor }, headers)).event())
  t.equal(await first({ 'last-event-id': ids[1] ?? '' }, ids[0]), ids[2])
  t.equal(await first({ 'last-event-id': ids[0] ?? '' }), ids[1])
  t.equal(await first({ 'last-event-id': '' }, ids[0]), ids[1])
  t.equal(await first({ 'last-event-id': 'earliest' }, 'latest'), ids[0])
  t.equal(await first({ 'last-event-id': ids[1] ?? '' }, 'no cursor at all'), ids[2])
})

t.test('`id:` names all channels, in the requested order, so that it is a complete cursor', async t => {
  const channels = [fresh(), fresh(), fresh()] as const
  const before = await Promise.all(channels.map(each => node.append(each, '1', '2')))
  const cursor = before.map(ids => ids[0]).join(',')
  // The client raises if `id:` differs from the cursor of the received messages.
  const client = await connect({ channels, cursor })
  await take(client, 3)
  const after = await Promise.all(channels.map(each => node.append(each, '3', '4')))
  const got = await take(client, 6)
  for (const [i, each] of channels.entries()) t.same(idsOf(got, each), after[i])
  const end = after.map(ids => ids[1]).join(',')
  t.equal(client.cursor, end)
  client.cut()
  const again = await connect({ channels, cursor: 'latest' }, { 'last-event-id': cursor })
  t.equal(again.opened, cursor)
  t.equal((await take(again, 9)).length, 9)
  t.equal(again.cursor, end)
})

t.test('`event: gap` has an `id:` that resumes after the gap', async t => {
  const [whole, lost] = [fresh(), fresh()]
  const [ids = [], others = []] = await Promise.all([whole, lost].map(each => node.append(each, '1', '2')))
  const path = `/v1/sse?${queryOf({ channels: [whole, lost], cursor: `${ids[1]},zzz-7` })}`
  const client = raw(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`)
  const text = await client.until(new RegExp(`id: ${ids[1]},${others[1]}\n\n\r\n`))
  const to = at(others[0], 0)
  const gap = `event: gap\ndata: {"channel":"${lost}","from":"zzz-7","to":"${to}"}\nid: ${ids[1]},${to}\n\n`
  const { blocks } = parse(bodyOf(text))
  t.match(bodyOf(text), gap)
  t.strictSame(
    blocks.map(block => block.lastEventId),
    [`${ids[1]},zzz-7`, `${ids[1]},${to}`, `${ids[1]},${others[0]}`, `${ids[1]},${others[1]}`],
  )
})

t.test('H2, H3: each block is the unchanged event, with its id last', async t => {
  const channel = fresh()
  const client = raw(get(channel))
  await client.until(/retry: \d+\n\n/)
  const [plain, typed] = await node.append(
    channel,
    { data: Buffer.from('{"a":1}') },
    { data: Buffer.from('2'), type: 'post' },
  )
  const body = bodyOf(await client.until(/"data":2\}\nid: .*\n\n\r\n/))
  const json = async (id = '') => (await node.get(`/v1/channels/${channel}/events/${id}`)).body
  const [head = ''] = /^event: fanwire:open\ndata: .*\nid: .*\nretry: \d+\n\n/.exec(body) ?? []
  const open = at(plain, 0)
  t.match(head, `event: fanwire:open\ndata: {"open":{"cursor":"${open}"}}\nid: ${open}\nretry: `)
  t.equal(
    body.slice(head.length),
    `data: ${await json(plain)}\nid: ${plain}\n\nevent: post\ndata: ${await json(typed)}\nid: ${typed}\n\n`,
  )
})

t.test('`retry:` differs from connection to connection', async t => {
  const all = await Promise.all(Array.from({ length: 20 }, () => connect({ channels: [fresh()] })))
  await until('each has received it', () => all.every(client => client.parser.retries.length === 1))
  const retries = all.map(client => client.parser.retries[0] ?? 0)
  t.ok(
    retries.every(ms => ms >= 1000 && ms <= 3000),
    `${retries}`,
  )
  t.ok(new Set(retries).size > 5)
})

// Headers ---------------------------------------------------------------------------------------------------

t.test('the head has the type, and forbids caching, transformation and buffering', async t => {
  const { answer, asked } = await openStream(node, `/v1/sse?channel=${fresh()}`, {
    'accept-encoding': 'gzip, br',
  })
  const { headers } = answer
  t.equal(headers['content-type'], 'text/event-stream')
  t.equal(headers['cache-control'], 'no-store, no-transform')
  t.equal(headers['x-accel-buffering'], 'no')
  t.equal(headers.connection, undefined)
  t.equal(headers['content-encoding'], undefined)
  t.equal(headers['content-length'], undefined)
  t.equal(headers['transfer-encoding'], 'chunked')
  t.ok(headers.date)
  asked.destroy()
})

t.test('headers from other plugins are kept', async t => {
  const origin = 'http://localhost:3000'
  const { answer, asked } = await openStream(node, `/v1/sse?channel=${fresh()}`, { origin })
  t.equal(answer.headers['access-control-allow-origin'], origin)
  t.match(answer.headers.vary, /\bOrigin\b/)
  asked.destroy()
  const foreign = await openStream(node, `/v1/sse?channel=${fresh()}`, { origin: 'http://elsewhere.example' })
  t.equal(foreign.answer.headers['access-control-allow-origin'], undefined)
  foreign.asked.destroy()
})

t.test('H1: an HTTP/1.0 client gets the same bytes, without chunks', async t => {
  const channel = fresh()
  const [old, plain] = [raw(get(channel, '1.0')), raw(get(channel))]
  await Promise.all([old, plain].map(client => client.until(/retry/)))
  const [id] = await node.append(channel, '"both"')
  const [texts] = [await Promise.all([old, plain].map(client => client.until(/"both"\}\nid: .*\n\n/)))]
  t.notMatch(texts[0], /^(transfer-encoding|content-length):/im)
  t.match(rawBodyOf(texts[0] ?? ''), /^event: [^]*\n\ndata: [^\n]+\nid: [^\n]+\n\n$/)
  await plain.until(/\n\n\r\n$/)
  t.equal(readChunks(rawBodyOf(plain.text)).data.length, 2, 'one chunk per stretch')
  const body = (client: Raw) => bodyOf(client.text).replace(/^retry: \d+$/m, '')
  t.equal(body(old), body(plain))
  t.equal(parse(bodyOf(old.text)).parser.lastEventId, id)
})

// Retryable and permanent errors -----------------------------------------------------------------------------

async function comesBack(test: Test, of: Node, path: string, code: string): Promise<void> {
  const { answer } = await openStream(of, path, { origin: 'http://localhost:3000' })
  const { headers } = answer
  let body = ''
  answer.setEncoding('latin1').on('data', text => {
    body += text
  })
  // An EventSource gives up on any status but 200, and other clients give up on a complete response.
  await test.rejects(once(answer, 'end'), { code: 'ECONNRESET' }, 'the response breaks off')
  test.match(headers['content-type'], /^text\/event-stream/)
  test.equal(headers['cache-control'], 'no-store')
  test.equal(headers['access-control-allow-origin'], 'http://localhost:3000')
  const { blocks, parser } = parse(body)
  test.same(blocks, [], 'there is no event, and no id that would replace the last one')
  test.equal(parser.retries.length, 1)
  test.ok((parser.retries[0] ?? 0) > 0)
  test.match(parser.comments[0], code)
}

t.test('the error of a draining node is retryable', async t => {
  const own = await nodeWith(t, {})
  own.app.fanwire.health.drain()
  await comesBack(t, own, `/v1/sse?channel=${fresh()}`, 'FW_DRAINING')
})

t.test('the error of too many followed channels is retryable, and a retry may succeed', async t => {
  const own = await nodeWith(t, { MAX_FOLLOWED: '1', LINGER: '100ms' })
  const first = await connect({ channels: [fresh()] }, {}, own)
  const other = fresh()
  await comesBack(t, own, `/v1/sse?channel=${other}`, 'FW_TOO_MANY_FOLLOWED')
  await comesBack(t, own, `/v1/sse?channel=${other}&channel=${fresh()}`, 'FW_TOO_MANY_FOLLOWED')
  for (const wire of ['stream', 'push']) {
    const { status, headers, body } = await own.get(`/v1/${wire}?channel=${other}`)
    t.equal(status, 503, 'other streaming wires answer with a status')
    t.ok(headers['retry-after'])
    t.equal(JSON.parse(body).error.code, 'FW_TOO_MANY_FOLLOWED')
  }
  t.equal(own.hub.stats().readers, 1)
  first.cut()
  await nobody(own)
  const second = await connect({ channels: [other] }, {}, own)
  t.match(second.opened, /-0$/)
})

t.test('the error of an unavailable log is retryable', async t => {
  const own = await nodeWith(t, {})
  const { LogUnavailable } = await import('../../../services/broker/log/log.ts')
  own.log.follow = async () => {
    throw new LogUnavailable('no answer\r\ndata: forged')
  }
  await comesBack(t, own, `/v1/sse?channel=${fresh()}`, 'FW_LOG_UNAVAILABLE')
  own.log.read = async () => {
    throw new LogUnavailable('no answer')
  }
  await comesBack(t, own, `/v1/sse?channel=${fresh()}`, 'FW_LOG_UNAVAILABLE')
  t.equal(own.hub.stats().channels, 0)
})

t.test('permanent errors keep their status', async t => {
  const channel = fresh()
  const lasting: [string, number, string][] = [
    ['channel=', 400, 'FW_BAD_CHANNEL'],
    ['', 400, 'FW_BAD_CHANNEL'],
    [`channel=${channel}&cursor=x`, 400, 'FW_BAD_CURSOR'],
    [`channel=${channel}&x=1`, 400, 'FW_BAD_PARAMETER'],
    [Array.from({ length: 33 }, () => `channel=${fresh()}`).join('&'), 400, 'FW_TOO_MANY_CHANNELS'],
  ]
  for (const [query, expected, code] of lasting) {
    const { status, body } = await node.get(`/v1/sse?${query}`)
    t.equal(status, expected)
    t.equal(JSON.parse(body).error.code, code)
  }
})

t.test('H1: a stopping node sends a goodbye: a retry delay, without a final end', async t => {
  const own = await nodeWith(t, {})
  const channel = fresh()
  const client = raw(get(channel), own)
  await client.until(/retry/)
  const [id] = await own.append(channel, '1')
  await client.until(/"data":1/)
  await own.hub.connections.drain(10)
  await client.ended
  t.equal(readChunks(rawBodyOf(client.text)).ended, false, 'the body has no final chunk')
  const { parser, blocks } = parse(bodyOf(client.text))
  t.equal(parser.retries.length, 2)
  t.match(parser.comments.at(-1), / 1001 /)
  t.equal(parser.lastEventId, id, 'the goodbye does not change the last id')
  t.equal(blocks.length, 2)
  await nobody(own)
})

// The connection itself -------------------------------------------------------------------------------------

t.test('a client that ends its side and disconnects is released', async () => {
  const channel = fresh()
  const before = raw(get(channel))
  await before.until(/retry/)
  before.socket.end()
  before.close()
  // Ends together with the request, before there is a response.
  const atOnce = raw('')
  atOnce.socket.end(get(channel))
  await atOnce.until(/retry/)
  atOnce.close()
  await nobody()
})

t.test('input after the request is discarded', async t => {
  const channel = fresh()
  const [, sentWith, sentLater] = [0, raw(get(channel) + 'garbage\0\r\n\r\n'), raw(get(channel))]
  await sentLater.until(/retry/)
  sentLater.send('\xff'.repeat(1000)).send('GET / HTTP/1.1\r\n\r\n')
  const chunk = Buffer.alloc(256 * 1024, 'x')
  // More than the kernel buffers while nobody reads.
  for (let i = 0; i < 64; i++) if (!sentLater.socket.write(chunk)) await once(sentLater.socket, 'drain')
  await node.append(channel, '"still"')
  const text = await sentLater.until(/"still"/)
  t.equal(text.match(/HTTP\/1\.1 /g)?.length, 1, 'no later input is answered')
  // Garbage that arrives together with the request may be rejected or discarded.
  await sentWith.until(/HTTP\/1\.1 (200[^]*"still"|400)/)
  t.equal((await node.get('/healthz')).status, 200)
})

t.test('a request after an open stream is not answered, and does no harm', async t => {
  const own = await nodeWith(t, {})
  const channel = fresh()
  const paths = [
    '/healthz',
    `/v1/poll?channel=${channel}`,
    `/v1/long-poll?channel=${channel}&wait=1`,
    `/v1/sse?channel=${channel}`,
    `/v1/stream?channel=${fresh()}`,
    '/nothing',
  ]
  for (const path of paths) {
    for (const together of [true, false]) {
      const behind = `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`
      const client = raw(together ? get(channel) + behind : get(channel), own)
      await client.until(/retry/)
      if (!together) client.send(behind)
      // Only one of several streams is started. (A long poll ends by itself.)
      await until('one stream', () => {
        const { sse, stream } = own.hub.stats().wires
        return (sse?.connections ?? 0) + (stream?.connections ?? 0) === 1
      })
      await own.append(channel, `"last ${path}"`)
      const text = await client.until(/"last /)
      t.match(text, `"last ${path}"`)
      t.equal(text.match(/HTTP\/1\.1 /g)?.length, 1, path)
      client.close()
      await until('nothing is left', () => {
        const { readers, wires } = own.hub.stats()
        return (
          readers === 0 &&
          own.hub.connections.held.size === 0 &&
          Object.values(wires).every(each => each.connections === 0)
        )
      })
    }
  }
  t.equal(own.hub.connections.leaving.size + own.hub.connections.full.size, 0)
  // Draining waits for requests in flight, so none of these may stay counted.
  await Promise.race([
    own.app.inFlight.answered(60_000),
    new Promise((_, reject) =>
      setTimeout(reject, 10_000, new Error('a request in flight is never finished')).unref(),
    ),
  ])
})

t.test('a stream after a pipelined request starts when its turn comes', async t => {
  const [held, channel] = [fresh(), fresh()]
  const longPoll = `GET /v1/long-poll?channel=${held}&wait=55 HTTP/1.1\r\nHost: x\r\n\r\n`
  const client = raw(longPoll + get(channel))
  await until('both wait', () => node.hub.connections.held.size === 1 && connections() === 1)
  await node.append(channel, '"first"')
  t.equal(client.text, '')
  await node.append(held, '"released"')
  await client.until(/"first"/)
  await node.append(channel, '"second"')
  t.match(
    await client.until(/"second"/),
    /^HTTP\/1\.1 200[^]*"released"[^]*HTTP\/1\.1 200[^]*retry[^]*"first"[^]*"second"/,
  )
  client.close()
  await nobody()

  const gone = raw(longPoll + get(channel))
  await until('both wait', () => node.hub.connections.held.size === 1 && connections() === 1)
  gone.close()
  await nobody()
  await until('nothing is held', () => node.hub.connections.held.size === 0)

  const short = raw(`GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n${get(channel)}`)
  await short.until(/retry/)
  await node.append(channel, '"third"')
  t.match(await short.until(/"third"/), /^HTTP\/1\.1 200[^]*"ok":true[^]*HTTP\/1\.1 200[^]*retry[^]*"third"/)
})

t.test('a connection that was used before can become a stream', async t => {
  const channel = fresh()
  const client = raw('')
  for (let i = 1; i <= 3; i++) {
    client.send(`GET /v1/poll?channel=${channel}&n=${i} HTTP/1.1\r\nHost: x\r\n\r\n`)
    await client.until(new RegExp(`(?:FW_BAD_PARAMETER[^]*){${i}}`))
  }
  client.send(get(channel))
  await client.until(/retry/)
  await node.append(channel, '"streamed"')
  t.match(await client.until(/"streamed"/), /text\/event-stream/)
})

t.test('connections that open and close at any moment leave nothing behind, and harm nobody', async t => {
  const channel = fresh()
  const witness = await connect({ channels: [channel] })
  const ids: string[] = []
  let publishing = true
  const publisher = (async () => {
    while (publishing) {
      ids.push(...(await node.append(channel, `"${'x'.repeat(ids.length % 3000)}"`)))
      await setImmediate()
    }
  })()
  const ways: ((client: Raw) => Promise<unknown> | void)[] = [
    client => client.close(),
    client => void client.socket.end(),
    client => client.socket.resetAndDestroy() && undefined,
    client => client.until(/HTTP/).then(() => client.close()),
    client => client.until(/retry/).then(() => client.socket.resetAndDestroy()),
    client => client.until(/"x/).then(() => client.socket.end()),
    client => client.until(/HTTP/).then(() => client.send('more').socket.end()),
    client => client.until(/HTTP/).then(() => client.send(get(channel)).close()),
    client => once(client.socket, 'connect').then(() => client.close()),
    client => setImmediate().then(() => client.send('x'.repeat(100_000)).socket.end()),
    async client => {
      client.socket.pause()
      for (let i = 0; i < 20; i++) await setImmediate()
      client.close()
    },
  ]
  const requests = [
    get(channel),
    get(channel, '1.0'),
    get(channel) + get(channel),
    get(channel) + 'right behind it',
    `GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n${get(channel)}`,
    get(channel).slice(0, -3),
    get(channel, '1.1', 'Content-Length: 5\r\n') + 'hello',
    get(channel, '1.1', 'Content-Length: 500000\r\n') + 'hello',
    get(channel, '1.1', 'Transfer-Encoding: chunked\r\n') + '5\r\nhello\r\n',
    get(channel, '1.1', 'Expect: 100-continue\r\nContent-Length: 5\r\n'),
  ]
  for (let round = 0; round < 4; round++) {
    await Promise.all(
      Array.from({ length: 110 }, async (_, i) => {
        for (let wait = (i * 7) % 5; wait > 0; wait--) await setImmediate()
        const client = raw(requests[(i + round) % requests.length] ?? '')
        const way = ways[i % ways.length]
        // Some requests never get the expected response, so each has a time limit.
        await Promise.race([way?.(client), client.ended, new Promise(resolve => setTimeout(resolve, 500))])
        client.close()
      }),
    )
  }
  publishing = false
  await publisher
  t.same(idsOf(await take(witness, ids.length)), ids)
  await until('only the witness is left', () => node.hub.stats().readers === 1 && connections() === 1)
  await until('only its socket is left', () => node.app.sockets.size === 1)
  t.equal(
    node.hub.connections.full.size + node.hub.connections.leaving.size + node.hub.connections.held.size,
    0,
  )
  t.equal((await node.get('/healthz')).status, 200)
})

t.test('a request with a body also becomes a stream, or is rejected', async t => {
  const channel = fresh()
  const bodies: [string, string][] = [
    ['Content-Length: 5\r\n', 'hello'],
    ['Transfer-Encoding: chunked\r\n', '5\r\nhello\r\n0\r\n\r\n'],
  ]
  for (const [header, body] of bodies) {
    const client = raw(get(channel, '1.1', header) + body)
    const text = await client.until(/retry|\{"error"/)
    if (text.startsWith('HTTP/1.1 200')) {
      await node.append(channel, '"came"')
      t.match(await client.until(/"came"/), /"came"/)
    } else t.match(text, /^HTTP\/1\.1 4\d\d [^]*"FW_/)
  }
})
