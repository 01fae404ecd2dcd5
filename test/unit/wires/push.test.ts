// HTTP/2 push, beyond the contract of every wire: the pushed responses, and the fallback without pushes.

import { once } from 'node:events'
import { type ClientHttp2Session, constants, createServer } from 'node:http2'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { PushSink } from '../../../services/wires/push/pushes.ts'
import { openStream } from '../../contract/clients.ts'
import { ask, destroy, makeCertificate, openSession, PushClient } from '../../contract/http2.ts'
import { startMemoryNode } from '../../contract/node.ts'
import { fresh, idOf, idsOf, take } from '../../contract/wires.ts'
import { Program, without } from '../../support/tools.ts'
import { until } from '../../support/until.ts'

const { cert, key } = makeCertificate()
const node = await startMemoryNode({ H2C_PORT: '0', TLS_CERT: cert, TLS_KEY: key, HEARTBEAT: '200ms' })
t.teardown(() => node.close())

const clients: { cut(): void }[] = []
t.afterEach(() => {
  for (const client of clients.splice(0)) client.cut()
})

async function connect(channel: string, settings = {}, cursor = 'latest', headers = {}): Promise<PushClient> {
  const target = { channels: [channel], cursor }
  const client = new PushClient(target, settings)
  clients.push(client)
  return await client.begin(node, target, headers)
}

async function session(settings = {}): Promise<ClientHttp2Session> {
  const opened = await openSession(node, settings)
  clients.push({ cut: () => destroy(opened) })
  return opened
}

t.test('a pushed response equals a GET of it, byte for byte', async t => {
  const channel = fresh()
  const origin = 'http://localhost:1234'
  for (const headers of [{}, { origin }]) {
    const client = await connect(channel, {}, 'latest', headers)
    const id = await node.publish(channel, '{\n"a": "ä"}', 'application/json', '?type=post')
    const event = await client.event()
    t.equal(idOf(event), id)
    const path = `/v1/channels/${channel}/events/${id}`
    const pushed = client.pushed.get(path)
    const over2 = await session()
    const got = await ask(over2, { ':path': path, ...headers })
    t.equal(pushed?.body, got.body)
    const plain = (given: object) =>
      Object.fromEntries(Object.entries(given).filter(([name]) => name !== 'date'))
    t.strictSame(plain(pushed?.headers ?? {}), plain(got.headers))
    t.match(pushed?.headers, {
      ':status': 200,
      etag: `"${id}"`,
      'cache-control': 'public, max-age=31536000, immutable',
      'content-length': String(Buffer.byteLength(got.body)),
    })
    t.match(pushed?.promised, {
      ':method': 'GET',
      ':scheme': 'http',
      ':authority': `127.0.0.1:${node.h2cPort}`,
      ':path': path,
      ...headers,
    })
    t.equal(client.inline, 0)
  }
})

t.test('a pushed event that was erased has the entity tag of its GET', async t => {
  const { log } = node
  const channel = fresh()
  const [receipt] = await log.append(channel, [{ data: Buffer.from('"secret"') }])
  if (receipt === undefined) return t.fail('no receipt')
  await log.erase(channel, receipt.position)
  const client = await connect(channel, {}, 'earliest')
  const id = idOf(await client.event())
  const path = `/v1/channels/${channel}/events/${id}`
  const got = await ask(await session(), { ':path': path })
  t.equal(client.pushed.get(path)?.headers.etag, `"${id};erased"`)
  t.equal(got.headers.etag, `"${id};erased"`)
})

t.test('the held stream reports its cursor, pushes, gaps, and the reason for its end', async t => {
  const own = await startMemoryNode({ H2C_PORT: '0', HEARTBEAT: '50ms' })
  t.teardown(() => own.close())
  const channel = fresh()
  const ids = await own.append(channel, '1', '2')
  const over2 = await openSession(own)
  clients.push({ cut: () => destroy(over2) })
  const held = over2.request({ ':path': `/v1/push?channel=${channel}&cursor=zzz-1` })
  let text = ''
  held.on('data', data => {
    text += data
  })
  const [headers] = await once(held, 'response')
  t.equal(headers['content-type'], 'application/x-ndjson')
  await until('a heartbeat after all that', () => text.includes(`"${ids[1]}"}}\n\n`))
  await Promise.all([
    own.hub.connections.drain(0),
    t.rejects(once(held, 'end'), { code: 'ERR_HTTP2_STREAM_ERROR' }),
  ])
  const lines = text.split('\n').filter(line => line !== '')
  t.strictSame(lines.slice(0, -1), [
    '{"open":{"cursor":"zzz-1"}}',
    `{"gap":{"channel":"${channel}","from":"zzz-1","to":"${ids[0]?.split('-')[0]}-0"}}`,
    `{"pushed":{"channel":"${channel}","id":"${ids[0]}"}}`,
    `{"pushed":{"channel":"${channel}","id":"${ids[1]}"}}`,
  ])
  t.match(JSON.parse(lines.at(-1) ?? ''), { close: { code: 1001, reason: String, retry: Number } })
})

t.test('a client that allows few concurrent pushes gets all of them, in order', async t => {
  for (const maxConcurrentStreams of [2, 15, 100]) {
    const channel = fresh()
    const client = await connect(channel, { maxConcurrentStreams })
    const ids = await node.append(channel, ...new Array<string>(1500).fill(`"${'x'.repeat(500)}"`))
    t.strictSame(idsOf(await take(client, 1500)), ids)
    t.equal(client.pushed.size, 1500)
    t.equal(client.inline, 0)
  }
})

t.test('a client without pushes gets the events as lines, in any HTTP version', async t => {
  for (const settings of [{ enablePush: false }, { maxConcurrentStreams: 1 }, { maxConcurrentStreams: 0 }]) {
    const channel = fresh()
    const client = await connect(channel, settings)
    const ids = await node.append(channel, '1', '2')
    t.strictSame(idsOf(await take(client, 2)), ids)
    t.equal(client.inline, 2)
    t.equal(client.pushed.size, 0)
  }
  const channel = fresh()
  const { answer, asked } = await openStream(node, `/v1/push?channel=${channel}`)
  t.equal(answer.httpVersion, '1.1')
  t.equal(answer.headers['content-type'], 'application/x-ndjson')
  const [id] = await node.append(channel, '1')
  let text = ''
  for await (const piece of answer) {
    text += piece
    if (text.includes(`"id":"${id}"`)) break
  }
  asked.destroy()
})

t.test('a push that the client refuses is named, so that it can be fetched', async t => {
  const channel = fresh()
  const over2 = await session()
  over2.on('stream', pushed => {
    pushed.on('error', () => {})
    pushed.close(constants.NGHTTP2_REFUSED_STREAM)
  })
  const held = over2.request({ ':path': `/v1/push?channel=${channel}` })
  let text = ''
  held.on('data', data => {
    text += data
  })
  await until('the stream is open', () => text.includes('"open"'))
  const ids: string[] = []
  for (let i = 0; i < 50; i++) ids.push(...(await node.append(channel, `${i}`)))
  await until('all are named', () => text.includes(ids.at(-1) ?? ''))
  const named = text.split('\n').flatMap(line => /"pushed".*"id":"([^"]+)"/.exec(line)?.[1] ?? [])
  t.strictSame(named, ids)
  const { body } = await ask(over2, { ':path': `/v1/channels/${channel}/events/${ids[7]}` })
  t.equal(JSON.parse(body).data, 7)
})

t.test("several held streams of a session share the client's push limit", async t => {
  const channels = [fresh(), fresh(), fresh()]
  const over2 = await session({ maxConcurrentStreams: 20 })
  let open = 0
  let most = 0
  let came = 0
  over2.on('stream', pushed => {
    most = Math.max(most, ++open)
    came++
    pushed.on('error', () => {})
    pushed.resume()
    pushed.once('end', () => open--)
  })
  const texts = channels.map(() => '')
  for (const [i, channel] of channels.entries()) {
    const held = over2.request({ ':path': `/v1/push?channel=${channel}` })
    held.on('data', data => {
      texts[i] += data
    })
  }
  await until('all are open', () => texts.every(text => text.includes('"open"')))
  for (const channel of channels) await node.append(channel, ...new Array<string>(200).fill('1'))
  await until('all pushes have arrived', () => came === 600)
  t.ok(most <= 10, `${most} at a time`)
})

t.test('unread pushes pause the reader, and no more are opened', async t => {
  const channel = fresh()
  const over2 = await session()
  let unread = 0
  over2.on('stream', pushed => {
    pushed.on('error', () => {})
    pushed.pause()
    unread++
  })
  const held = over2.request({ ':path': `/v1/push?channel=${channel}` })
  held.on('error', () => {})
  held.resume()
  await until('it reads', () => node.hub.readers(channel) === 1)
  const large = `"${'x'.repeat(128 * 1024)}"`
  for (let i = 0; i < 300; i++) await node.append(channel, large)
  // At most 512 KiB of pushes are unread.
  await until('the limit of open pushes is reached', () => unread === 4)
  for (let i = 0; i < 5; i++) await ask(over2, { ':path': '/healthz' })
  t.equal(node.hub.connections.full.size, 1, 'the reader is paused')
  t.equal(unread, 4)
  destroy(over2)
  await until('it has left', () => node.hub.readers(channel) === 0 && node.hub.connections.full.size === 0)
})

t.test('a client with the maximum number of pushes in flight can still send requests', async t => {
  const channel = fresh()
  // Pushes stay in flight until the client reads them.
  const over2 = await session({ initialWindowSize: 1000 })
  let unread = 0
  over2.on('stream', pushed => {
    pushed.on('error', () => {})
    pushed.pause()
    unread++
  })
  const held = over2.request({ ':path': `/v1/push?channel=${channel}` })
  held.resume()
  await until('it reads', () => node.hub.readers(channel) === 1)
  await node.append(channel, ...new Array<string>(200).fill(`"${'x'.repeat(2000)}"`))
  await until('the reader is paused', () => node.hub.connections.full.size === 1)
  // The other half of the streams that the node allows, except the held one.
  const answers = await Promise.all(Array.from({ length: 49 }, () => ask(over2, { ':path': '/healthz' })))
  t.ok(answers.every(({ status }) => status === 200))
  t.equal(unread, 50)
})

t.test('nghttp receives pushes, or lines if it disables them', { skip: without('nghttp') }, async t => {
  for (const url of [`http://127.0.0.1:${node.h2cPort}`, `https://127.0.0.1:${node.port}`]) {
    const channel = fresh()
    const ids = await node.append(channel, '"one"', '"two"', '"three"')
    const path = `${url}/v1/push?channel=${channel}&cursor=earliest`
    const pushed = new Program('nghttp', ['-v', '--no-verify-peer', path])
    const plain = new Program('nghttp', ['-v', '--no-push', path])
    t.teardown(() => [pushed, plain].map(each => each.stop()))
    const text = await pushed.until(text =>
      ids.every(id => text.includes(`{"pushed":{"channel":"${channel}","id":"${id}"}}`)),
    )
    t.equal(text.match(/recv PUSH_PROMISE frame/g)?.length, 3)
    for (const id of ids) t.match(text, `:path: /v1/channels/${channel}/events/${id}`)
    const lines = await plain.until(text => text.includes('"three"'))
    t.notMatch(lines, /PUSH_PROMISE/)
    pushed.stop()
    plain.stop()
  }
})

t.test('S1: a push that cannot be answered ends its stream, and nothing else', async t => {
  const server = createServer()
  server.on('stream', stream => {
    stream.respond({ ':status': 200 })
    const sink = new PushSink(stream, { connection: 'not for HTTP/2' }, {}, true, () => false)
    sink.write('{"channel":"a","id":"a-1","time":1}\n')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const over2 = await openSession({ ...node, h2cPort: (server.address() as AddressInfo).port })
  clients.push({ cut: () => destroy(over2) })
  over2.on('stream', pushed => pushed.on('error', () => {}))
  for (let i = 0; i < 3; i++) {
    const stream = over2.request({ ':path': '/' })
    stream.on('error', () => {})
    stream.resume()
    await once(stream, 'close')
  }
  t.notOk(over2.destroyed, 'the session continues')
})
