// TLS and HTTP/2: one port for both versions of HTTP, another for cleartext HTTP/2, and the rules for connections.

import { once } from 'node:events'
import { copyFileSync, mkdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { type ClientHttp2Session, constants, type IncomingHttpHeaders } from 'node:http2'
import { join } from 'node:path'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import { pino } from 'pino'
import t from 'tap'
import { Certificate, type Pair } from '../../../services/http/certificate.ts'
import { startBrowser, withoutBrowser } from '../../browser/browser.ts'
import { openStream } from '../../contract/clients.ts'
import { ask, destroy, makeCertificate, openSession } from '../../contract/http2.ts'
import { type Node, startMemoryNode } from '../../contract/node.ts'
import { fresh } from '../../contract/wires.ts'
import { runNode, startNode } from '../../support/node.ts'
import { Program, run, temporaryFolder, without } from '../../support/tools.ts'
import { until } from '../../support/until.ts'

const { cert, key } = makeCertificate()
const tls = { TLS_CERT: cert, TLS_KEY: key }
/** A node with TLS on its port, and cleartext HTTP/2 on another. */
const node = await startMemoryNode({ ...tls, H2C_PORT: '0', HEARTBEAT: '200ms' })
t.teardown(() => node.close())

const warnings: string[] = []
process.on('warning', warning => warnings.push(String(warning)))

const sessions: ClientHttp2Session[] = []
t.afterEach(() => {
  for (const session of sessions.splice(0)) destroy(session)
})

/** Opens a session over TLS or in cleartext. */
async function session(of: Node = node, how: 'tls' | 'h2c' = 'h2c'): Promise<ClientHttp2Session> {
  const opened = await openSession(how === 'h2c' ? of : { port: of.port })
  sessions.push(opened)
  return opened
}

/** Reads a stream's text. */
class Reading {
  text = ''
  readonly headers: Promise<IncomingHttpHeaders & { ':status'?: number }>
  readonly ended: Promise<unknown>

  constructor(session: ClientHttp2Session, path: string) {
    const stream = session.request({ ':path': path })
    stream.on('error', () => {})
    stream.on('data', data => {
      this.text += data
    })
    this.headers = once(stream, 'response').then(([headers]) => headers)
    // Also resolves on a reset, which ends a stream whose client should reconnect.
    this.ended = new Promise(resolve => stream.once('close', resolve))
  }

  async until(pattern: RegExp): Promise<string> {
    await until(`${pattern}`, () => pattern.test(this.text))
    return this.text
  }
}

t.test('one port speaks HTTP/1.1 and HTTP/2, as the client requests', async t => {
  const channel = fresh()
  const over1 = await node.publish(channel, '1')
  const over2 = await session(node, 'tls')
  const answer = await ask(over2, { ':path': `/v1/poll?channel=${channel}` })
  t.equal(answer.status, 200)
  t.equal(JSON.parse(answer.body).events[0].id, over1)
  const published = await ask(
    over2,
    { ':method': 'POST', ':path': `/v1/channels/${channel}/events`, 'content-type': 'application/json' },
    '2',
  )
  t.equal(published.status, 201)
  const { body } = await node.get(`/v1/poll?channel=${channel}&cursor=${over1}`)
  t.equal(JSON.parse(body).events[0].id, JSON.parse(published.body).id)
})

t.test('a client without ALPN speaks HTTP/1.1; one that supports neither is rejected', async t => {
  const plain = connectTls({ port: node.port, host: '127.0.0.1', rejectUnauthorized: false })
  await once(plain, 'secureConnect')
  plain.write('GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n')
  plain.write('HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n')
  const [data] = await once(plain, 'data')
  t.match(String(data), /^HTTP\/1.1 200 /, 'an offer to upgrade is ignored')
  plain.destroy()
  const other = connectTls({
    port: node.port,
    host: '127.0.0.1',
    rejectUnauthorized: false,
    ALPNProtocols: ['spdy/3'],
  })
  await t.rejects(once(other, 'secureConnect'))
})

t.test('errors are the same as over HTTP/1.1', async t => {
  const over2 = await session()
  for (const [method, path, type, status, code] of [
    ['GET', '/v1/nothing', undefined, 404, 'FW_NOT_FOUND'],
    ['DELETE', '/v1/poll', undefined, 405, 'FW_METHOD_NOT_ALLOWED'],
    ['GET', '/v1/poll', undefined, 400, 'FW_BAD_CHANNEL'],
    ['GET', '/v1/sse?channel=a&cursor=x', undefined, 400, 'FW_BAD_CURSOR'],
    ['GET', '/v1/ws', undefined, 426, 'FW_UPGRADE_REQUIRED'],
    ['POST', '/v1/channels/a/events', 'text/html', 415, 'FW_MEDIA_TYPE'],
    ['POST', '/v1/channels/a/events', 'application/json', 400, 'FW_BAD_JSON'],
    ['GET', `/v1/poll?channel=${'x'.repeat(40_000)}`, undefined, 414, 'FW_URL_TOO_LONG'],
  ] as const) {
    const headers = { ':method': method, ':path': path, ...(type ? { 'content-type': type } : {}) }
    const answer = await ask(over2, headers, method === 'POST' ? '{' : undefined)
    t.equal(answer.status, status, path.slice(0, 40))
    t.equal(JSON.parse(answer.body).error.code, code)
  }
  const foreign = await ask(
    over2,
    {
      ':method': 'POST',
      ':path': '/v1/channels/a/events',
      'content-type': 'application/json',
      origin: 'https://elsewhere.example',
    },
    '1',
  )
  t.equal(foreign.status, 403)
})

t.test('streams: the head has no HTTP/1.1 headers, and a session holds many', async t => {
  const channel = fresh()
  const over2 = await session(node, 'tls')
  const readings = Array.from({ length: 99 }, () => new Reading(over2, `/v1/sse?channel=${channel}`))
  for (const reading of readings) await reading.until(/^event: fanwire:open\n[^]*\n\n/)
  const headers = (await readings[0]?.headers) ?? {}
  t.equal(headers[':status'], 200)
  t.equal(headers['content-type'], 'text/event-stream')
  t.equal(headers['cache-control'], 'no-store, no-transform')
  t.equal(headers.connection, undefined)
  t.equal(headers['transfer-encoding'], undefined)
  t.equal(node.hub.readers(channel), 99)
  t.equal(over2.remoteSettings.maxConcurrentStreams, 100)
  const ids = await node.append(channel, '1', '2', '3')
  for (const reading of readings) {
    await reading.until(/"data":3/)
    t.strictSame(
      [...reading.text.matchAll(/"id":"([^"]+)"/g)].map(([, id]) => id),
      ids,
    )
  }
  const beside = await ask(over2, { ':path': `/v1/poll?channel=${channel}` })
  t.equal(JSON.parse(beside.body).events.length, 3, 'the session accepts other requests beside its streams')
  destroy(over2)
  await until('all have left', () => node.hub.readers(channel) === 0)
})

t.test('closing a stream leaves the others of its session alone', async () => {
  const channel = fresh()
  const over2 = await session()
  const stays = new Reading(over2, `/v1/stream?channel=${channel}`)
  const goes = over2.request({ ':path': `/v1/stream?channel=${channel}` })
  await once(goes, 'response')
  await stays.until(/"open"/)
  goes.close(constants.NGHTTP2_CANCEL)
  await until('one is left', () => node.hub.readers(channel) === 1)
  await node.append(channel, '"on"')
  await stays.until(/"on"/)
})

t.test('a truncated body is not published', async t => {
  const channel = fresh()
  for (const type of ['text/plain', 'application/octet-stream']) {
    const over2 = await session()
    const post = (headers: Record<string, string>) => {
      const path = `/v1/channels/${channel}/events`
      const cut = over2.request({ ':method': 'POST', ':path': path, 'content-type': type, ...headers })
      cut.on('error', () => {})
      cut.write('half of')
      return cut
    }
    // Node ends the body before it resets the stream, so the body is shorter than declared.
    const reset = post({ 'content-length': '20' })
    post({})
    await ask(over2, { ':path': '/healthz' })
    reset.close(constants.NGHTTP2_CANCEL)
    await once(reset, 'close')
    await ask(over2, { ':path': '/healthz' })
    const left = node.app.sockets.size
    destroy(over2)
    await until('the session is gone', () => node.app.sockets.size < left)
  }
  const whole = await node.publish(channel, '1')
  const { body } = await node.get(`/v1/poll?channel=${channel}`)
  t.strictSame(
    JSON.parse(body).events.map((event: { id: string }) => event.id),
    [whole],
  )
})

t.test('many lines are published while results stream back', async t => {
  const channel = fresh()
  const over2 = await session()
  const lines = over2.request({
    ':method': 'POST',
    ':path': '/v1/events',
    'content-type': 'application/x-ndjson',
  })
  let results = ''
  lines.on('data', data => {
    results += data
  })
  for (let i = 0; i < 3; i++) {
    lines.write(`${JSON.stringify({ channel, data: i })}\n`)
    await until('its result', () => results.split('\n').length === i + 2)
  }
  lines.end()
  await once(lines, 'close')
  t.equal(results.trim().split('\n').length, 3)
})

t.test('a session counts as a connection', async t => {
  const small = await startMemoryNode({ ...tls, H2C_PORT: '0', MAX_CONNECTIONS: '2' })
  t.teardown(() => small.close())
  const first = await session(small)
  const second = await session(small, 'tls')
  for (const each of [first, second])
    t.equal((await ask(each, { ':path': '/v1/poll?channel=a' })).status, 200)
  for (const how of ['h2c', 'tls'] as const) {
    const third = await session(small, how)
    const gone = once(third, 'close')
    const goaway = once(third, 'goaway')
    const refused = await ask(third, { ':path': '/v1/poll?channel=a' })
    t.equal(refused.status, 503)
    t.equal(JSON.parse(refused.body).error.code, 'FW_TOO_MANY_CONNECTIONS')
    t.match(await goaway, [constants.NGHTTP2_NO_ERROR])
    await gone
  }
  const over1 = await small.get('/v1/poll?channel=a')
  t.equal(over1.status, 503)
  t.equal(over1.headers.connection, 'close')
  await until('they have left', () => small.app.sockets.size === 2)
  destroy(first)
  await until('one has left', () => small.app.sockets.size === 1)
  t.equal((await small.get('/v1/poll?channel=a')).status, 200)
})

t.test('a connection beyond its maximum age receives a GOAWAY frame', async t => {
  const strict = await startMemoryNode({ H2C_PORT: '0', MAX_AGE: '1ms' })
  t.teardown(() => strict.close())
  const old = await session(strict)
  const goaway = once(old, 'goaway')
  t.equal((await ask(old, { ':path': '/v1/poll?channel=a' })).status, 200)
  await goaway
})

t.test('garbage on either port ends that connection alone', async t => {
  for (const port of [node.port, node.h2cPort ?? 0]) {
    const answer = await fetch(`http://127.0.0.1:${port}/healthz`).catch(error => error)
    t.ok(answer instanceof Error)
  }
  const over2 = await session()
  t.equal((await ask(over2, { ':path': '/healthz' })).status, 200)
})

t.test('on SIGTERM: goodbyes on every stream, GOAWAY, then exit 0, even with idle clients', async t => {
  const real = await startNode({
    env: { FANWIRE_TLS_CERT: cert, FANWIRE_TLS_KEY: key, FANWIRE_H2C_PORT: '0' },
    // The notice lasts until the request below is answered, also on a busy machine.
    args: ['--drain', '300ms', '--drain-notice', '5s'],
  })
  t.teardown(() => real.kill())
  t.match(real.url, /^https:/)
  const h2cPort = Number(/127\.0\.0\.1:(\d+)/.exec(await real.logged(/cleartext HTTP\/2/))?.[1])
  const targets = [{ port: real.port }, { port: real.port, h2cPort }]
  const idle = await Promise.all(targets.map(target => openSession(target)))
  const busy = await Promise.all(targets.map(target => openSession(target)))
  sessions.push(...idle, ...busy)
  const streams = busy.map(each => new Reading(each, '/v1/stream?channel=news'))
  const events = busy.map(each => new Reading(each, '/v1/sse?channel=news'))
  const polls = busy.map(each => new Reading(each, '/v1/long-poll?channel=news&wait=50'))
  for (const reading of [...streams, ...events]) await reading.until(/./)
  const asking = await openSession(targets[0] ?? { port: 0 })
  sessions.push(asking)
  const metrics = async () => (await ask(asking, { ':path': '/metrics' })).body
  while (!/^fanwire_readers 6$/m.test(await metrics()));
  const goaways = [...idle, ...busy].map(each => once(each, 'goaway'))
  const goodbye = once(asking, 'goaway')

  real.signal('SIGTERM')
  await real.logged(/not ready: the node is stopping/)
  const ready = await ask(asking, { ':path': '/readyz' })
  t.equal(ready.status, 503)
  await goodbye
  await Promise.all([...streams, ...events, ...polls].map(({ ended }) => ended))
  for (const { text } of streams) t.match(text, /\{"close":\{"code":1001,[^\n]*\n$/)
  for (const { text } of events) t.match(text, /retry: \d+\n: 1001 /)
  for (const { text } of polls) t.match(text, /^\{"events":\[\]/)
  await Promise.all(goaways)
  t.strictSame(await real.exit, { code: 0, signal: null })
})

// The certificate ---------------------------------------------------------------------------------------------

/** The fingerprint of the current certificate. With `ciphers`, negotiates TLS 1.2. */
async function shown(port: number, ciphers?: string): Promise<string> {
  const only = ciphers === undefined ? {} : { ciphers, maxVersion: 'TLSv1.2' as const }
  const socket: TLSSocket = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false, ...only })
  await once(socket, 'secureConnect')
  const { fingerprint256 } = socket.getPeerCertificate()
  socket.destroy()
  return fingerprint256
}

t.test('a changed certificate is used for new connections; open ones continue', async t => {
  // As in Kubernetes: the files are symlinks through a symlink to a folder, and the latter is replaced.
  const folder = temporaryFolder()
  makeCertificate(join(folder, '1'))
  makeCertificate(join(folder, '2'))
  symlinkSync('1', join(folder, 'data'))
  const paths = { TLS_CERT: join(folder, 'data/cert.pem'), TLS_KEY: join(folder, 'data/key.pem') }
  const own = await startMemoryNode(paths)
  t.teardown(() => own.close())
  const channel = fresh()
  const held = new Reading(
    await session({ ...own, h2cPort: undefined }, 'tls'),
    `/v1/stream?channel=${channel}`,
  )
  await held.until(/"open"/)
  const before = await shown(own.port)
  symlinkSync('2', join(folder, 'data2'))
  renameSync(join(folder, 'data2'), join(folder, 'data'))
  await until('the new certificate is used', async () => (await shown(own.port)) !== before, 20_000)
  await own.append(channel, '"on"')
  await held.until(/"on"/)
  await t.rejects(shown(own.port, 'ECDHE-ECDSA-AES128-SHA256'), 'the allowed ciphers stay the same')
})

t.test('TLS is negotiated only with forward secrecy and without CBC', async t => {
  const { cert, key } = makeCertificate(temporaryFolder(), 'localhost', 'rsa')
  const own = await startMemoryNode({ TLS_CERT: cert, TLS_KEY: key })
  t.teardown(() => own.close())
  for (const weak of ['AES128-GCM-SHA256', 'AES256-SHA', 'ECDHE-RSA-AES128-SHA256', 'ECDHE-RSA-AES256-SHA'])
    await t.rejects(shown(own.port, weak), weak)
  for (const good of ['ECDHE-RSA-AES128-GCM-SHA256', 'ECDHE-RSA-CHACHA20-POLY1305'])
    t.ok(await shown(own.port, good), good)
  t.ok(await shown(own.port), 'TLS 1.3')
})

t.test('an unusable new pair is logged once, and the old one stays', async t => {
  const folder = temporaryFolder()
  const files = makeCertificate(folder)
  const next = makeCertificate(join(folder, 'next'))
  const lines: string[] = []
  const logger = pino({ level: 'info' }, { write: line => void lines.push(line) })
  const certificate = await Certificate.read(files, logger)
  t.teardown(() => certificate.close())
  const { pair: first } = certificate
  const used: Pair[] = []
  certificate.watch(pair => used.push(pair), 10)
  copyFileSync(next.key, files.key)
  await until('it is logged', () => lines.length === 1)
  t.match(lines[0], /cannot be used: the old one stays/)
  t.notMatch(lines[0], /PRIVATE KEY-----/)
  t.equal(certificate.pair, first)
  copyFileSync(next.cert, files.cert)
  await until('the pair fits', () => used.length === 1)
  t.equal(lines.length, 2)
  t.strictSame(used[0], certificate.pair)
})

t.test('a node that cannot set up TLS reports why, and does not start', async t => {
  const folder = temporaryFolder()
  const other = makeCertificate(join(folder, 'other'))
  const broken = join(folder, 'broken.pem')
  mkdirSync(join(folder, 'sub'))
  writeFileSync(broken, '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n')
  const cases: [Record<string, string>, number, RegExp][] = [
    [{ FANWIRE_TLS_CERT: cert }, 2, /FANWIRE_TLS_KEY is not: TLS needs both/],
    [{ FANWIRE_TLS_KEY: key }, 2, /FANWIRE_TLS_CERT is not: TLS needs both/],
    [{ FANWIRE_TLS_CERT: `${cert}x`, FANWIRE_TLS_KEY: key }, 1, /FANWIRE_TLS_CERT: .* there is no such file/],
    [{ FANWIRE_TLS_CERT: cert, FANWIRE_TLS_KEY: folder }, 1, /FANWIRE_TLS_KEY: .* cannot be read/],
    [{ FANWIRE_TLS_CERT: broken, FANWIRE_TLS_KEY: key }, 1, /FANWIRE_TLS_CERT: .* is not a PEM certificate/],
    [{ FANWIRE_TLS_CERT: cert, FANWIRE_TLS_KEY: cert }, 1, /FANWIRE_TLS_KEY: .* is not a PEM private key/],
    [{ FANWIRE_TLS_CERT: cert, FANWIRE_TLS_KEY: other.key }, 1, /is not the key of /],
    [{ PORT: '1234', FANWIRE_H2C_PORT: '1234' }, 2, /FANWIRE_H2C_PORT is 1234, as is PORT/],
    [{ FANWIRE_H2C_PORT: String(node.port) }, 1, /choose another with FANWIRE_H2C_PORT/],
  ]
  for (const [env, code, said] of cases) {
    const end = await runNode({ env })
    t.equal(end.code, code, `${said}`)
    t.match(end.output, said)
    t.equal(end.output.trim().split('\n').length, 1, 'the error is one line')
  }
})

// Third-party clients -------------------------------------------------------------------------------------------

t.test(
  'curl follows a stream with prior knowledge, and over TLS',
  { skip: without('curl', /HTTP2/) },
  async t => {
    for (const [url, ...args] of [
      [`http://127.0.0.1:${node.h2cPort}`, '--http2-prior-knowledge'],
      [`https://127.0.0.1:${node.port}`, '--http2', '-k'],
      [`https://127.0.0.1:${node.port}`, '--http1.1', '-k'],
    ] as const) {
      const channel = fresh()
      const curl = new Program('curl', ['-sNi', ...args, `${url}/v1/stream?channel=${channel}`])
      t.teardown(() => curl.stop())
      await curl.until(text => text.includes('"open"'))
      await node.append(channel, '"seen"')
      const text = await curl.until(text => text.includes('"seen"'))
      t.match(text, args[0] === '--http1.1' ? /^HTTP\/1.1 200 / : /^HTTP\/2 200 /)
      curl.stop()
    }
  },
)

t.test('h2load: 500 polls succeed, in cleartext and over TLS', { skip: without('h2load') }, async t => {
  const channel = fresh()
  await node.append(channel, '1', '2')
  for (const url of [`http://127.0.0.1:${node.h2cPort}`, `https://127.0.0.1:${node.port}`]) {
    const output = await run('h2load', [
      '-n',
      '500',
      '-c',
      '5',
      '-m',
      '20',
      `${url}/v1/poll?channel=${channel}`,
    ])
    t.match(output, /500 succeeded, 0 failed, 0 errored/)
  }
})

t.test('20 EventSources of a browser share one connection', { skip: withoutBrowser }, async t => {
  const own = await startMemoryNode(tls)
  const channel = fresh()
  const browser = await startBrowser()
  t.teardown(async () => {
    await browser.close()
    await own.close()
  })
  const page = await browser.newPage({ ignoreHTTPSErrors: true })
  await page.goto(`https://localhost:${own.port}/healthz`)
  await page.evaluate(`{
    const received = new Set()
    for (let i = 0; i < 20; i++) {
      new EventSource('/v1/sse?channel=${channel}').onmessage = () => {
        received.add(i)
        document.title = received.size
      }
    }
  }`)
  await until('all twenty read', () => own.hub.readers(channel) === 20, 60_000)
  t.equal(own.app.sockets.size, 1, 'one connection')
  await own.append(channel, '"to all"')
  await page.waitForFunction('document.title === "20"')
})

t.test('streams over TLS and HTTP/1.1', async t => {
  const channel = fresh()
  const { answer, asked } = await openStream(node, `/v1/stream?channel=${channel}`)
  t.equal(answer.headers['transfer-encoding'], 'chunked')
  await node.append(channel, '"seen"')
  let text = ''
  for await (const piece of answer) {
    text += piece
    if (text.includes('"seen"')) break
  }
  asked.destroy()
})

t.test('Node printed no warning', async t => {
  t.strictSame(
    warnings.filter(warning => /HTTP\/?2|listener/i.test(warning)),
    [],
  )
})
