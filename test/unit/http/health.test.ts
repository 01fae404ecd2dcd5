// Liveness, readiness and the responses of a node that is not ready (docs/protocol.md#process).

import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { bodyOf } from '../../contract/chunks.ts'
import { listen, Raw, startApp } from './app.ts'
import { until } from '../../support/until.ts'

/** `lasts` is longer than a busy machine stops this process. */
const times = { every: 20, lasts: 2000 }

const routes = (app: FastifyInstance) => {
  app.get('/v1/one', async () => 'one')
  app.post('/v1/one', async () => 'taken')
  app.get('/v1/sse', { config: { sse: true } }, async () => 'events')
}

/** Changes of readiness in the log output. */
function changesIn(lines: readonly string[]): { level: number; ready: boolean }[] {
  return lines.map(line => JSON.parse(line)).filter(line => 'ready' in line)
}

/** The body of an EventSource's response, which has status 200. */
async function comesBack(app: FastifyInstance): Promise<string> {
  const raw = new Raw(await listen(app)).send('GET /v1/sse HTTP/1.1\r\nHost: x\r\n\r\n')
  await raw.ended
  return raw.text.startsWith('HTTP/1.1 200 ') ? bodyOf(raw.text) : raw.text
}

t.test('a node whose probes succeed is ready', async t => {
  const { app } = await startApp(t, { routes })
  const answer = await app.inject('/readyz')
  t.equal(answer.statusCode, 200)
  t.match(answer.json(), { ready: true, engine: 'memory' })
  t.type(answer.json().probeAge, 'number')
  t.equal(answer.headers['cache-control'], 'no-store')
  t.equal((await app.inject('/healthz')).statusCode, 200)
  t.equal((await app.inject('/v1/one')).statusCode, 200)
})

t.test('a node is not ready before the first probe', async t => {
  const { app, health, log } = await startApp(t, { routes, silent: true })
  const answer = await app.inject('/readyz')
  t.equal(answer.statusCode, 503)
  t.match(answer.json(), { ready: false, reason: /first probe/, error: { code: 'FW_NOT_READY' } })
  await t.rejects(health.proved(5), { name: 'LogUnavailable' })
  log.speak()
  await health.proved(5000)
  t.equal((await app.inject('/readyz')).statusCode, 200)
})

t.test('with a silent log the node stays live, is not ready, and reports why', async t => {
  const { app, log, health, lines } = await startApp(t, { routes, times })
  log.silence()
  await until('it reports that it is not ready', () => !health.ready && changesIn(lines).length === 1)
  const ready = await app.inject('/readyz')
  t.equal(ready.statusCode, 503)
  t.match(ready.json(), { ready: false, reason: /silent/ })
  t.ok(ready.json().probeAge >= times.lasts)
  t.equal((await app.inject('/healthz')).statusCode, 200)
  t.equal((await app.inject('/metrics')).statusCode, 200)
  t.equal((await app.inject('/nothing')).statusCode, 404)
  for (const url of ['/v1/one', '/v1/channels/a', '/v1/channels/a/events/x-1']) {
    const answer = await app.inject(url)
    t.equal(answer.statusCode, 503, url)
    t.match(answer.json(), { error: { code: 'FW_NOT_READY' } })
    t.ok(answer.headers['retry-after'])
  }
  t.match(await comesBack(app), /^retry: \d+\n: FW_NOT_READY: .*\n$/)

  log.speak()
  await until('it is ready', () => health.ready)
  t.equal((await app.inject('/v1/one')).statusCode, 200)
  t.equal((await app.inject('/readyz')).statusCode, 200)
  t.match(changesIn(lines), [
    { ready: false, level: 40 },
    { ready: true, level: 30 },
  ])
  t.equal(changesIn(lines).length, 2, 'once each')
})

t.test('a node whose log is silent stops being ready before 5 s have passed', async t => {
  // Uses the default times of a node.
  const { health, log } = await startApp(t)
  log.silence()
  let silence = 0
  await until('it is not ready', () => {
    const { probeAge } = health
    if (health.ready) silence = probeAge
    return !health.ready
  })
  t.ok(silence < 5000, `it was ready after ${silence} ms`)
})

t.test('a stopping node is not ready, accepts publishes, and rejects reads with 503', async t => {
  const { app, health, lines } = await startApp(t, { routes })
  health.drain()
  const ready = await app.inject('/readyz')
  t.equal(ready.statusCode, 503)
  t.match(ready.json(), { ready: false, error: { code: 'FW_DRAINING' } })
  const publish = await app.inject({ method: 'POST', url: '/v1/one' })
  t.equal(publish.statusCode, 200)
  t.equal(publish.headers.connection, 'close')
  const read = await app.inject('/v1/one')
  t.equal(read.statusCode, 503)
  t.match(read.json(), { error: { code: 'FW_DRAINING' } })
  t.equal(read.headers.connection, 'close')
  t.match(await comesBack(app), /^retry: \d+\n: FW_DRAINING: .*\n$/)
  t.match(lines.join(), /stopping/)
})
