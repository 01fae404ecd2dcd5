// Which browser pages may read, open a WebSocket and publish (FANWIRE_ORIGINS).

import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { originRule } from '../../services/http/origins.ts'
import { startApp } from './http-app.ts'

const LOOPBACK = [
  'http://localhost',
  'https://localhost:8443',
  'http://app.localhost:3000',
  'http://127.0.0.1:5173',
  'http://127.8.9.1',
  'http://[::1]:80',
]
const FOREIGN = [
  'http://evil.example',
  'https://localhost.evil.example',
  'http://notlocalhost',
  'http://127.0.0.1.evil.example',
  'http://10.0.0.1',
  'http://[::2]',
  'null',
  '',
  'garbage',
  'file://',
  'chrome-extension://localhost',
]

t.test('on loopback: loopback origins, whatever the port, and not whatever name led there', async t => {
  for (const host of ['127.0.0.1', '::1', 'localhost']) {
    const may = originRule({ origins: undefined, host })
    for (const origin of LOOPBACK) t.ok(may(origin, 'x'), origin)
    for (const origin of FOREIGN) t.notOk(may(origin, 'x'), origin)
    t.notOk(may('http://evil.example:8080', 'evil.example:8080'), 'a name that was made to lead to loopback')
  }
})

t.test("beyond loopback: none but the node's own", async t => {
  const may = originRule({ origins: undefined, host: '0.0.0.0' })
  t.ok(may('http://node.example:8080', 'node.example:8080'))
  t.ok(may('https://node.example', 'node.example'))
  t.ok(may('https://node.example', 'node.example:443'), 'a port that goes without saying')
  t.ok(may('http://10.0.0.1:8080', '10.0.0.1:8080'))
  t.notOk(may('http://node.example:8080', 'node.example:9090'))
  t.notOk(may('http://node.example', 'node.example:8080'))
  t.notOk(may('http://evil.example', 'node.example'))
  t.notOk(may('http://node.example', undefined))
  for (const origin of [...LOOPBACK, ...FOREIGN]) t.notOk(may(origin, 'node.example'), origin)
})

t.test('a list: those and no others', async t => {
  for (const host of ['127.0.0.1', '0.0.0.0']) {
    const may = originRule({ origins: ['https://app.example', 'http://localhost:3000'], host })
    t.ok(may('https://app.example', 'x'))
    t.ok(may('http://localhost:3000', 'x'))
    t.notOk(may('http://app.example', 'x'))
    t.notOk(may('https://app.example:8443', 'x'))
    t.notOk(may('https://sub.app.example', 'x'))
    t.notOk(may('http://localhost:3001', 'x'))
    t.notOk(may('http://x', 'x'))
    t.notOk(may('null', 'x'))
  }
})

t.test('*: all, even pages without an origin', async t => {
  const may = originRule({ origins: ['*'], host: '0.0.0.0' })
  for (const origin of [...LOOPBACK, ...FOREIGN]) t.ok(may(origin, 'x'), origin)
})

const routes = (app: FastifyInstance) => {
  app.get('/v1/read', async () => 'read')
  app.post('/v1/write', { config: { origin: 'required' } }, async () => 'written')
}

t.test('an allowed page may read and write', async t => {
  const { app } = await startApp(t, { routes })
  for (const origin of LOOPBACK) {
    const read = await app.inject({ url: '/v1/read', headers: { origin } })
    t.equal(read.statusCode, 200)
    t.equal(read.headers['access-control-allow-origin'], origin)
    t.match(read.headers['access-control-expose-headers'], /ETag.*Idempotency-Replayed.*Retry-After/)
    t.equal(read.headers['access-control-allow-credentials'], undefined)
    t.equal(read.headers.vary, 'Origin')
    const write = await app.inject({ method: 'POST', url: '/v1/write', headers: { origin } })
    t.equal(write.statusCode, 200)
    t.equal(write.headers['access-control-allow-origin'], origin)
  }
})

t.test('a foreign page gets what it can not read, and may not write', async t => {
  const { app } = await startApp(t, { routes })
  for (const origin of FOREIGN.filter(each => each !== '')) {
    const read = await app.inject({ url: '/v1/read', headers: { origin } })
    t.equal(read.statusCode, 200)
    t.equal(read.headers['access-control-allow-origin'], undefined)
    t.equal(read.headers.vary, 'Origin')
    const write = await app.inject({ method: 'POST', url: '/v1/write', headers: { origin } })
    t.equal(write.statusCode, 403)
    t.match(write.json(), { error: { code: 'FW_FORBIDDEN_ORIGIN' } })
  }
})

t.test('who sends no origin is no page', async t => {
  const { app } = await startApp(t, { routes })
  const write = await app.inject({ method: 'POST', url: '/v1/write' })
  t.equal(write.statusCode, 200)
  t.equal(write.headers.vary, 'Origin', 'another answer may depend on it, so a cache must know')
  t.equal(write.headers['access-control-allow-origin'], undefined)
})

t.test('*: any page may read and write', async t => {
  const { app } = await startApp(t, { routes, config: { origins: ['*'] } })
  for (const origin of ['https://any.example', 'null']) {
    const write = await app.inject({ method: 'POST', url: '/v1/write', headers: { origin } })
    t.equal(write.statusCode, 200)
    t.equal(write.headers['access-control-allow-origin'], '*')
  }
})

t.test('a preflight says what a page may send', async t => {
  const { app } = await startApp(t, { routes })
  const ask = (origin: string, url = '/v1/write') =>
    app.inject({
      method: 'OPTIONS',
      url,
      headers: {
        origin,
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'authorization,content-type,idempotency-key',
      },
    })
  const allowed = await ask('http://localhost:3000')
  t.equal(allowed.statusCode, 204)
  t.equal(allowed.headers['access-control-allow-origin'], 'http://localhost:3000')
  t.match(allowed.headers['access-control-allow-methods'], /\bPOST\b/)
  for (const header of [
    'authorization',
    'content-type',
    'idempotency-key',
    'last-event-id',
    'if-none-match',
  ]) {
    t.match(allowed.headers['access-control-allow-headers'], new RegExp(header, 'i'))
  }
  t.equal(allowed.headers['access-control-max-age'], '600')
  const refused = await ask('http://evil.example')
  t.equal(refused.headers['access-control-allow-origin'], undefined)
  t.equal(refused.headers['access-control-allow-methods'], undefined)
})

t.test('errors can be read by the page that made them', async t => {
  const { app } = await startApp(t, { routes })
  const origin = 'http://localhost:3000'
  for (const url of ['/v1/nothing', '/v1/channels/a%20b']) {
    const answer = await app.inject({ url, headers: { origin } })
    t.equal(answer.headers['access-control-allow-origin'], origin, url)
  }
})
