// Which browser pages may read, open a WebSocket and publish (FANWIRE_ORIGINS).

import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { type Config, readConfig } from '../../../services/config/config.ts'
import { requirePublishOrigin } from '../../../services/http/auth.ts'
import { hostRule, originRule } from '../../../services/http/origins.ts'
import { startApp } from './app.ts'

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

t.test('an invalid URL is not an origin, even where URL.canParse of Node 20 accepts it', async t => {
  const may = originRule(undefined, 'localhost')
  for (let i = 0x80; i < 0x100; i++) {
    for (let j = 0x80; j < 0x100; j++) {
      const origin = `https://${String.fromCharCode(i, j)}`
      if (may(origin, 'x')) t.fail(origin)
    }
  }
})

t.test('on loopback: loopback origins, whatever the port, but not via other names', async t => {
  for (const host of ['127.0.0.1', '::1', 'localhost']) {
    const may = originRule(undefined, host)
    for (const origin of LOOPBACK) t.ok(may(origin, 'x'), origin)
    for (const origin of FOREIGN) t.notOk(may(origin, 'x'), origin)
    t.notOk(
      may('http://evil.example:8080', 'evil.example:8080'),
      'a name that resolves to loopback (DNS rebinding)',
    )
  }
})

t.test("beyond loopback: only the node's own origin", async t => {
  const may = originRule(undefined, '0.0.0.0')
  t.ok(may('http://node.example:8080', 'node.example:8080'))
  t.ok(may('https://node.example', 'node.example'))
  t.ok(may('https://node.example', 'node.example:443'), 'the default port may be omitted')
  t.ok(may('http://10.0.0.1:8080', '10.0.0.1:8080'))
  t.notOk(may('http://node.example:8080', 'node.example:9090'))
  t.notOk(may('http://node.example', 'node.example:8080'))
  t.notOk(may('http://evil.example', 'node.example'))
  t.notOk(may('http://node.example', undefined))
  for (const origin of [...LOOPBACK, ...FOREIGN]) t.notOk(may(origin, 'node.example'), origin)
})

t.test('a list: only the listed origins', async t => {
  for (const host of ['127.0.0.1', '0.0.0.0']) {
    const may = originRule(['https://app.example', 'http://localhost:3000'], host)
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
  const may = originRule(['*'], '0.0.0.0')
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
    t.equal(
      read.headers['access-control-allow-credentials'],
      undefined,
      'credentials are only for listed origins',
    )
    t.equal(read.headers.vary, 'Origin')
    const write = await app.inject({ method: 'POST', url: '/v1/write', headers: { origin } })
    t.equal(write.statusCode, 200)
    t.equal(write.headers['access-control-allow-origin'], origin)
  }
})

t.test('a foreign page cannot read the response, and may not write', async t => {
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

t.test('a request without an origin is not from a page', async t => {
  const { app } = await startApp(t, { routes })
  const write = await app.inject({ method: 'POST', url: '/v1/write' })
  t.equal(write.statusCode, 200)
  t.equal(write.headers.vary, 'Origin', 'other responses depend on the origin, so caches must know')
  t.equal(write.headers['access-control-allow-origin'], undefined)
})

t.test('*: any page may call a route that requires an allowed origin, without credentials', async t => {
  const { app } = await startApp(t, { routes, config: { origins: ['*'] } })
  for (const origin of ['https://any.example', 'null']) {
    const write = await app.inject({ method: 'POST', url: '/v1/write', headers: { origin } })
    t.equal(write.statusCode, 200)
    t.equal(write.headers['access-control-allow-origin'], '*')
    t.equal(write.headers['access-control-allow-credentials'], undefined)
  }
})

t.test("H10: a preflight allows a page's request", async t => {
  const { app } = await startApp(t, { routes })
  // Includes headers of tracing libraries and of jQuery.
  const asked = 'authorization,content-type,idempotency-key,traceparent,baggage,sentry-trace,x-requested-with'
  const ask = (origin: string, url = '/v1/write') =>
    app.inject({
      method: 'OPTIONS',
      url,
      headers: {
        origin,
        'access-control-request-method': 'POST',
        'access-control-request-headers': asked,
      },
    })
  const allowed = await ask('http://localhost:3000')
  t.equal(allowed.statusCode, 204)
  t.equal(allowed.headers['access-control-allow-origin'], 'http://localhost:3000')
  t.equal(allowed.headers['access-control-allow-methods'], 'GET, HEAD, POST, DELETE')
  t.equal(allowed.headers['access-control-allow-headers'], asked, 'all requested headers are allowed')
  t.match(allowed.headers.vary, /Origin.*Access-Control-Request-Headers/)
  t.equal(allowed.headers['access-control-max-age'], '600')
  const refused = await ask('http://evil.example')
  t.equal(refused.headers['access-control-allow-origin'], undefined)
  t.equal(refused.headers['access-control-allow-methods'], undefined)
})

t.test('the page that caused an error can read it', async t => {
  const { app } = await startApp(t, { routes })
  const origin = 'http://localhost:3000'
  for (const url of ['/v1/nothing', '/v1/channels/a%20b']) {
    const answer = await app.inject({ url, headers: { origin } })
    t.equal(answer.headers['access-control-allow-origin'], origin, url)
  }
})

t.test('H10: origins of any scheme, with sub-domains and ports', async t => {
  const may = originRule(
    ['https://*.example.com', 'http://*.dev.example:8080', 'capacitor://localhost', 'chrome-extension://abc'],
    '0.0.0.0',
  )
  for (const origin of [
    'https://a.example.com',
    'https://a.b.example.com',
    'https://A.Example.com:443',
    'http://x.dev.example:8080',
    'capacitor://localhost',
    'chrome-extension://abc',
  ]) {
    t.ok(may(origin, 'x'), origin)
  }
  for (const origin of [
    'https://example.com',
    'https://.example.com',
    'https://evilexample.com',
    'https://a.example.com.evil.example',
    'https://a.example.com:8443',
    'http://a.example.com',
    'https://evil.example/.example.com',
    'https://evil.example#.example.com',
    'https://evil.example\\.example.com',
    'https://u@a.example.com',
    'http://x.dev.example',
    'capacitor://other',
    'tauri://localhost',
    'chrome-extension://abcd',
    'null',
  ]) {
    t.notOk(may(origin, 'x'), origin)
  }
})

t.test('H10: credentials are allowed for the listed origins, and never for *', async t => {
  const list = ['https://*.example.com', 'capacitor://localhost']
  const { app } = await startApp(t, { routes, config: { origins: list } })
  for (const origin of ['https://a.example.com', 'capacitor://localhost']) {
    for (const method of ['GET', 'OPTIONS'] as const) {
      const headers = { origin, ...(method === 'OPTIONS' ? { 'access-control-request-method': 'GET' } : {}) }
      const answer = await app.inject({ method, url: '/v1/read', headers })
      t.equal(answer.headers['access-control-allow-origin'], origin)
      t.equal(answer.headers['access-control-allow-credentials'], 'true')
    }
  }
  const config = { origins: ['*'], publishOrigins: ['https://own.example'] }
  const { app: open } = await startApp(t, { routes, config })
  const headersFor = async (origin: string) =>
    (await open.inject({ url: '/v1/read', headers: { origin } })).headers
  t.equal((await headersFor('https://any.example'))['access-control-allow-credentials'], undefined)
  t.equal((await headersFor('https://any.example'))['access-control-allow-origin'], '*')
  t.equal((await headersFor('https://own.example'))['access-control-allow-credentials'], 'true')
  t.equal((await headersFor('https://own.example'))['access-control-allow-origin'], 'https://own.example')
})

const publish = (app: FastifyInstance, origin: string) =>
  app.inject({ method: 'POST', url: '/v1/publish', headers: { origin } })
const publishing = (app: FastifyInstance) => {
  routes(app)
  app.post(
    '/v1/publish',
    { onRequest: async request => requirePublishOrigin(request) },
    async () => 'published',
  )
}

t.test('H10: a permission for all pages to read does not let them publish', async t => {
  const { app } = await startApp(t, { routes: publishing, config: { origins: ['*'] } })
  const refused = await publish(app, 'https://any.example')
  t.equal(refused.statusCode, 403)
  t.match(refused.json(), { error: { code: 'FW_FORBIDDEN_ORIGIN', message: /FANWIRE_PUBLISH_ORIGINS/ } })
  t.equal(refused.headers['access-control-allow-origin'], '*', 'the page can read the error')
  t.equal(
    (await publish(app, 'http://localhost:3000')).statusCode,
    200,
    "the node's own origins may publish, as without a list",
  )
  const { app: open } = await startApp(t, {
    routes: publishing,
    config: { origins: ['*'], publishOrigins: ['*'] },
  })
  t.equal((await publish(open, 'https://any.example')).statusCode, 200)
})

t.test('H10: publishing and reading origins are listed separately', async t => {
  const config = { origins: ['https://reader.example'], publishOrigins: ['https://*.writer.example'] }
  const { app } = await startApp(t, { routes: publishing, config })
  t.equal((await publish(app, 'https://reader.example')).statusCode, 403)
  const written = await publish(app, 'https://a.writer.example')
  t.equal(written.statusCode, 200)
  t.equal(
    written.headers['access-control-allow-origin'],
    'https://a.writer.example',
    'the page can read the response to its publish',
  )
  const headers = { origin: 'https://a.writer.example' }
  const read = await app.inject({ url: '/v1/read', headers })
  t.equal(read.headers['access-control-allow-origin'], undefined, 'the page cannot read other responses')
  const preflight = async (method: string) =>
    (
      await app.inject({
        method: 'OPTIONS',
        url: '/v1/publish',
        headers: { ...headers, 'access-control-request-method': method },
      })
    ).headers['access-control-allow-origin']
  t.equal(await preflight('POST'), 'https://a.writer.example')
  t.equal(await preflight('GET'), undefined)
  const { app: same } = await startApp(t, {
    routes: publishing,
    config: { origins: ['https://both.example'] },
  })
  t.equal(
    (await publish(same, 'https://both.example')).statusCode,
    200,
    'without publishOrigins, origins also applies to publishing',
  )
})

t.test('H9: a node accepts only its own host names', async t => {
  const config = (over: Partial<Config>): ((name: string) => boolean) => {
    const command = readConfig([], {})
    if (!('config' in command)) throw new Error('no config')
    return hostRule({ ...command.config, ...over })
  }
  const LOOPBACK_NAMES = ['localhost', 'LOCALHOST', 'app.localhost', '127.0.0.1', '127.8.9.1', '[::1]']
  const OTHERS = [
    'evil.example',
    'localhost.evil.example',
    '127.0.0.1.evil.example',
    '10.0.0.1',
    '[::2]',
    '0.0.0.0',
  ]
  const alone = config({})
  for (const name of LOOPBACK_NAMES) t.ok(alone(name), name)
  for (const name of OTHERS) t.notOk(alone(name), name)
  const beyond = config({ host: '0.0.0.0' })
  for (const name of [...LOOPBACK_NAMES, ...OTHERS]) t.ok(beyond(name), name)
  for (const host of ['127.0.0.1', '0.0.0.0']) {
    const listed = config({ host, hosts: ['push.example', '*.b.example', '10.0.0.1'] })
    for (const name of [...LOOPBACK_NAMES, 'push.example', 'Push.Example.', 'a.b.example', '10.0.0.1']) {
      t.ok(listed(name), name)
    }
    for (const name of ['evil.example', 'b.example', 'a.push.example', 'xb.example'])
      t.notOk(listed(name), name)
    const all = config({ host, hosts: ['*'] })
    for (const name of OTHERS) t.ok(all(name), name)
  }
  const origins = config({ origins: ['https://app.example:8443', 'http://*.c.example'] })
  for (const name of ['app.example', 'a.c.example']) t.ok(origins(name), name)
  for (const name of OTHERS) t.notOk(origins(name), name)
  const any = config({ origins: ['*'] })
  for (const name of OTHERS) t.ok(any(name), name)
})
