// What only the sse and stream wires have: headers, blocks and lines, and how they end.

import t, { type Test } from 'tap'
import { NdjsonClient, SseClient } from '../contract/clients.ts'
import { type Node, type Settings, startMemoryNode, until } from '../contract/node.ts'
import { fresh, idOf } from '../contract/wires.ts'
import { Raw } from './raw.ts'

async function nodeWith(t: Test, settings: Settings = {}): Promise<Node> {
  const node = await startMemoryNode(settings)
  t.teardown(() => node.close())
  return node
}

const WIRES = ['sse', 'stream'] as const

function raw(t: Test, node: Node): Raw {
  const socket = new Raw(node.port)
  t.teardown(() => socket.cut())
  return socket
}

t.test('an answer that never ends is kept from caches, transformers and buffering proxies', async t => {
  const node = await nodeWith(t)
  for (const wire of WIRES) {
    for (const version of ['1.0', '1.1']) {
      const socket = raw(t, node).ask(`GET /v1/${wire}?channel=a&cursor=earliest HTTP/${version}`, 'Host: x')
      await socket.saw(wire === 'sse' ? /retry: \d+\n\n/ : /\n$/)
      const lines = socket.head.split('\r\n')
      t.match(lines[0], /^http\/1\.1 200 /)
      const type = wire === 'sse' ? 'text/event-stream' : 'application/x-ndjson'
      t.ok(lines.some(line => line.startsWith(`content-type: ${type}`)))
      for (const header of [
        'cache-control: no-store, no-transform',
        'x-accel-buffering: no',
        'connection: close',
      ]) {
        t.ok(lines.includes(header), header)
      }
      t.notMatch(socket.head, /transfer-encoding|content-length/, 'the body ends with the connection')
      const [id = ''] = await node.append('a', `"${wire} ${version}"`)
      await socket.saw(new RegExp(`"${id}"`))
      t.match(
        socket.body,
        wire === 'sse' ? /^id: \w+-\d+\n\nretry: \d+\n\n/ : /^\{"open":\{"cursor":"\w+-\d+"\}\}\n/,
      )
    }
  }
})

t.test('the first block moves the cursor and fires nothing; then events, to the letter', async t => {
  const node = await nodeWith(t)
  const [first = ''] = await node.append('a', '0')
  const socket = raw(t, node).ask('GET /v1/sse?channel=a HTTP/1.1', 'Host: x')
  await socket.saw(/retry/)
  const [plain = ''] = await node.append('a', '{"a":1.0}')
  const [typed = ''] = await node.append('a', { data: Buffer.from('2'), type: 'post' })
  await socket.saw(new RegExp(`"${typed}"`))
  const json = async (id: string) => (await node.get(`/v1/channels/a/events/${id}`)).body
  const retry = /retry: \d+/.exec(socket.body)?.[0]
  t.equal(
    socket.body,
    `id: ${first}\n\n${retry}\n\nid: ${plain}\ndata: ${await json(plain)}\n\n` +
      `id: ${typed}\nevent: post\ndata: ${await json(typed)}\n\n`,
  )
})

t.test('the hint when to come back is another for each', async t => {
  const node = await nodeWith(t)
  const clients = await Promise.all(
    Array.from({ length: 12 }, () =>
      new SseClient({ channels: ['a'] }).connect(node, 'sse', { channels: ['a'] }, {}),
    ),
  )
  const hints = new Set<number | undefined>()
  for (const client of clients) {
    await until('a hint', () => client.parser.retries.length === 1)
    hints.add(client.parser.retries[0])
    client.cut()
  }
  t.ok(hints.size > 6, `${hints.size} of 12 differ`)
})

t.test('Last-Event-ID wins over the cursor, as a browser reconnects', async t => {
  const node = await nodeWith(t)
  const ids = await node.append('a', '1', '2', '3')
  const target = { channels: ['a'], cursor: 'earliest' }
  const connect = (id: string) => new SseClient(target).connect(node, 'sse', target, { 'last-event-id': id })
  const resumed = await connect(ids[1] ?? '')
  t.equal(resumed.opened, ids[1])
  t.equal(idOf(await resumed.event()), ids[2])
  const empty = await connect('')
  t.equal(idOf(await empty.event()), ids[0], 'an empty one is none')
  await t.rejects(connect('nonsense!'), { status: 400, code: 'FW_BAD_CURSOR' })
  await t.rejects(connect('a-1,b-2'), { status: 400, code: 'FW_BAD_CURSOR' })
  resumed.cut()
  empty.cut()
})

t.test('with several channels every id names them all, so that a browser can come back with it', async t => {
  const node = await nodeWith(t)
  const channels = ['a', 'b', 'c']
  const start = (await Promise.all(channels.map(each => node.append(each, '0')))).flat()
  const target = { channels, cursor: `${start[0]},zzz-9,${start[2]}` }
  // The client itself checks each id against what came.
  const client = await new SseClient(target).connect(node, 'sse', target, {})
  const gap = await client.next()
  t.ok('gap' in gap)
  t.equal(client.parser.lastEventId.split(',').length, 3)
  await client.event()
  for (const channel of ['c', 'a', 'b', 'a']) await node.append(channel, '1', '2')
  for (let i = 0; i < 8; i++) await client.event()
  t.equal(client.parser.lastEventId, client.cursor)
  const again = await new SseClient(target).connect(node, 'sse', target, { 'last-event-id': client.cursor })
  t.equal(again.opened, client.cursor)
  client.cut()
  again.cut()
})

t.test('the lines of a stream: open, gap, event, and blank ones that keep it alive', async t => {
  const node = await nodeWith(t, { HEARTBEAT: '100ms' })
  const [id = ''] = await node.append('a', '1')
  const epoch = id.split('-')[0]
  const socket = raw(t, node).ask('GET /v1/stream?channel=a&cursor=zzz-4 HTTP/1.1', 'Host: x')
  await socket.saw(/\n\n\n$/)
  const { body } = await node.get(`/v1/channels/a/events/${id}`)
  t.equal(
    socket.body.replace(/\n+/g, '\n'),
    `{"open":{"cursor":"zzz-4"}}\n{"gap":{"channel":"a","from":"zzz-4","to":"${epoch}-0"}}\n${body}\n`,
  )
})

t.test('pages of allowed origins may read', async t => {
  const node = await nodeWith(t)
  for (const wire of WIRES) {
    const ask = async (origin: string) => {
      const socket = raw(t, node).ask(`GET /v1/${wire}?channel=a HTTP/1.1`, 'Host: x', `Origin: ${origin}`)
      await socket.saw(wire === 'sse' ? /retry/ : /open/)
      return socket.head
    }
    const mine = await ask('http://localhost:3000')
    t.match(mine, /\r\naccess-control-allow-origin: http:\/\/localhost:3000(\r\n|$)/)
    t.match(mine, /\r\nvary: origin/)
    const foreign = await ask('https://evil.example')
    t.notMatch(foreign, /access-control-allow-origin/)
    t.match(foreign, /\r\nvary: origin/)
  }
})

t.test('an EventSource is told with 200 what may pass, and with a status what can not', async t => {
  const node = await nodeWith(t, { MAX_FOLLOWED: '1' })
  const follows = raw(t, node).ask('GET /v1/sse?channel=a HTTP/1.1', 'Host: x')
  await follows.saw(/retry/)
  const passes = await node.get('/v1/sse?channel=b')
  t.equal(passes.status, 200)
  t.match(passes.headers['content-type'], /^text\/event-stream/)
  t.match(passes.body, /^retry: \d+\n: FW_TOO_MANY_FOLLOWED: [^\n]*\n\n$/)
  t.equal((await node.get('/v1/stream?channel=b')).status, 503)
  t.equal((await node.get('/v1/sse')).status, 400)
})

t.test('when the node ends it, each is told so and when to come back', async t => {
  const node = await nodeWith(t)
  const target = { channels: ['a'] }
  const clients = [
    await new SseClient(target).connect(node, 'sse', target, {}),
    await new NdjsonClient(target).connect(node, 'stream', target, {}),
  ]
  await node.append('a', '"last"')
  for (const client of clients) await client.event()
  await node.hub.drain(0)
  for (const client of clients) {
    const item = await client.next()
    t.match(item, { close: { code: 1001, reason: 'the node is stopping', retry: Number } })
  }
  await until('all have gone', () => node.hub.stats().readers === 0)
})

t.test('a stream that waits behind another answer of its connection begins when that is over', async t => {
  const node = await nodeWith(t, { LINGER: '100ms' })
  for (const wire of WIRES) {
    const channel = fresh()
    const [start = ''] = await node.append(channel, '0')
    const lines = (path: string) => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`
    const ask = () =>
      raw(t, node).send(
        lines(`/v1/long-poll?channel=${channel}&cursor=${start}&wait=20`) +
          lines(`/v1/${wire}?channel=${channel}&cursor=${start}`),
      )
    const waits = ask()
    const gone = ask()
    await until('all are held', () => node.hub.readers(channel) === 4)
    gone.cut()
    await until('one has gone, with both of its requests', () => node.hub.readers(channel) === 2)
    const [id] = await node.append(channel, '"x"')
    await waits.saw(new RegExp(`"events".*"${id}".*(event-stream|x-ndjson).*"${id}"`, 's'))
    waits.cut()
    await until('nobody is left', () => node.hub.stats().readers === 0)
    t.equal(node.hub.stats().wires[wire]?.connections, 0)
  }
  await until('nothing is left', () => node.hub.stats().channels === 0)
})

t.test('what a client sends once it streams is thrown away, and its goodbye is heard', async t => {
  const node = await nodeWith(t)
  for (const wire of WIRES) {
    const channel = fresh()
    const socket = raw(t, node).ask(`GET /v1/${wire}?channel=${channel} HTTP/1.1`, 'Host: x')
    await socket.saw(wire === 'sse' ? /retry/ : /open/)
    socket.send('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n').send(Buffer.alloc(500_000, 'x'))
    await node.append(channel, '"still there"')
    await socket.saw(/still there/)
    t.equal(socket.text.match(/HTTP\/1\.1/g)?.length, 1)
    t.equal(node.hub.readers(channel), 1)
    socket.socket.end()
    await until('it has left', () => node.hub.readers(channel) === 0)
  }
})

t.test('a client that leaves while its channel is opened leaves nothing behind', async t => {
  const node = await nodeWith(t, { LINGER: '50ms' })
  const follow = node.log.follow.bind(node.log)
  let open = () => {}
  let waiting = 0
  const gate = new Promise<void>(resolve => {
    open = resolve
  })
  node.log.follow = async (channel, follower) => {
    waiting++
    await gate
    return follow(channel, follower)
  }
  const sockets = WIRES.map(wire => raw(t, node).ask(`GET /v1/${wire}?channel=${wire} HTTP/1.1`, 'Host: x'))
  await until('both are waiting', () => waiting === 2)
  for (const socket of sockets) socket.cut()
  await until('the node has noticed', () => node.app.sockets.size === 0)
  open()
  await until('nothing is left', () => {
    const { channels, readers, wires } = node.hub.stats()
    return channels + readers === 0 && WIRES.every(wire => (wires[wire]?.connections ?? 0) === 0)
  })
})
