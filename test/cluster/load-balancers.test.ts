// The load balancer files of infra/, run unchanged by real nginx and HAProxy, in front of real nodes and of fakes
// that fail at will.

import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type IncomingMessage, request, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { promisify } from 'node:util'
import { io, type Socket } from 'socket.io-client'
import t, { type Test } from 'tap'
import {
  type Balancer,
  type BalancerPart,
  type NodePart,
  startBalancer,
  startTopology,
  type Upstream,
} from '../../infra/local/topology.ts'
import { freePort } from '../../infra/local/ports.ts'
import {
  ALL_WIRES,
  type Client,
  fromAddress,
  type Item,
  openStream,
  type SocketIoAnswer,
  Unopened,
  type Wire,
} from '../contract/clients.ts'
import { makeCertificate } from '../contract/http2.ts'
import { startMemoryNode } from '../contract/node.ts'
import { availableBalancers } from '../support/balancers.ts'
import { BUILT, startNode } from '../support/node.ts'
import { Raw } from '../unit/http/app.ts'
import { until } from '../support/until.ts'

const STREAMS = ALL_WIRES.filter(wire => wire.streams)
const KINDS = await availableBalancers(t)

/** How long a stopping edge still listens, ms. */
const NOTICE = 8000
const topology = await startTopology({
  edges: 3,
  writers: 2,
  lbs: KINDS,
  built: BUILT,
  env: { LOG_LEVEL: 'info', FANWIRE_SOCKET_IO: '1', FANWIRE_WS_DEFLATE: '1' },
  edgeEnv: { FANWIRE_DRAIN: '500ms', FANWIRE_DRAIN_NOTICE: `${NOTICE}ms` },
})
t.teardown(() => topology.close('SIGKILL'))

/** Every special character allowed in a name, and empty segments. */
const SIGNS = `//_.:~@-/#$=,;!+&()'?/`

let channels = 0
const fresh = (name: string) => `${name}-${++channels}`
const json = { 'content-type': 'application/json' }
const idOf = (text: string) => (JSON.parse(text) as { id: string }).id

async function publish(url: string, channel: string, n: number): Promise<string> {
  const answer = await fetch(`${url}/v1/channels/${encodeURIComponent(channel)}/events`, {
    method: 'POST',
    headers: { ...json, 'idempotency-key': `${channel}/${n}` },
    body: JSON.stringify({ n }),
  })
  if (answer.status !== 201) throw new Error(`${answer.status} ${await answer.text()}`)
  return ((await answer.json()) as { id: string }).id
}

interface Answer {
  readonly status: number
  readonly text: string
}

/** HTTP clients: each sends a GET, or a POST if there is a body. */
const CLIENTS = {
  async fetch(url: string, body?: string): Promise<Answer> {
    const answer = await fetch(url, body === undefined ? {} : { method: 'POST', headers: json, body })
    return { status: answer.status, text: await answer.text() }
  },
  async curl(url: string, body?: string): Promise<Answer> {
    const post = body === undefined ? [] : ['-H', 'content-type: application/json', '-d', body]
    const args = ['-s', '--path-as-is', '-w', '\\n%{http_code}', ...post, url]
    const { stdout } = await promisify(execFile)('curl', args)
    const at = stdout.lastIndexOf('\n')
    return { status: Number(stdout.slice(at)), text: stdout.slice(0, at) }
  },
}

/** Returns the first item that is not an event, or undefined once `count` events have arrived. */
async function readInto(ids: string[], client: Client, count: number): Promise<Item | undefined> {
  while (ids.length < count) {
    const item = await client.next()
    if (!('event' in item)) return item
    ids.push(idOf(item.event))
  }
}

/** Returns undefined for a connection to an edge that was just stopping: the caller retries. */
function ifUnopened(error: unknown): undefined {
  if (!(error instanceof Unopened)) throw error
}

interface Follower {
  readonly socket: Socket
  /** Ids of events, in order. */
  readonly received: readonly string[]
  /** Why its connections ended. */
  readonly ends: readonly string[]
}

/** A Socket.IO client as in docs/wires/socket-io.md, from the `n`th address: it reconnects, and resumes at its cursor. */
function follow(
  t: Test,
  { url }: BalancerPart,
  channel: string,
  n: number,
  transports: ('polling' | 'websocket')[],
): Follower {
  const socket = io(url, { forceNew: true, transports, reconnectionDelay: 100, ...fromAddress(n) })
  t.teardown(() => socket.disconnect())
  const received: string[] = []
  const ends: string[] = []
  let cursor = 'earliest'
  socket.on('connect', () => {
    socket.emit('subscribe', { channel, cursor }, ({ ok }: SocketIoAnswer) => {
      cursor = ok?.cursor ?? cursor
    })
  })
  socket.on('message', ({ id }) => received.push((cursor = id)))
  socket.on('disconnect', reason => ends.push(reason))
  return { socket, received, ends }
}

/** Publishes ten events, one after the other. Returns their ids once all clients have received them. */
async function publishTo(followers: readonly Follower[], channel: string, before = 0): Promise<string[]> {
  const ids: string[] = []
  while (ids.length < 10) ids.push(await publish(topology.lbs[0]?.url ?? '', channel, before + ids.length))
  const last = ids.at(-1)
  await until(
    'all clients have the last event',
    () => followers.every(({ received }) => received.at(-1) === last),
    30_000,
  )
  return ids
}

/** The number of readers of a channel on each edge, except a stopped one. */
async function readersOf(channel: string, gone?: NodePart): Promise<number[]> {
  const edges = topology.edges.filter(edge => edge !== gone)
  const counts = edges.map(async ({ url }) => {
    const answer = await fetch(`${url}/v1/channels/${channel}`)
    return ((await answer.json()) as { readers: number }).readers
  })
  return Promise.all(counts)
}

const sum = (counts: readonly number[]) => counts.reduce((sum, count) => sum + count, 0)

for (const kind of KINDS) {
  const lb = topology.lb(kind)

  t.test(`${kind}: every wire delivers a publish to any channel name at once`, async t => {
    const channel = `${SIGNS}${fresh('live')}//`
    const clients = await Promise.all(
      ALL_WIRES.map(wire => wire.connect(lb, { channels: [channel], cursor: 'earliest' })),
    )
    // Events are published one at a time, so an event that a proxy buffers until more data arrives is never received.
    for (let n = 0; n < 5; n++) {
      const id = await publish(lb.url, channel, n)
      for (const [i, client] of clients.entries())
        t.equal(idOf(await client.event()), id, (ALL_WIRES[i] as Wire).name)
    }
    for (const client of clients) client.cut()
  })

  t.test(`${kind}: curl and fetch write and read channels of any name`, async t => {
    for (const [client, ask] of Object.entries(CLIENTS)) {
      const channel = `${SIGNS}${fresh(client)}`
      const path = `${lb.url}/v1/channels/${encodeURIComponent(channel)}`
      const { status, text } = await ask(`${path}/events`, '1')
      t.match([status, JSON.parse(text)], [201, { channel }], client)
      const poll = `${lb.url}/v1/poll?channel=${encodeURIComponent(channel)}`
      for (const url of [path, `${path}/events`, `${path}/events/${idOf(text)}`, poll]) {
        const answer = await ask(url)
        t.equal(answer.status, 200, `${client} ${url}`)
        t.ok(answer.text.includes(JSON.stringify(channel)), `${client} ${url}`)
      }
    }
  })

  t.test(`${kind}: a double-encoded name or a dot segment is rejected`, async t => {
    const names = ['a%252Fb', '%252e%252e', 'a%2F..%2Fb', 'a%2f%2e%2e', '%2F.']
    for (const [client, ask] of Object.entries(CLIENTS)) {
      for (const name of names) {
        const path = `${lb.url}/v1/channels/${name}`
        const urls = [path, `${path}/events`, `${path}/events/e-1`, `${lb.url}/v1/poll?channel=${name}`]
        for (const answer of await Promise.all(urls.map(url => ask(url))))
          t.match(answer, { status: 400, text: /FW_BAD_CHANNEL/ }, `${client} ${name}`)
      }
    }
    // nginx resolves dot segments before it chooses a node, which may then have no such route.
    for (const name of [...names, '..', '%2e%2e', 'a/../b', 'a/%2e%2e/b']) {
      const { status } = await CLIENTS.curl(`${lb.url}/v1/channels/${name}/events`, '1')
      t.ok([400, 404, 405].includes(status), `${name}: ${status}`)
    }
    for (const wire of ALL_WIRES) {
      for (const name of ['a%2Fb', '%2e%2e', 'a/../b', '..']) {
        await t.rejects(
          wire.connect(lb, { channels: [name] }),
          { code: 'FW_BAD_CHANNEL' },
          `${wire.name} ${name}`,
        )
      }
    }
  })

  t.test(`${kind}: a long poll is held and answered`, async t => {
    const channel = fresh('held')
    const asked = fetch(`${lb.url}/v1/long-poll?channel=${channel}&cursor=earliest&wait=55`)
    const id = await publish(lb.url, channel, 0)
    t.match(await (await asked).json(), { events: [{ id }] })
  })

  t.test(`${kind}: results of a bulk publish arrive during the upload`, async t => {
    const channel = fresh('bulk')
    const post = request(`${lb.url}/v1/events`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-ndjson', 'transfer-encoding': 'chunked' },
    })
    const answered = once(post, 'response')
    post.write(`${JSON.stringify({ channel, data: 0 })}\n`)
    const [answer] = (await answered) as [IncomingMessage]
    t.equal(answer.statusCode, 200)
    let received = ''
    answer.setEncoding('utf8').on('data', text => (received += text))
    const lines = () => received.split('\n').slice(0, -1)
    for (let n = 1; n <= 3; n++) {
      while (lines().length < n) await once(answer, 'data')
      if (n < 3) post.write(`${JSON.stringify({ channel, data: n })}\n`)
    }
    post.end()
    await once(answer, 'end')
    t.equal(lines().length, 3)
    for (const line of lines()) t.match(JSON.parse(line), { channel, id: String })
  })

  t.test(`${kind}: node errors reach the client, and metrics stay private`, async t => {
    const refused = await fetch(`${lb.url}/v1/poll?channel=a&cursor=nonsense`)
    t.equal(refused.status, 400)
    t.match(await refused.json(), { error: { code: 'FW_BAD_CURSOR' } })
    const wrong = await fetch(`${lb.url}/v1/events`)
    t.equal(wrong.status, 405)
    t.match(wrong.headers.get('allow'), 'POST')
    const large = await fetch(`${lb.url}/v1/channels/a/events`, {
      method: 'POST',
      headers: json,
      body: JSON.stringify('x'.repeat(2 ** 21)),
    })
    t.equal(large.status, 413)
    t.match(await large.json(), { error: { code: 'FW_TOO_LARGE' } })
    const long = Array.from({ length: 100 }, (_, i) => `channel=${`${i}`.padEnd(200, 'x')}`).join('&')
    t.equal((await fetch(`${lb.url}/v1/poll?${long}`)).status, 200, 'a URL of 20 KiB')
    const metrics = await fetch(`${lb.url}/metrics`)
    t.equal(metrics.status, 404)
    t.match(await metrics.json(), { error: { code: 'FW_NOT_FOUND' } })
    t.match(await (await fetch(`${lb.url}/readyz`)).json(), { ready: true })
  })

  t.test(
    `S9: ${kind}: metrics stay private and publishes reach writers, however the paths are spelled`,
    async t => {
      const { host } = new URL(lb.url)
      const ask = async (method: string, target: string, body = '') => {
        const raw = new Raw(Number(new URL(lb.url).port))
        t.teardown(() => raw.close())
        raw.send(
          `${method} ${target} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n` +
            `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
        )
        await raw.ended
        return { status: Number(/^HTTP\/1\.1 (\d+)/.exec(raw.text)?.[1]), text: raw.text }
      }
      const spelled = [
        '/metrics',
        '/%6detrics',
        '/metric%73?',
        '/%6D%65%74%72%69%63%73',
        '/metrics#x',
        '/metrics?#x',
      ]
      for (const path of [...spelled, `${lb.url}/metrics`, `${lb.url}/%6detrics`]) {
        for (const method of ['GET', 'HEAD']) {
          const { status, text } = await ask(method, path)
          t.ok(status === 404 || status === 400, `${method} ${path}: ${status}`)
          t.notMatch(text, /fanwire_|process_/)
        }
      }
      const channel = fresh('spelled')
      for (const path of [`/v1/channels/${channel}/events`, `/v1/channel%73/${channel}/event%73`]) {
        for (const target of [path, lb.url + path])
          t.equal((await ask('POST', target, '1')).status, 201, target)
      }
      for (const target of ['/v1/event%73', `${lb.url}/v1/events`]) {
        t.equal((await ask('POST', target, '{"events":[]}')).status, 200, target)
      }
      for (const target of ['/v1/p%6fll', `${lb.url}/v1/poll`]) {
        t.equal((await ask('GET', `${target}?channel=${channel}`)).status, 200, target)
      }
      for (const [n, end] of ['end', '%65nd'].entries()) {
        const target = `/v1/channels/${channel}-${n}/${end}`
        t.equal((await ask('POST', target, '1')).status, 201, target)
      }
    },
  )

  t.test(`${kind}: Socket.IO polling clients stick to their edge`, async t => {
    const channel = fresh('polling')
    const clients = Array.from({ length: 8 }, (_, n) => follow(t, lb, channel, n, ['polling']))
    const ids = await publishTo(clients, channel)
    await until('each client is one reader', async () => sum(await readersOf(channel)) === 8)
    const readers = await readersOf(channel)
    t.ok(readers.filter(count => count > 0).length > 1, `spread over edges: ${readers}`)
    for (const { received, ends, socket } of clients) {
      t.strictSame(received, ids)
      t.same(ends, [])
      t.equal(socket.io.engine.transport.name, 'polling')
    }
  })

  t.test(`${kind}: Socket.IO clients upgrade to WebSocket, or start with it on any edge`, async t => {
    const channel = fresh('upgrading')
    const upgraded = Array.from({ length: 4 }, (_, n) => follow(t, lb, channel, n, ['polling', 'websocket']))
    const transport = ({ socket }: Follower) => socket.io.engine.transport.name
    await until('all are upgraded', () => upgraded.every(each => transport(each) === 'websocket'), 30_000)
    const direct = Array.from({ length: 12 }, () => follow(t, lb, channel, 0, ['websocket']))
    const ids = await publishTo([...upgraded, ...direct], channel)
    await until('each client is one reader', async () => sum(await readersOf(channel)) === 16)
    const readers = await readersOf(channel)
    t.ok(Math.min(...readers) > 0, `from one address to all edges: ${readers}`)
    for (const { received, ends } of [...upgraded, ...direct]) {
      t.strictSame(received, ids)
      t.same(ends, [])
    }
  })

  t.test(`${kind}: Socket.IO clients move to another edge when theirs dies`, async t => {
    const channel = fresh('orphans')
    const clients = Array.from({ length: 12 }, (_, n) =>
      follow(t, lb, channel, n, n % 2 === 0 ? ['polling'] : ['polling', 'websocket']),
    )
    const ids = await publishTo(clients, channel)
    const readers = await readersOf(channel)
    const most = readers.indexOf(Math.max(...readers))
    const edge = topology.edges[most] as NodePart
    await edge.kill()
    ids.push(...(await publishTo(clients, channel, ids.length)))
    // An abandoned session ends when its next ping is not answered in time, which may take 55 s.
    await until('each client is one reader', async () => sum(await readersOf(channel, edge)) === 12, 90_000)
    for (const { received } of clients) t.strictSame(received, ids, 'all, in order, and none twice')
    const moved = clients.filter(({ ends }) => ends.length > 0)
    t.ok(moved.length >= (readers[most] ?? 0), `${moved.length} moved`)
    await edge.restart()
  })

  t.test(
    `${kind}: an edge stops while clients read through it: they continue, and nothing is lost`,
    async t => {
      const channel = fresh('stopping')
      const [edge] = topology.edges as [NodePart]
      const COUNT = 120
      let goodbyes = 0
      const read = async (wire: Wire) => {
        const ids: string[] = []
        let cursor = 'earliest'
        while (ids.length < COUNT) {
          const client = await wire.connect(lb, { channels: [channel], cursor }).catch(ifUnopened)
          if (client === undefined) continue
          const end = await readInto(ids, client, COUNT)
          if (end !== undefined && !('close' in end)) throw new Error(`${wire.name}: ${JSON.stringify(end)}`)
          if (end?.close.code === 1001 || end?.close.retry !== undefined) goodbyes++
          cursor = client.cursor
          client.cut()
        }
        return ids
      }
      // Enough clients for each edge to serve every wire.
      const reading = Promise.all([...ALL_WIRES, ...STREAMS, ...STREAMS].map(read))
      const ids: string[] = []
      while (ids.length < COUNT / 2) ids.push(await publish(lb.url, channel, ids.length))
      edge.signal('SIGTERM')
      await edge.logged(/not ready: the node is stopping/)
      while (ids.length < COUNT - 10) ids.push(await publish(lb.url, channel, ids.length))
      t.match(await edge.exit, { code: 0 })
      while (ids.length < COUNT) ids.push(await publish(lb.url, channel, ids.length))
      for (const received of await reading) t.strictSame(received, ids)
      t.ok(goodbyes > 0, 'some received goodbyes')
      await edge.restart()
    },
  )

  t.test(`${kind}: an edge that listens but is not ready receives no new reads`, async t => {
    const channel = fresh('unready')
    // Each balancer gets a different edge: HAProxy has already marked the other as down.
    const edge = topology.edges[kind === 'nginx' ? 1 : 2] as NodePart
    // A connected reader makes the edge use its full drain time.
    const stays = await STREAMS[1]?.connect(edge, { channels: [channel] })
    edge.signal('SIGTERM')
    if (kind === 'haproxy') await lb.logged(/edge-3 is DOWN, reason: Layer7 wrong status/)
    else await edge.logged(/not ready: the node is stopping/)
    const direct = await fetch(`${edge.url}/v1/poll?channel=${channel}`)
    t.match([direct.status, direct.headers.get('connection')], [503, 'close'], 'it rejects new clients')
    await direct.text()
    for (let n = 0; n < 9; n++) {
      const poll = await fetch(`${lb.url}/v1/poll?channel=${channel}`)
      t.equal(poll.status, 200)
      await poll.text()
      for (const wire of ALL_WIRES.filter(({ name }) => name === 'stream' || name === 'ws')) {
        ;(await wire.connect(lb, { channels: [channel] })).cut()
      }
    }
    t.ok(edge.running, 'it kept running')
    stays?.cut()
    await edge.restart('SIGKILL')
  })
}

/** Returns the body of a response, which must be cut off. */
async function brokenOff({ body }: Response): Promise<string> {
  if (body === null) throw new Error('no body')
  let text = ''
  try {
    for await (const piece of body.pipeThrough(new TextDecoderStream())) text += piece
  } catch (error) {
    if ((error as Error).message === 'terminated') return text
    throw error
  }
  throw new Error('the response is complete: some SSE clients would not reconnect')
}

t.test('H1, H3: when no node is ready, SSE clients receive a retry hint, all others 503', async t => {
  await Promise.all([...topology.edges, ...topology.writers].map(node => node.kill()))
  for (const { kind, url } of topology.lbs) {
    // In the first round, a balancer may learn of the failure from the request; in the second, it knows.
    for (let round = 0; round < 2; round++) {
      const origin = 'https://app.example.com'
      for (const path of ['/v1/sse?channel=a', '/.well-known/mercure?topic=a']) {
        const sse = await fetch(`${url}${path}`, { headers: { origin } })
        t.equal(sse.status, 200, `${kind}: an EventSource gives up on any other status`)
        t.equal(sse.headers.get('content-type'), 'text/event-stream')
        t.equal(sse.headers.get('access-control-allow-origin'), origin, 'pages of other origins too')
        t.match(await brokenOff(sse), /^retry: [1-4]\d{3}\n: FW_NOT_READY: .*\n$/, 'no event, and no id')
      }
      const update = await fetch(`${url}/.well-known/mercure`, { method: 'POST', body: 'topic=a&data=1' })
      t.equal(update.status, 503)
      t.match(await update.json(), { error: { code: 'FW_NOT_READY', message: String } })
      for (const path of [
        '/v1/channels/a/events',
        '/v1/poll?channel=a',
        '/v1/long-poll?channel=a',
        '/v1/stream?channel=a',
        '/v1/refresh?channel=a',
        '/readyz',
      ]) {
        const answer = await fetch(`${url}${path}`)
        t.equal(answer.status, 503, path)
        t.equal(answer.headers.get('retry-after'), '2')
        t.equal(answer.headers.get('refresh'), path.startsWith('/v1/refresh') ? '5' : null, 'a page reloads')
        t.match(await answer.json(), { error: { code: 'FW_NOT_READY', message: String } })
      }
      const ws = ALL_WIRES.find(({ name }) => name === 'ws') as Wire
      await t.rejects(ws.connect({ port: Number(new URL(url).port) }, { channels: ['a'] }), {
        status: 503,
        code: 'FW_NOT_READY',
      })
      const publish = { method: 'POST', headers: json, body: '1' }
      const answer = await fetch(`${url}/v1/channels/a/events`, publish)
      t.equal(answer.status, 503)
      t.match(await answer.json(), { error: { code: 'FW_LOG_UNAVAILABLE', message: /Idempotency-Key/ } })
    }
  }
  await Promise.all([...topology.edges, ...topology.writers].map(node => node.restart()))
  for (const { kind, url } of topology.lbs) {
    while ((await fetch(`${url}/v1/poll?channel=a`)).status !== 200);
    while ((await fetch(`${url}/v1/events`)).status !== 405);
    t.pass(`${kind} finds them again`)
  }
})

/** A fake node: listens as a node does, and answers everything except /readyz as configured. */
async function fake(
  t: Test,
  answer: RequestListener,
): Promise<{ port: number; received: string[]; close(): void }> {
  const received: string[] = []
  // freePort: no other process listens there after the fake has closed.
  const server = createServer((request, reply) => {
    if (request.url === '/readyz') return void reply.end('{}')
    received.push(`${request.method} ${request.url}`)
    request.resume().on('end', () => answer(request, reply))
  }).listen(await freePort(), '127.0.0.1')
  await once(server, 'listening')
  const close = () => {
    server.close()
    server.closeAllConnections()
  }
  t.teardown(close)
  return { port: (server.address() as AddressInfo).port, received, close }
}

const dies: RequestListener = request => request.socket.destroy()
const isUnready: RequestListener = (_request, reply) => void reply.writeHead(503, json).end('{"error":{}}')
const answers: RequestListener = (_request, reply) => void reply.writeHead(200, json).end('{"from":"a node"}')

/** Starts a load balancer in front of these nodes. A role without nodes has an unreachable one. Returns its URL. */
async function before(
  t: Test,
  kind: Balancer,
  nodes: { edges?: readonly { port: number }[]; writers?: readonly { port: number }[] },
): Promise<string> {
  const named = (list: readonly { port: number }[] = [{ port: 1 }]): Upstream[] =>
    list.map(({ port }, i) => ({ name: `fake-${i}`, port }))
  const lb = await startBalancer(kind, { edges: named(nodes.edges), writers: named(nodes.writers) })
  t.teardown(() => lb.kill())
  return lb.url
}

for (const kind of KINDS) {
  t.test(`${kind}: nodes behind it may speak TLS; it verifies their certificates`, async t => {
    const { cert, key } = makeCertificate(undefined, 'fanwire')
    const node = await startMemoryNode({ TLS_CERT: cert, TLS_KEY: key, SOCKET_IO: '1' })
    t.teardown(() => node.close())
    const other = makeCertificate(undefined, 'fanwire').cert
    const nodes = {
      edges: [{ name: 'edge', port: node.port }],
      writers: [{ name: 'writer', port: node.port }],
    }
    for (const ca of [cert, other]) {
      const lb = await startBalancer(kind, { ...nodes, ca })
      t.teardown(() => lb.kill())
      if (ca === other) {
        t.equal((await fetch(`${lb.url}/v1/poll?channel=a`)).status, 503, 'another certificate is rejected')
        continue
      }
      if (kind === 'haproxy') await until('it is up', async () => (await fetch(`${lb.url}/readyz`)).ok)
      const channel = fresh('tls')
      const ids = [await publish(lb.url, channel, 0)]
      for (const wire of ALL_WIRES) {
        const client = await wire.connect(lb, { channels: [channel], cursor: 'earliest' })
        t.equal(idOf(await client.event()), ids[0], wire.name)
        client.cut()
      }
    }
  })

  for (const [how, signal] of [
    ['is killed', 'SIGKILL'],
    ['stops', 'SIGTERM'],
  ] as const) {
    t.test(`H1: ${kind}: streams through it break off when their edge ${how}`, async t => {
      const edge = await startNode({ args: ['--drain', '0ms', '--drain-notice', '0ms'] })
      t.teardown(() => edge.kill())
      const url = await before(t, kind, { edges: [edge] })
      await until('the balancer is up', async () => (await fetch(`${url}/readyz`)).ok)
      const ends: Promise<string>[] = []
      for (const wire of ['sse', 'stream', 'push']) {
        const { port } = new URL(url)
        const { answer } = await openStream({ port: Number(port) }, `/v1/${wire}?channel=news`)
        const end = once(answer.resume(), 'end').then(
          () => 'an end',
          error => error.code as string,
        )
        ends.push(end)
      }
      edge.signal(signal)
      t.strictSame(await Promise.all(ends), ['ECONNRESET', 'ECONNRESET', 'ECONNRESET'])
    })
  }

  t.test(`${kind}: a publish is not retried when its writer dies during the request`, async t => {
    const writers = [await fake(t, dies), await fake(t, dies)]
    const url = await before(t, kind, { writers })
    const paths = ['/v1/channels/a/events', '/v1/events']
    for (const path of paths) {
      const answer = await fetch(`${url}${path}`, { method: 'POST', headers: json, body: '1' })
      t.equal(answer.status, 503)
      t.match(await answer.json(), { error: { code: 'FW_LOG_UNAVAILABLE' } })
    }
    t.equal(writers.flatMap(({ received }) => received).length, 2, 'each publish reached one writer only')
  })

  t.test(`${kind}: a publish is not retried when a writer answers 503`, async t => {
    const writers = [await fake(t, isUnready), await fake(t, isUnready)]
    const url = await before(t, kind, { writers })
    const answer = await fetch(`${url}/v1/events`, { method: 'POST', headers: json, body: '1' })
    t.equal(answer.status, 503)
    t.equal(await answer.text(), '{"error":{}}', "the writer's own response")
    t.equal(writers.flatMap(({ received }) => received).length, 1)
  })

  t.test(`${kind}: a publish that could not be sent goes to another writer`, async t => {
    const [gone, lives] = [await fake(t, answers), await fake(t, answers)]
    const url = await before(t, kind, { writers: [gone, lives] })
    gone.close()
    for (let n = 0; n < 4; n++) {
      const answer = await fetch(`${url}/v1/events`, { method: 'POST', headers: json, body: '1' })
      t.equal(answer.status, 200)
      await answer.text()
    }
    t.equal(lives.received.length, 4)
  })

  t.test(`${kind}: edges serve the history, although publishes to that path go to writers`, async t => {
    const writer = await fake(t, isUnready)
    const [bad, good] = [await fake(t, isUnready), await fake(t, answers)]
    const url = await before(t, kind, { edges: [bad, good], writers: [writer] })
    for (const path of ['/v1/channels/a/events', '/v1/channels/a%2fb/event%73?limit=3']) {
      const answer = await fetch(`${url}${path}`)
      t.match(await answer.json(), { from: 'a node' }, path)
      t.ok(good.received.includes(`GET ${path}`), 'with the path unchanged')
      t.equal((await fetch(`${url}${path}`, { method: 'HEAD' })).status, 200)
    }
    t.same(writer.received, [])
    const edgeless = await before(t, kind, { writers: [writer] })
    const answer = await fetch(`${edgeless}/v1/channels/a/events`)
    t.equal(answer.status, 503)
    t.match(await answer.json(), { error: { code: 'FW_NOT_READY' } })
  })

  for (const [how, fails] of Object.entries({ dies, 'answers 503': isUnready })) {
    t.test(`${kind}: a read is retried on another edge if one ${how}`, async t => {
      const [bad, good] = [await fake(t, fails), await fake(t, answers)]
      const url = await before(t, kind, { edges: [bad, good] })
      for (let n = 0; n < 4; n++) {
        const answer = await fetch(`${url}/v1/poll?channel=a`)
        t.equal(answer.status, 200)
        t.match(await answer.json(), { from: 'a node' })
      }
      t.ok(bad.received.length > 0, 'it was tried')
      t.equal(good.received.length, 4)
    })
  }
}
