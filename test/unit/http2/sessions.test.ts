// HTTP/2 sessions that hold many streams, send many requests, or violate the protocol: the costs are bounded, and other
// clients are not affected.

import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { connect, type ServerHttp2Session } from 'node:http2'
import type { Socket } from 'node:net'
import t, { type Test } from 'tap'
import { Quota } from '../../../services/broker/limits/buckets.ts'
import { Session } from '../../../services/http/sessions.ts'
import { startMemoryNode, type Node, type Settings } from '../../contract/node.ts'
import { fresh } from '../../contract/wires.ts'
import { stopPerformanceNow } from '../../support/stopped-clock.ts'
import { until } from '../../support/until.ts'
import { get, MALFORMED, RawSession, reset } from './by-hand.ts'

async function nodeWith(t: Test, settings: Settings = {}): Promise<Node & { readonly h2cPort: number }> {
  const node = await startMemoryNode({ H2C_PORT: '0', ...settings })
  t.teardown(() => node.close())
  return { ...node, h2cPort: node.h2cPort ?? 0 }
}

function opened(t: Test, { h2cPort }: { readonly h2cPort: number }, from?: string): RawSession {
  const session = new RawSession(h2cPort, from)
  t.teardown(() => session.close())
  return session
}

t.test(
  'W2: a malformed frame on a session with an open stream ends its connection, and leaves nothing',
  async t => {
    const node = await nodeWith(t, { STALL: '400ms', HEARTBEAT: '10s' })
    const stays = opened(t, node).send(get(1, '/v1/stream?channel=stays'))
    await until('the stream is open', () => stays.body(1).includes('open'))
    const wires = [
      '/v1/stream?channel=a',
      '/v1/sse?channel=a',
      '/v1/push?channel=a',
      '/v1/long-poll?channel=a&wait=55',
    ]
    for (const [what, frame] of Object.entries(MALFORMED)) {
      for (const path of wires) {
        const session = opened(t, node).send(get(1, path))
        await until('the reader is there', () => node.hub.readers('a') === 1)
        session.send(frame)
        await session.ended
        await until(`all readers have left: ${what}, ${path}`, () => node.hub.readers('a') === 0)
        await until(`only the other socket is left: ${what}, ${path}`, () => node.app.sockets.size === 1)
      }
    }
    await node.append('stays', '"on"')
    await until('a well-behaved client receives events', () => stays.body(1).includes('"on"'))
  },
)

t.test('W2: a quiet live session stays, and a stream that reads nothing is closed', async t => {
  const node = await nodeWith(t, { STALL: '300ms', HEARTBEAT: '10s' })
  const quiet = opened(t, node).send(get(1, '/v1/long-poll?channel=quiet&wait=2'))
  await until('it is answered in the end', () => quiet.body(1).includes('cursor'))
  // The client's window is 65,535 bytes and never grows. The node can still send PINGs on the session.
  const channel = fresh()
  const stuck = opened(t, node).send(get(1, `/v1/stream?channel=${channel}`))
  await until('it is there', () => node.hub.readers(channel) === 1)
  for (let i = 0; i < 4; i++) await node.append(channel, `"${'x'.repeat(60_000)}"`)
  await until('the reader is closed because it stalled', () => node.hub.readers(channel) === 0)
  stuck.send(get(3, '/v1/channels/a'))
  await until('its session continues', () => stuck.answered.includes(3))
})

t.test('W2: a live read of Durable Streams whose client reads nothing is closed', async t => {
  const node = await nodeWith(t, { STALL: '300ms', DURABLE_STREAMS: '1' })
  const channel = fresh()
  for (let i = 0; i < 4; i++) await node.append(channel, `"${'x'.repeat(60_000)}"`)
  const stats = node.hub.connections.wires.of('durable-streams')
  const path = `/v1/stream/${channel}?offset=-1&live=sse`
  const session = connect(`http://127.0.0.1:${node.h2cPort}`)
  let text = ''
  session
    .request({ ':path': path })
    .setEncoding('utf8')
    .on('data', part => (text += part))
  await until('a client that reads has everything', () => text.includes('upToDate'))
  t.equal(text.match(/x{60000}/g)?.length, 4)
  session.destroy()
  await until('it has left', () => stats.connections === 0)
  const stuck = opened(t, node).send(get(1, path))
  await until('it is there', () => stats.connections === 1)
  await until('it has what its window allows', () => stuck.body(1).length > 60_000)
  await until('the reader is closed because it stalled', () => stats.connections === 0)
  stuck.send(get(3, '/v1/channels/a'))
  await until('its session continues', () => stuck.answered.includes(3))
})

t.test('S2: requests held by an HTTP/2 session count as connections', async t => {
  const node = await nodeWith(t, { MAX_CONNECTIONS: '60' })
  const session = opened(t, node)
  const streams = Array.from({ length: 100 }, (_, i) => 1 + 2 * i)
  session.send(...streams.map(stream => get(stream, '/v1/stream?channel=a')))
  await until('all are answered', () => session.answered.length === 100)
  const most = 60 + 32
  const held = node.hub.readers('a')
  t.ok(held >= 60 && held <= most, `${held} of 100`)
  await until('the last is rejected', () => session.body(199).includes('FW_TOO_MANY_CONNECTIONS'))
  const { status, body } = await node.get('/v1/poll?channel=a')
  t.equal(status, 503)
  t.match(body, 'FW_TOO_MANY_CONNECTIONS')
  t.equal((await node.get('/healthz')).status, 200)
  session.send(...streams.slice(0, 50).map(reset))
  await until('it has released some', () => node.hub.readers('a') === held - 50)
  t.equal((await node.get('/v1/poll?channel=a')).status, 200)
})

t.test('S4: many requests of one session do not starve others', async t => {
  const node = await nodeWith(t)
  const [many, one] = [opened(t, node), opened(t, node)]
  for (const session of [many, one]) {
    session.send(get(1, '/v1/poll?channel=a'))
    await until('it is served', () => session.answered.length === 1)
  }
  const begun: string[] = []
  node.app.server.on('request', (request: IncomingMessage) => begun.push(request.url ?? ''))
  const streams = Array.from({ length: 99 }, (_, i) => 3 + 2 * i)
  many.send(...streams.map(stream => get(stream, `/v1/poll?channel=a&limit=${stream}`)))
  one.send(get(3, '/v1/poll?channel=b'))
  await until('all are served', () => many.answered.length === 100 && one.answered.length === 2)
  t.ok(begun.indexOf('/v1/poll?channel=b') <= 64, `after ${begun.indexOf('/v1/poll?channel=b')} of 99`)
  t.strictSame(
    begun.filter(url => url.includes('channel=a')),
    streams.map(stream => `/v1/poll?channel=a&limit=${stream}`),
    'requests are answered in order',
  )
})

t.test('S7: a client that resets requests endlessly is cut, and its address blocked for a while', async t => {
  const node = await nodeWith(t)
  const served = opened(t, node, '127.0.0.2').send(get(1, '/v1/stream?channel=a'))
  await until('another is served', () => served.body(1).includes('open'))
  const begun: string[] = []
  node.app.server.on('request', (request: IncomingMessage) => begun.push(request.url ?? ''))

  let taken = 0
  for (let cut = false; !cut;) {
    const session = opened(t, node)
    // After more than 1,000 resets on one session, nghttp2 ends the session by itself.
    for (let stream = 1; stream < 600 && !cut;) {
      const streams = Array.from({ length: 60 }, () => (stream += 2) - 2)
      session.send(...streams.flatMap(each => [get(each, '/v1/poll?channel=a'), reset(each)]))
      taken += 60
      const last = (stream += 2) - 2
      session.send(get(last, '/v1/poll?channel=b'))
      await until('it is answered or cut', () => session.answered.includes(last) || session.raw.socket.closed)
      cut = session.raw.socket.closed
    }
  }
  t.ok(taken >= 1000, 'at least 1000 requests are accepted, over all sessions')
  t.ok(begun.length <= (taken / 60) * 33, `of ${taken} requests ${begun.length} were begun`)
  const again = opened(t, node)
  await again.ended
  t.strictSame(again.answered, [], 'a new session is refused')

  served.send(get(3, '/v1/poll?channel=a'))
  await until('another address is served', () => served.answered.includes(3))
  t.equal((await node.get('/v1/poll?channel=a')).status, 200, 'HTTP/1.1 is served')
  await until('after a while the client may reconnect', async () => {
    const back = opened(t, node).send(get(1, '/v1/poll?channel=a'))
    await until('it is answered or cut', () => back.answered.length > 0 || back.raw.socket.closed)
    return back.answered.length > 0
  })
})

t.test(
  'S7: a session with more requests in one turn than it may have open is cut before they are read',
  async t => {
    const node = await nodeWith(t)
    let begun = 0
    node.app.server.on('request', () => begun++)
    const session = opened(t, node)
    const streams = Array.from({ length: 900 }, (_, i) => 1 + 2 * i)
    session.send(...streams.flatMap(each => [get(each, '/v1/poll?channel=a'), reset(each)]))
    await session.ended
    // Newer versions of Node cut the session themselves, and earlier.
    t.ok(begun <= 3 * 32, `${begun} were begun`)
    t.equal((await node.get('/v1/poll?channel=a')).status, 200)
  },
)

t.test('S7: answered streams may be closed at any rate', async t => {
  const node = await nodeWith(t)
  // After more than 1,000 resets on one session, nghttp2 ends the session by itself.
  for (let sessions = 0; sessions < 3; sessions++) {
    const session = opened(t, node)
    for (let stream = 1; stream < 1000;) {
      const streams = Array.from({ length: 100 }, () => (stream += 2) - 2)
      session.send(...streams.map(each => get(each, '/v1/sse?channel=a')))
      await until('they are open', () => session.answered.length === (stream - 1) / 2)
      session.send(...streams.map(reset))
      await until('they are gone', () => node.hub.readers('a') === 0)
    }
  }
  const next = opened(t, node).send(get(1, '/v1/poll?channel=a'))
  await until('the next is served', () => next.answered.length === 1)
})

t.test('S7: an address may open a limited number of sessions', async t => {
  const node = await nodeWith(t)
  let begun = 0
  const begin = async () => {
    const session = new RawSession(node.h2cPort)
    await Promise.race([once(session.raw.socket, 'data').catch(() => {}), session.ended])
    if (session.raw.socket.bytesRead > 0) begun++
    session.close()
  }
  // The time stands still, because the address's quota would grow meanwhile.
  const clock = stopPerformanceNow(t)
  for (let asked = 0; begun === asked; asked += 50) await Promise.all(Array.from({ length: 50 }, begin))
  t.ok(begun >= 2000, `${begun}`)
  await until('after a while the address may open sessions again', async () => {
    clock.forward(100)
    const before = begun
    await begin()
    return begun > before
  })
})

t.test('S7: a quota is a burst and a rate per address, and drops full entries', async t => {
  const quota = new Quota({ burst: 3, perSecond: 2 })
  const take = (address: string, now: number) => quota.take(address, now)
  t.strictSame(
    [1, 2, 3, 4].map(() => take('a', 0)),
    [true, true, true, false],
  )
  t.ok(take('b', 0))
  t.notOk(quota.has('a', 400))
  t.ok(quota.has('a', 500))
  quota.exhaust('d', 1, 500)
  t.strictSame(
    [1000, 1900, 2000].map(now => quota.has('d', now)),
    [false, false, true],
  )
  t.strictSame(
    [1, 2].map(() => take('a', 500)),
    [true, false],
  )
  t.strictSame(
    [1, 2, 3, 4].map(() => take('a', 60_000)),
    [true, true, true, false],
  )
  take('c', 120_000)
  t.equal(quota.size, 1)
})

t.test('a session whose kernel still accepts bytes of a large write is not stalled', async t => {
  const handle = { bytesWritten: 1_000_000, writeQueueSize: 900_000 }
  let cut = false
  const socket = { bytesWritten: 1_000_000, _handle: handle, destroy: () => (cut = true) }
  const session = new Session(
    { destroyed: true } as ServerHttp2Session,
    socket as unknown as Socket,
    () => {},
  )
  session.streams = 1
  for (let now = 0; now < 5000; now += 1000) {
    handle.writeQueueSize -= 100_000
    session.check(now, 1000)
    t.notOk(cut)
  }
  session.check(5000, 1000)
  t.ok(cut)
})
