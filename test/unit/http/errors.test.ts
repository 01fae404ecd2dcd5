// Error responses (docs/protocol.md#errors).

import { readdirSync, readFileSync } from 'node:fs'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { CODES, type ErrorCode, errorTable, FanwireError } from '../../../services/errors.ts'
import { LogUnavailable } from '../../../services/broker/log/log.ts'
import { bodyOf, rawBodyOf, readChunks } from '../../contract/chunks.ts'
import { listen, Raw, startApp } from './app.ts'

const CODED = { error: { code: String, message: String } }

function raising(error: () => Error, config = {}) {
  return (app: FastifyInstance) => {
    app.get('/v1/raise', { config }, async () => {
      throw error()
    })
  }
}

t.test('our own errors have their code, status and message', async t => {
  for (const [code, { status, retryable }] of Object.entries(CODES)) {
    const { app } = await startApp(t, {
      routes: raising(() => new FanwireError(code as ErrorCode, 'so it is')),
    })
    const answer = await app.inject('/v1/raise')
    t.equal(answer.statusCode, status, code)
    t.strictSame(answer.json(), { error: { code, message: 'so it is' } })
    t.equal(answer.headers['content-type'], 'application/json; charset=utf-8')
    t.equal(answer.headers['cache-control'], 'no-store')
    t.equal(answer.headers['retry-after'] !== undefined, retryable, `${code} Retry-After`)
    if (retryable) t.match(answer.headers['retry-after'], /^[1-9]$/)
    t.equal(answer.headers['www-authenticate'], status === 401 ? 'Bearer realm="fanwire"' : undefined)
  }
})

t.test('H1, H3: an EventSource receives retryable errors with 200, a retry delay and no end', async t => {
  for (const [code, { status, retryable }] of Object.entries(CODES)) {
    const error = () => new FanwireError(code as ErrorCode, 'line\r\ndata: forged')
    const { app } = await startApp(t, { routes: raising(error, { sse: true }) })
    const port = await listen(app)
    for (const version of retryable ? ['1.1', '1.0'] : ['1.1']) {
      const raw = new Raw(port).send(`GET /v1/raise HTTP/${version}\r\nHost: x\r\nConnection: close\r\n\r\n`)
      await raw.ended
      t.match(raw.text, new RegExp(`^HTTP/1.1 ${retryable ? 200 : status} `), code)
      if (!retryable) continue
      t.match(raw.text, /^content-type: text\/event-stream\r$/im)
      t.match(raw.text, /^cache-control: no-store\r$/im)
      t.match(bodyOf(raw.text), new RegExp(`^retry: \\d{4}\\n: ${code}: line data: forged\\n$`))
      t.notMatch(raw.text, /^content-length:/im)
      if (version === '1.1')
        t.equal(
          readChunks(rawBodyOf(raw.text)).ended,
          false,
          'the response has no final chunk, which a client could take for an end',
        )
    }
  }
})

t.test('an unavailable log is 503, and its address stays secret', async t => {
  const { app } = await startApp(t, { routes: raising(() => new LogUnavailable('Redis at 10.1.2.3')) })
  const answer = await app.inject('/v1/raise')
  t.equal(answer.statusCode, 503)
  t.equal(answer.json().error.code, 'FW_LOG_UNAVAILABLE')
  t.notMatch(answer.body, /10\.1\.2\.3/)
  t.ok(answer.headers['retry-after'])
})

t.test('an internal fault is logged with its stack, and its message is not sent', async t => {
  const { app, lines } = await startApp(t, { routes: raising(() => new TypeError('secret detail')) })
  const answer = await app.inject('/v1/raise?secret=s3cret')
  t.equal(answer.statusCode, 500)
  t.equal(answer.json().error.code, 'FW_INTERNAL')
  t.notMatch(answer.body, /secret detail/)
  const logged = lines.find(line => line.includes('secret detail')) ?? '{}'
  t.match(JSON.parse(logged), { level: 50, path: '/v1/raise', err: { stack: /errors\.test/ } })
  t.notMatch(lines.join(), /s3cret/)
})

t.test('an unknown path is 404, whatever the method and the body', async t => {
  const { app } = await startApp(t)
  for (const method of ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'PROPFIND'] as const) {
    const answer = await app.inject({
      method: method as 'GET',
      url: '/v1/nothing?x=1',
      ...(method === 'POST' ? { headers: { 'content-type': 'application/x-strange' }, payload: 'x' } : {}),
    })
    t.equal(answer.statusCode, 404, method)
    if (method !== 'HEAD') t.match(answer.json(), { error: { code: 'FW_NOT_FOUND' } }, method)
  }
  for (const url of ['/', '/v1', '/v1/', '/v1/channels', '/healthz/', '//healthz', '/v1/channels/a/b']) {
    t.equal((await app.inject(url)).statusCode, 404, url)
  }
})

t.test('an unsupported method is 405 with the supported ones', async t => {
  const { app } = await startApp(t, {
    routes(app) {
      app.post('/v1/both', async () => 1)
      app.get('/v1/both', async () => 1)
      app.get('/v1/only', async () => 1)
    },
  })
  const allow: [string, string][] = [
    ['/v1/both', 'GET, OPTIONS, POST'],
    ['/v1/only', 'GET, OPTIONS'],
    ['/v1/%6fnly?x=y', 'GET, OPTIONS'],
    ['/healthz', 'GET, HEAD, OPTIONS'],
    ['/v1/channels/a', 'GET, HEAD, OPTIONS'],
    ['/v1/channels/a/events/x-1', 'GET, HEAD, OPTIONS'],
  ]
  for (const [url, methods] of allow) {
    for (const method of ['DELETE', 'PUT', 'PATCH', 'TRACE', 'PROPFIND', 'HEAD', 'GET', 'POST']) {
      if (methods.includes(method)) continue
      const answer = await app.inject({ method: method as 'PUT', url, payload: method === 'PUT' ? 'x' : '' })
      t.equal(answer.statusCode, 405, `${method} ${url}`)
      t.equal(answer.headers.allow, methods)
      if (method !== 'HEAD') t.match(answer.json(), { error: { code: 'FW_METHOD_NOT_ALLOWED' } })
    }
    const options = await app.inject({ method: 'OPTIONS', url })
    t.equal(options.statusCode, 204)
    t.equal(options.headers.allow, methods)
  }
})

t.test('HEAD answers like GET, without the body', async t => {
  const { app } = await startApp(t)
  const head = await app.inject({ method: 'HEAD', url: '/healthz' })
  const get = await app.inject('/healthz')
  t.equal(head.statusCode, 200)
  t.equal(head.body, '')
  t.equal(head.headers['content-length'], get.headers['content-length'])
})

t.test("Fastify's own errors have our codes", async t => {
  const { app } = await startApp(t, {
    config: { maxBody: 10 },
    routes(app) {
      app.register(async inner => {
        inner.addContentTypeParser('text/plain', { parseAs: 'string' }, (_request, body, done) =>
          done(null, body),
        )
        inner.post('/v1/text', async request => request.body)
      })
    },
  })
  const post = (type: string, payload: string) =>
    app.inject({ method: 'POST', url: '/v1/text', headers: { 'content-type': type }, payload })
  t.equal((await post('text/plain', 'short')).statusCode, 200)
  t.match((await post('text/plain', 'longer than ten')).json(), {
    error: { code: 'FW_TOO_LARGE', message: /10 bytes/ },
  })
  for (const type of ['application/json', 'text/html', 'nonsense', 'text/']) {
    const answer = await post(type, '1')
    t.equal(answer.statusCode, 415, type)
    t.equal(answer.json().error.code, 'FW_MEDIA_TYPE')
  }
  const bad = await app.inject('/v1/%zz')
  t.equal(bad.statusCode, 400)
  t.match(bad.json(), { error: { code: 'FW_BAD_REQUEST' } })
})

t.test('a client that is still sending a large body reads the answer', async t => {
  const { app } = await startApp(t, {
    config: { maxBody: 1000 },
    routes(app) {
      app.register(async inner => {
        inner.addContentTypeParser('text/plain', { parseAs: 'string' }, (_request, body, done) =>
          done(null, body),
        )
        inner.post('/v1/text', async request => request.body)
      })
    },
  })
  const port = await listen(app)
  const size = 20_000_000
  const raw = new Raw(port)
  raw.send(`POST /v1/text HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: ${size}\r\n\r\n`)
  raw.send(Buffer.alloc(size, 'x'))
  t.match(await raw.until(/FW_TOO_LARGE.*\}\}/), /^HTTP\/1.1 413 /)
  // The body was read and discarded, and the connection continues.
  raw.send('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n')
  t.match(await raw.until(/"ok":true/), /"ok":true/)
  raw.close()
})

t.test('non-HTTP input gets an error, and the connection ends', async t => {
  const { app } = await startApp(t)
  const port = await listen(app)
  const cases: [string, string, RegExp][] = [
    ['garbage', 'garbage\r\n\r\n', /^HTTP\/1.1 400 .*FW_BAD_REQUEST/s],
    ['a TLS greeting', '\x16\x03\x01\x02\x00\x01', /^HTTP\/1.1 400 .*FW_BAD_REQUEST/s],
    ['an unknown method', 'BREW /healthz HTTP/1.1\r\nHost: x\r\n\r\n', /^HTTP\/1.1 400 .*FW_BAD_REQUEST/s],
    [
      'two lengths',
      'POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n',
      /^HTTP\/1.1 400 .*FW_BAD_REQUEST/s,
    ],
    [
      'a header without a name',
      'GET / HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n',
      /^HTTP\/1.1 400 .*FW_BAD_REQUEST/s,
    ],
  ]
  for (const [what, bytes, expected] of cases) {
    const raw = new Raw(port).send(bytes)
    await raw.ended
    t.match(raw.text, expected, what)
    t.match(raw.text, /Connection: close/i, what)
  }
})

t.test('URLs and headers have a limit', async t => {
  const { app } = await startApp(t)
  const port = await listen(app)
  const ask = async (path: string, header = '') => {
    const raw = new Raw(port).send(`GET ${path} HTTP/1.1\r\nHost: x\r\n${header}Connection: close\r\n\r\n`)
    await raw.ended
    const [, status, code] = /^HTTP\/1.1 (\d+).*?"code":"(\w+)"/s.exec(raw.text) ?? []
    return `${status} ${code}`
  }
  const long = (n: number) => 'a'.repeat(n)
  t.equal(await ask(`/${long(32_000)}`), '404 FW_NOT_FOUND')
  t.equal(
    await ask(`/v1/channels/${long(32_000)}`),
    '400 FW_BAD_CHANNEL',
    'a name that is too long is not 404',
  )
  for (const n of [32_768, 60_000, 70_000, 100_000]) {
    t.equal(await ask(`/${long(n)}`), '414 FW_URL_TOO_LONG', String(n))
    t.equal(await ask(`/v1/channels/a?x=${long(n)}`), '414 FW_URL_TOO_LONG', String(n))
  }
  t.match(await ask(`/${long(1_000_000)}`), /^(414 FW_URL_TOO_LONG|431 FW_HEADERS_TOO_LARGE)$/)
  t.equal(await ask('/none', `X: ${long(60_000)}\r\n`), '404 FW_NOT_FOUND')
  for (const n of [66_000, 100_000, 300_000]) {
    t.equal(await ask('/healthz', `X: ${long(n)}\r\n`), '431 FW_HEADERS_TOO_LARGE', String(n))
  }
})

t.test('a request that does not arrive in time is 408', async t => {
  const { app } = await startApp(t)
  const port = await listen(app)
  const accepted = new Promise<unknown>(resolve => app.server.once('connection', resolve))
  const raw = new Raw(port).send('GET /healthz HTT')
  // Emits the event that Node emits after headersTimeout.
  app.server.emit(
    'clientError',
    Object.assign(new Error(), { code: 'ERR_HTTP_REQUEST_TIMEOUT' }),
    await accepted,
  )
  await raw.ended
  t.match(raw.text, /^HTTP\/1.1 408 .*FW_REQUEST_TIMEOUT/s)
})

t.test('garbage that arrives during an answer ends the answer without a message', async t => {
  const { app } = await startApp(t, {
    routes(app) {
      app.get('/v1/hold', (_request, reply) => {
        reply.hijack()
        reply.raw.writeHead(200)
        reply.raw.write('first')
      })
    },
  })
  const raw = new Raw(await listen(app)).send('GET /v1/hold HTTP/1.1\r\nHost: x\r\n\r\n')
  await raw.until(/first/)
  raw.send('garbage\r\n\r\n')
  await raw.ended
  t.notMatch(raw.text, /400/)
})

t.test('every raised code is documented, and every documented code is raised', async t => {
  const root = new URL('../../../', import.meta.url)
  const sources = readdirSync(new URL('services/', root), { recursive: true, encoding: 'utf8' })
    .filter(path => path.endsWith('.ts') && path !== 'errors.ts')
    .map(path => readFileSync(new URL(`services/${path}`, root), 'utf8'))
    .join('\n')
  for (const code of Object.keys(CODES)) t.ok(sources.includes(`'${code}'`), `${code} is raised`)
  // This code is never sent to clients: it is an error at the start of a node.
  const known = new Set([...Object.keys(CODES), 'FW_OTEL_PACKAGES'])
  for (const [code] of sources.matchAll(/\bFW_\w+/g)) t.ok(known.has(code), `${code} is in the table`)

  t.ok(
    readFileSync(new URL('docs/reference/errors.md', root), 'utf8').includes(errorTable()),
    'docs/reference/errors.md has the table that `npm run docs` makes',
  )
})

t.test('an error has the status of its code, and keeps its cause', async t => {
  const error = new FanwireError('FW_TOO_LARGE', 'too much', { cause: 1 })
  t.match(JSON.parse(JSON.stringify(error)), CODED)
  t.equal(error.statusCode, 413)
  t.equal(error.retryable, false)
  t.equal(error.cause, 1)
})
