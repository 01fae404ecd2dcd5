// The client with a node: every wire, changes of the wire, cuts, slow readers, rejections.

import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { WebSocketServer } from 'ws'
import { FanwireError, Unauthorized } from '../../../client/index.ts'
import { startMemoryNode } from '../../contract/node.ts'
import { startFaultyProxy } from '../../support/faulty-proxy.ts'
import { Random } from '../../support/random.ts'
import { jwks, signToken, testKey, userClaims } from '../../support/tokens.ts'
import { until } from '../../support/until.ts'
import { client, numbers, Seen, WIRES } from './follow.ts'

const node = await startMemoryNode()
const url = `http://127.0.0.1:${node.port}`
t.teardown(() => node.close())

const readers = async (channel: string) =>
  (JSON.parse((await node.get(`/v1/channels/${channel}`)).body) as { readers: number }).readers

for (const wire of WIRES) {
  t.test(`${wire}: cuts at random bytes lose, repeat and reorder nothing`, async t => {
    const random = new Random(17)
    const proxy = await startFaultyProxy(node.port, { cutAfter: () => 100 + random.below(1000) })
    const fanwire = client(proxy.url, { wires: [wire] })
    t.teardown(() => [fanwire.close(), proxy.close()])
    const [a, b] = [`cuts-a:${wire}`, `cuts-b:${wire}`]
    const seen = [a, b].map(channel => new Seen(fanwire.subscribe(channel, { cursor: 'earliest' })))
    for (const n of numbers(1, 50)) {
      await node.append(a, `${n}`)
      await node.append(b, `${n}`)
      if (n % 10 === 0) await new Promise(resolve => setTimeout(resolve, 5))
    }
    for (const each of seen) {
      await each.has(50)
      t.strictSame([each.data, each.gaps], [numbers(1, 50), []])
    }
    t.ok(proxy.cuts > 3, `${proxy.cuts} cuts`)
  })

  t.test(`${wire}: channels are added and removed, and a gap is reported`, async t => {
    const fanwire = client(url, { wires: [wire] })
    t.teardown(() => fanwire.close())
    const names = numbers(1, 5).map(n => `some-${n}:${wire}`)
    const subscriptions = names.map(name => fanwire.subscribe(name, { cursor: 'earliest' }))
    const seen = subscriptions.map(each => new Seen(each))
    for (const name of names) await node.append(name, '1')
    for (const each of seen) await each.has(1)
    subscriptions[0]?.close()
    const [, second = ''] = names
    await node.append(second, '2')
    await seen[1]?.has(2)
    await node.append(names[0] ?? '', '2')
    const lost = new Seen(fanwire.subscribe('lost', { cursor: 'gone-7' }))
    await until('a gap is reported', () => lost.gaps.length === 1)
    t.match(lost.gaps, [{ channel: 'lost', from: 'gone-7' }])
    t.strictSame([seen[0]?.data, seen[1]?.data], [[1], [1, 2]])
  })
}

t.test(
  'behind a proxy that blocks WebSocket the client uses another wire, and returns without loss later',
  async t => {
    const proxy = await startFaultyProxy(node.port, { blockUpgrades: true })
    const fanwire = client(proxy.url, { timing: { upgrade: 100 } })
    t.teardown(() => [fanwire.close(), proxy.close()])
    const seen = new Seen(fanwire.subscribe('blocked', { cursor: 'earliest' }))
    await until('it is connected', () => fanwire.state.name === 'connected')
    t.match(fanwire.state, { wire: 'sse' })
    let n = 0
    const publishing = setInterval(() => void node.append('blocked', `${++n}`), 1)
    t.teardown(() => clearInterval(publishing))
    await seen.has(10)
    proxy.faults.blockUpgrades = false
    await until(
      'it is connected over ws',
      () => fanwire.state.name === 'connected' && fanwire.state.wire === 'ws',
    )
    await seen.has(seen.events.length + 10)
    clearInterval(publishing)
    await seen.has(n)
    t.strictSame([seen.data, seen.gaps], [numbers(1, n), []])
  },
)

for (const wires of [['sse'], ['ws', 'sse'], WIRES] as const) {
  t.test(`${wires.join()}: with WebSocket blocked, 40 channels are read`, async t => {
    const proxy = await startFaultyProxy(node.port, { blockUpgrades: true })
    const fanwire = client(proxy.url, { wires: [...wires] })
    t.teardown(() => [fanwire.close(), proxy.close()])
    const names = numbers(1, 40).map(n => `forty-${n}:${wires.join()}`)
    const seen = names.map(name => new Seen(fanwire.subscribe(name, { cursor: 'earliest' })))
    for (const name of names) await node.append(name, '1')
    for (const each of seen) await each.has(1)
    t.equal(fanwire.state.name, 'connected')
  })
}

t.test('behind a proxy that buffers streams the client polls', async t => {
  const proxy = await startFaultyProxy(node.port, { blockUpgrades: true, buffer: /\/v1\/(sse|stream)/ })
  const asked: string[] = []
  const ask: typeof fetch = (input, init) => {
    asked.push(new URL(String(input)).pathname)
    return fetch(input, init)
  }
  const fanwire = client(proxy.url, { timing: { open: 300 }, fetch: ask })
  t.teardown(() => [fanwire.close(), proxy.close()])
  await node.append('buffered', '1')
  const seen = new Seen(fanwire.subscribe('buffered', { cursor: 'earliest' }))
  await seen.has(1)
  await until('it is connected', () => fanwire.state.name === 'connected')
  t.match(fanwire.state, { wire: 'long-poll' })
  t.strictSame(asked.slice(0, 2), ['/v1/sse', '/v1/poll'], 'no second stream is tried')
})

t.test('a wire that opens and stays silent is replaced by the next one', async t => {
  const mute = createServer((request, response) => {
    if (request.url?.startsWith('/v1/sse')) response.write('data: {"open":{"cursor":"e-0"}}\n\n')
    else response.end('{"events":[],"cursor":"e-0"}')
  })
  const fanwire = client(await listen(mute), { wires: ['sse', 'poll'], timing: { silence: 300 } })
  t.teardown(() => [fanwire.close(), mute.close(), mute.closeAllConnections()])
  const states: string[] = []
  fanwire.on('state', state => states.push(state.name === 'connected' ? state.wire : state.name))
  new Seen(fanwire.subscribe('x'))
  await until('it polls', () => states.includes('poll'))
  t.strictSame(states, ['connecting', 'sse', 'waiting', 'connecting', 'poll'])
})

t.test('two readers of a channel share one reader on the node, and both get all events', async t => {
  const fanwire = client(url, { wires: ['ws'] })
  t.teardown(() => fanwire.close())
  for (const n of numbers(1, 50)) await node.append('twice', `${n}`)
  const late = new Seen(fanwire.subscribe('twice'))
  await until('it reads', async () => (await readers('twice')) === 1)
  const all = new Seen(fanwire.subscribe('twice', { cursor: 'earliest' }))
  for (const n of numbers(51, 300)) await node.append('twice', `${n}`)
  await all.has(300)
  await late.has(250)
  t.strictSame([late.data, all.data], [numbers(51, 300), numbers(1, 300)])
  t.equal(await readers('twice'), 1)
})

for (const wire of ['ws', 'sse'] as const) {
  t.test(`${wire}: a reader that stops reading leaves the wire, and resumes where it was`, async t => {
    const fanwire = client(url, { wires: [wire] })
    t.teardown(() => fanwire.close())
    const channel = `slow:${wire}`
    for (const n of numbers(1, 2000)) await node.append(channel, `${n}`)
    const subscription = fanwire.subscribe(channel, { cursor: 'earliest' })
    const taken: unknown[] = []
    for await (const event of subscription) {
      taken.push(event.data)
      if (taken.length === 10)
        await until('the node has no reader', async () => (await readers(channel)) === 0)
      if (taken.length === 1000) break
    }
    t.match(subscription.position, /-1000$/)
    for await (const event of subscription) {
      taken.push(event.data)
      if (taken.length === 2000) break
    }
    t.strictSame(taken, numbers(1, 2000))
  })
}

t.test('a store keeps positions across a reload', async t => {
  const kept = new Map<string, string>()
  const store = {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => void kept.set(key, value),
  }
  for (const n of numbers(1, 3)) await node.append('kept', `${n}`)
  const first = client(url, { store })
  await new Seen(first.subscribe('kept', { cursor: 'earliest' })).has(3)
  first.close()
  for (const n of numbers(4, 5)) await node.append('kept', `${n}`)
  const second = client(url, { store })
  t.teardown(() => second.close())
  const seen = new Seen(second.subscribe('kept', { cursor: 'earliest' }))
  await seen.has(2)
  t.strictSame(seen.data, [4, 5])
})

t.test('an event whose response was cut is published once', async t => {
  let cuts = 0
  const proxy = await startFaultyProxy(node.port, { cutAfter: () => (cuts++ < 3 ? 1 : undefined) })
  const fanwire = client(proxy.url)
  t.teardown(() => [fanwire.close(), proxy.close()])
  const receipt = await fanwire.publish('once', { n: 1 }, { type: 'post' })
  t.match(receipt, { channel: 'once', id: /-1$/ })
  t.match(JSON.parse((await node.get('/v1/poll?channel=once')).body).events, [
    { type: 'post', data: { n: 1 } },
  ])
  await fanwire.publish('once', new Uint8Array([1, 2]))
  t.equal(JSON.parse((await node.get('/v1/poll?channel=once')).body).events.length, 2)
  await t.rejects(fanwire.publish('once', 1, { type: 'open' }), { code: 'FW_BAD_TYPE', status: 400 })
})

async function listen(server: Server): Promise<string> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

t.test('close codes that forbid a reconnect end the client, others do not', async t => {
  for (const code of [1008, 1009, 4500, 4999, 1001, 1012, 1013, 4000, 4499]) {
    const server = createServer()
    let connections = 0
    new WebSocketServer({ server }).on('connection', socket => {
      connections++
      socket.send('{"open":{"cursor":""}}')
      socket.close(code, 'because')
    })
    const fanwire = client(await listen(server), { wires: ['ws'] })
    new Seen(fanwire.subscribe('x'))
    if (code === 1008 || code === 1009 || code >= 4500) {
      await until('it is closed', () => fanwire.state.name === 'closed')
      t.match(fanwire.state, { why: 'because' }, `${code}`)
      t.equal(connections, 1)
    } else {
      await until('it reconnects', () => connections > 2)
      t.pass(`${code}`)
    }
    fanwire.close()
    server.close()
  }
})

t.test('ws: a token that is refused temporarily is sent again', async t => {
  const server = createServer()
  const sent: unknown[] = []
  new WebSocketServer({ server }).on('connection', socket => {
    socket.send('{"open":{"cursor":""}}')
    socket.on('message', text => {
      const { ref, auth } = JSON.parse(String(text))
      if (auth !== undefined) sent.push(auth.key)
      const error = { code: 'FW_NOT_READY', message: 'not yet', retry: 10 }
      socket.send(JSON.stringify(auth !== undefined && sent.length < 3 ? { ref, error } : { ref, ok: {} }))
    })
  })
  let asked = 0
  const fanwire = client(await listen(server), { wires: ['ws'], getToken: () => `key ${++asked}` })
  t.teardown(() => [fanwire.close(), server.close()])
  new Seen(fanwire.subscribe('x'))
  await until('it is connected', () => fanwire.state.name === 'connected')
  t.strictSame(sent, ['key 1', 'key 1', 'key 1'])
})

t.test("a server's retry delay is respected", async t => {
  let requests = 0
  const busy = createServer((_request, response) => {
    requests++
    response
      .writeHead(503, { 'retry-after': '60' })
      .end('{"error":{"code":"FW_OVERLOADED","message":"busy"}}')
  })
  const fanwire = client(await listen(busy), { wires: ['sse', 'stream', 'poll'] })
  t.teardown(() => [fanwire.close(), busy.close(), busy.closeAllConnections()])
  const asked = Date.now()
  new Seen(fanwire.subscribe('x'))
  await until('it waits', () => fanwire.state.name === 'waiting')
  t.match(fanwire.state, { why: 'busy' })
  t.ok((fanwire.state as { until: number }).until >= asked + 60_000)
  fanwire.reconnect()
  t.strictSame([fanwire.state.name, requests], ['waiting', 1])
})

const key = testKey('HS256')
const folder = t.testdir({
  'jwks.json': jwks(key),
  'rules.yaml':
    'channels:\n  - { match: "inbox:{user}", subscribe: user, publish: token }\n  - { match: "room:*", subscribe: token, presence: true }\n',
})
const guarded = await startMemoryNode({
  JWT_KEYS_FILE: `${folder}/jwks.json`,
  RULES: `${folder}/rules.yaml`,
  PRESENCE_GRACE: '1ms',
})
t.teardown(() => guarded.close())
const guardedUrl = `http://127.0.0.1:${guarded.port}`
const GRANTS = {
  caps: [
    { channels: ['inbox:ada'], allow: ['pub', 'sub', 'hst'] },
    { channels: ['room:*'], allow: ['sub', 'prs'] },
  ],
}
const tokenFor = (seconds: number, user = 'ada') =>
  signToken(key, { ...userClaims(user, GRANTS), exp: Math.floor(Date.now() / 1000) + seconds })

for (const wire of ['ws', 'sse', 'poll'] as const) {
  t.test(`${wire}: a rejected channel does not affect the others`, async t => {
    const fanwire = client(guardedUrl, { wires: [wire], getToken: () => tokenFor(60) })
    t.teardown(() => fanwire.close())
    const mine = new Seen(fanwire.subscribe('inbox:ada', { cursor: 'earliest' }))
    const refused = fanwire.subscribe('inbox:bob')
    const loop = (async () => {
      for await (const event of refused) t.fail(JSON.stringify(event))
    })()
    await t.rejects(loop, { name: 'FanwireError', code: 'FW_FORBIDDEN' })
    t.match(refused.state, { name: 'refused', error: FanwireError })
    await fanwire.publish('inbox:ada', wire)
    await until('the event arrives', () => mine.data.includes(wire))
    t.equal(fanwire.state.name, 'connected')
  })
}

t.test('without a token the client stops, and continues after reconnect()', async t => {
  const signedIn: { token?: string } = {}
  const getToken = async () => {
    if (signedIn.token === undefined) throw new Unauthorized('signed out')
    return signedIn.token
  }
  const fanwire = client(guardedUrl, { getToken })
  t.teardown(() => fanwire.close())
  const seen = new Seen(fanwire.subscribe('inbox:ada', { cursor: 'earliest' }))
  await until('it stops', () => fanwire.state.name === 'unauthorized')
  t.match(fanwire.state, { why: 'signed out' })
  await t.rejects(fanwire.publish('inbox:ada', 1), Unauthorized)
  signedIn.token = tokenFor(60)
  fanwire.reconnect()
  await fanwire.publish('inbox:ada', 'signed in')
  await until('the event arrives', () => seen.data.includes('signed in'))
})

t.test(
  'a token is renewed on the WebSocket before it expires, and requested again after a rejection',
  async t => {
    let asked = 0
    const tokens = ['not.a.token', tokenFor(3), tokenFor(600)]
    const fanwire = client(guardedUrl, { wires: ['ws'], getToken: () => tokens[asked++] ?? tokenFor(600) })
    t.teardown(() => fanwire.close())
    const states: string[] = []
    fanwire.on('state', ({ name }) => states.push(name))
    new Seen(fanwire.subscribe('inbox:ada'))
    await until('it is renewed', () => asked === 3)
    t.strictSame(states, ['connecting', 'waiting', 'connecting', 'connected'])
  },
)

t.test('presence lists the current members, then joins and leaves', async t => {
  const users = ['ada', 'bob'].map(user => client(guardedUrl, { getToken: () => tokenFor(60, user) }))
  const [ada, bob] = users as [(typeof users)[0], (typeof users)[0]]
  t.teardown(() => users.forEach(each => each.close()))
  const names = (room: { members: readonly { user: string }[] }) =>
    room.members.map(({ user }) => user).sort()
  new Seen(ada.subscribe('room:1'))
  const room = ada.presence('room:1')
  const changes: string[] = []
  room.on('join', ({ user }) => changes.push(`+${user}`))
  room.on('leave', ({ user }) => changes.push(`-${user}`))
  await until('ada is a member', () => names(room).includes('ada'))
  const theirs = bob.subscribe('room:1')
  const off = theirs.on('event', () => {})
  await until('bob has joined', () => changes.includes('+bob'))
  t.strictSame(names(room), ['ada', 'bob'])
  off()
  await until('bob has left', () => changes.includes('-bob'))
  t.strictSame(names(room), ['ada'])
})

t.test('presence that is closed once its members are loaded reads nothing more', async t => {
  const fanwire = client(guardedUrl, { getToken: () => tokenFor(60, 'ada') })
  t.teardown(() => fanwire.close())
  const room = fanwire.presence('room:closed')
  await new Promise<void>(resolve => {
    room.on('sync', () => {
      room.close()
      resolve()
    })
  })
  new Seen(fanwire.subscribe('room:open'))
  const read = () => [...guarded.hub.connections].flatMap(({ channels }) => channels)
  await until('a later subscription is open', () => read().includes('room:open'))
  t.notOk(read().includes('fanwire:presence:room:closed'))
})

t.test('the client forgets presence that was closed', async t => {
  const fanwire = client(url)
  const room = fanwire.presence('forgotten')
  room.close()
  room.close = () => t.fail('it is closed already')
  fanwire.close()
  t.equal(fanwire.state.name, 'closed')
})

/** The delays of timers that were set since, ms. */
function delaysOf(t: Test): () => (number | undefined)[] {
  const timers = t.capture(globalThis, 'setTimeout', globalThis.setTimeout)
  return () => timers().map(({ args }) => args[1])
}

const NOT_YET = { code: 'FW_NOT_READY', message: 'not yet', retry: 10 }
/** With the greatest jitter: 7, 14, 20 and 20 ms more than the server asks for. */
const GROWING = { backoff: 7, maxBackoff: 20 }

t.test('ws: the wait before a channel is subscribed again grows with each refusal', async t => {
  t.intercept(Math, 'random', { value: () => 1 })
  const delays = delaysOf(t)
  const server = createServer()
  let refusals = 0
  new WebSocketServer({ server }).on('connection', socket => {
    socket.send('{"open":{"cursor":""}}')
    socket.on('message', text => {
      refusals++
      socket.send(JSON.stringify({ ref: JSON.parse(String(text)).ref, error: NOT_YET }))
    })
  })
  const fanwire = client(await listen(server), { wires: ['ws'], timing: GROWING })
  t.teardown(() => [fanwire.close(), server.close()])
  new Seen(fanwire.subscribe('x'))
  await until('it has subscribed 4 times', () => refusals > 3)
  const waits = delays().filter(ms => [17, 24, 30].includes(ms ?? 0))
  t.strictSame(waits.slice(0, 3), [17, 24, 30])
})

t.test('presence waits longer after each error, in addition to the delay of the server', async t => {
  t.intercept(Math, 'random', { value: () => 1 })
  const delays = delaysOf(t)
  let asked = 0
  const server = createServer((_, response) => {
    asked++
    response.writeHead(503).end(JSON.stringify({ error: NOT_YET }))
  })
  const fanwire = client(await listen(server), { timing: GROWING })
  t.teardown(() => [fanwire.close(), server.close(), server.closeAllConnections()])
  fanwire.presence('x')
  await until('it has asked 4 times', () => asked > 3)
  const waits = delays().filter(ms => [17, 24, 30].includes(ms ?? 0))
  t.strictSame(waits.slice(0, 3), [17, 24, 30])
})

t.test('presence stops without a token, and continues after reconnect()', async t => {
  const signedIn: { token?: string } = {}
  const getToken = () => {
    if (signedIn.token === undefined) throw new Unauthorized('signed out')
    return signedIn.token
  }
  const fanwire = client(guardedUrl, { getToken })
  t.teardown(() => fanwire.close())
  const delays = delaysOf(t)
  const room = fanwire.presence('room:2')
  t.match(await new Promise(resolve => room.on('error', resolve)), { name: 'Unauthorized' })
  t.strictSame(delays(), [], 'it does not try again by itself')
  const synced = new Promise(resolve => room.on('sync', resolve))
  signedIn.token = tokenFor(60)
  fanwire.reconnect()
  t.strictSame(await synced, [])
})
