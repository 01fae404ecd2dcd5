// The limit of a node's connections.

import { once } from 'node:events'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { listen, Raw, startApp } from './app.ts'

const routes = (app: FastifyInstance) => {
  app.get('/v1/one', async () => 'one')
  app.get('/v1/sse', { config: { sse: true } }, async () => 'never')
}

const ask = (path: string) => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`

/** Opens `count` idle connections. Returns when they are accepted. */
async function occupy(app: FastifyInstance, port: number, count: number): Promise<Raw[]> {
  const held: Raw[] = []
  for (let i = 0; i < count; i++) {
    const accepted = once(app.server, 'connection')
    held.push(new Raw(port))
    await accepted
  }
  return held
}

t.test('beyond the limit a new connection receives an error and is closed; the others continue', async t => {
  const { app } = await startApp(t, { routes, config: { maxConnections: 3 } })
  const port = await listen(app)
  const held = await occupy(app, port, 3)
  const fourth = new Raw(port).send(ask('/v1/one'))
  await fourth.ended
  t.match(fourth.text, /^HTTP\/1.1 503 /)
  t.match(fourth.text, /connection: close/i)
  t.match(fourth.text, /retry-after: \d/i)
  t.match(fourth.text, /FW_TOO_MANY_CONNECTIONS/)
  for (const raw of held) {
    raw.send(ask('/v1/one'))
    t.match(await raw.until(/one$/), /^HTTP\/1.1 200 /)
    raw.close()
  }
})

t.test('an EventSource beyond the limit receives a retry hint', async t => {
  const { app } = await startApp(t, { routes, config: { maxConnections: 1 } })
  const port = await listen(app)
  const [held] = await occupy(app, port, 1)
  const second = new Raw(port).send(ask('/v1/sse'))
  await second.ended
  t.match(second.text, /^HTTP\/1.1 200 .*retry: \d+\n: FW_TOO_MANY_CONNECTIONS/is)
  held?.close()
})

t.test('health and metrics are answered beyond the limit, once per connection', async t => {
  const { app } = await startApp(t, { routes, config: { maxConnections: 1 } })
  const port = await listen(app)
  const [held] = await occupy(app, port, 1)
  for (const path of ['/healthz', '/readyz', '/metrics']) {
    const raw = new Raw(port).send(ask(path))
    await raw.ended
    t.match(raw.text, /^HTTP\/1.1 200 .*connection: close/is, path)
  }
  held?.close()
})

t.test('new connections are accepted again when others have left', async t => {
  const { app } = await startApp(t, { routes, config: { maxConnections: 1 } })
  const port = await listen(app)
  const first = once(app.server, 'connection')
  const [held] = await occupy(app, port, 1)
  const [socket] = await first
  const gone = once(socket, 'close')
  const [waiting] = await occupy(app, port, 1)
  held?.close()
  await gone
  waiting?.send(ask('/v1/one'))
  t.match(await waiting?.until(/one$/), /^HTTP\/1.1 200 /)
  t.notMatch(waiting?.text, /connection: close/i)
  waiting?.close()
})

t.test('far beyond the limit connections are dropped unread, and all are counted', async t => {
  const { app } = await startApp(t, { routes, config: { maxConnections: 2 } })
  const port = await listen(app)
  const held = await occupy(app, port, 2 + 32)
  const dropped = once(app.server, 'drop')
  const raw = new Raw(port).send(ask('/healthz'))
  await dropped
  await raw.ended
  t.equal(raw.text, '')
  const refused = new Raw(port)
  await refused.ended
  const { body } = await app.inject('/metrics')
  t.match(body, /^fanwire_sockets 34$/m)
  t.match(body, /^fanwire_connections_refused_total [12]$/m)
  for (const each of held) each.close()
})
