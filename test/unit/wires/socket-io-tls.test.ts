// Socket.IO over TLS, with and without WebSocket, and polling over HTTP/2, which browsers use if they can.

import type { ClientHttp2Session } from 'node:http2'
import { Fetch } from 'socket.io-client'
import t, { type Test } from 'tap'
import { SOCKET_IO, SocketIoClient } from '../../contract/clients.ts'
import { ask, destroy, makeCertificate, openSession } from '../../contract/http2.ts'
import { type Node, type Settings, startMemoryNode } from '../../contract/node.ts'
import { at, fresh, idsOf, take } from '../../contract/wires.ts'
import { until } from '../../support/until.ts'

const { cert, key } = makeCertificate()
const TLS = { ...SOCKET_IO.settings, TLS_CERT: cert, TLS_KEY: key }
const H2C = { ...SOCKET_IO.settings, H2C_PORT: '0' }

/** Number of pending polls per session. */
const polls = new WeakMap<ClientHttp2Session, number>()
const count = (session: ClientHttp2Session, by: number) => polls.set(session, (polls.get(session) ?? 0) + by)

type Options = ConstructorParameters<typeof SocketIoClient>[2]

async function start(t: Test, settings: Settings): Promise<Node> {
  const node = await startMemoryNode(settings)
  t.teardown(() => node.close())
  return node
}

/** The steps of every client: subscribes, receives, publishes, catches up and disconnects. */
async function tour(t: Test, node: Node, options: Options): Promise<SocketIoClient> {
  const channel = fresh()
  const [first = ''] = await node.append(channel, '"before"')
  const target = { channels: [channel], cursor: first }
  const client = new SocketIoClient(node, target, options)
  t.teardown(() => client.cut())
  await client.connect(target)
  t.equal(client.opened, first)
  const { ok } = await client.ask('publish', { channel, data: 'ł 🙂'.repeat(10_000) })
  t.equal(ok?.id, at(first, 2))
  const ids = [ok?.id]
  for (let i = 0; i < 50; i++) ids.push(...(await node.append(channel, `${i}`, `"${'x'.repeat(i * 100)}"`)))
  t.strictSame(idsOf(await take(client, ids.length)), ids)
  t.same(await client.ask('unsubscribe', { channel }), { ok: { channel, cursor: ids.at(-1) } })
  return client
}

async function leave(node: Node, client: SocketIoClient): Promise<void> {
  client.socket.disconnect()
  await until('all clients have left', () => node.hub.stats().wires['socket.io']?.connections === 0)
}

for (const [transports, ends] of [
  [['websocket'], 'websocket'],
  [['polling'], 'polling'],
  [['polling', 'websocket'], 'websocket'],
] as const) {
  t.test(`over TLS: ${transports.join(', then ')}`, async t => {
    const node = await start(t, TLS)
    const client = await tour(t, node, { transports: [...transports] })
    await until(`the transport is ${ends}`, () => client.transport === ends)
    await leave(node, client)
  })
}

for (const [name, settings] of [
  ['HTTP/2 and TLS', TLS],
  ['cleartext HTTP/2', H2C],
] as const) {
  t.test(`polling over ${name}`, async t => {
    const node = await start(t, settings)
    const session = await openSession(node)
    t.teardown(() => destroy(session))
    const client = await tour(t, node, { transports: [pollingOver(session)] })
    t.equal(client.transport, 'polling')
    await leave(node, client)
    const { status, body } = await ask(session, { ':path': '/socket.io/?EIO=4&transport=websocket' })
    t.same([status, JSON.parse(body).error.code], [426, 'FW_UPGRADE_REQUIRED'])
  })

  t.test(`10 clients that poll over one session of ${name} are released when it is cut`, async t => {
    const node = await start(t, settings)
    const session = await openSession(node)
    t.teardown(() => destroy(session))
    const clients = await Promise.all(
      Array.from({ length: 10 }, () => tour(t, node, { transports: [pollingOver(session)] })),
    )
    t.equal(node.hub.stats().wires['socket.io']?.connections, 10)
    // Streams arrive in order: once this request is answered, the node has all polls.
    await until('all poll', () => polls.get(session) === clients.length)
    await ask(session, { ':path': '/healthz' })
    destroy(session)
    await until('the node releases the clients', () => node.hub.stats().wires['socket.io']?.connections === 0)
  })
}

/** A `fetch` for the library's polling over an HTTP/2 session. */
function pollingOver(session: ClientHttp2Session): typeof Fetch {
  return class extends Fetch {
    override doPoll(): void {
      count(session, 1)
      this.#ask().then(
        body => {
          count(session, -1)
          this.onData(body)
        },
        error => this.onError('poll', error, undefined),
      )
    }

    override doWrite(data: string, done: () => void): void {
      this.#ask(data).then(done, error => this.onError('post', error, undefined))
    }

    async #ask(body?: string): Promise<string> {
      const { pathname, search } = new URL((this as unknown as { uri(): string }).uri())
      const headers =
        body === undefined ? {} : { ':method': 'POST', 'content-type': 'text/plain;charset=UTF-8' }
      const answer = await ask(session, { ':path': pathname + search, ...headers }, body)
      if (answer.status !== 200) throw new Error(`${answer.status} ${answer.body}`)
      return answer.body
    }
  } as unknown as typeof Fetch
}
