// Any input from a client gets a coded error or a plain rejection, the node survives, and frames stay intact.

import { once } from 'node:events'
import { setImmediate } from 'node:timers/promises'
import t from 'tap'
import { CODES } from '../../../services/errors.ts'
import { WIRES } from '../../contract/clients.ts'
import { startMemoryNode } from '../../contract/node.ts'
import { fresh } from '../../contract/wires.ts'
import { Raw } from './app.ts'
import { until } from '../../support/until.ts'

const node = await startMemoryNode()
t.teardown(() => node.close())

/** Sends bytes on a new connection and ends the client's side. Returns the response, or the start of a stream. */
async function exchange(bytes: string | Buffer): Promise<string> {
  const raw = new Raw(node.port)
  raw.socket.end(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes)
  await Promise.race([raw.ended, raw.until(/\{"open":/)])
  raw.close()
  return raw.text
}

async function alive(): Promise<boolean> {
  const { status, body } = await node.get('/healthz')
  return status === 200 && body === '{"ok":true}'
}

/** A valid head: only a status line and header fields. */
const HEAD = /^HTTP\/1\.1 \d{3} [A-Za-z ]+\r\n(?:[A-Za-z-]+: [\x20-\x7e]*\r\n)+\r\n/

/** The fault of a response; undefined for a coded error, and for no response. */
function wrongWith(text: string): string | undefined {
  if (text === '') return undefined
  const head = HEAD.exec(text)?.[0]
  if (head === undefined) return `no answer: ${JSON.stringify(text.slice(0, 200))}`
  const status = Number(text.slice(9, 12))
  const body = text.slice(head.length)
  if (status === 204) return undefined
  // 501 is also an error of the client: an unsupported transfer coding.
  if (status !== 501 && (status < 400 || status >= 500)) return `${status} ${body.slice(0, 200)}`
  const found = /\{"error":\{"code":"(FW_[A-Z_]+)","message":"((?:[^"\\]|\\.)*)"\}\}/.exec(body)
  if (found === null) return `no coded error: ${body.slice(0, 200)}`
  const [whole, code = ''] = found
  if (!(code in CODES)) return `an unknown code: ${code}`
  if (whole.length > 1000) return `a long message: ${whole.length}`
  // oxlint-disable-next-line no-control-regex
  if (/[\0-\x1f]/.test(whole)) return 'a control character'
  return undefined
}

const H = 'Host: x\r\n'
const json = (length: number | string) =>
  `${H}Content-Type: application/json\r\nContent-Length: ${length}\r\n`
const chunked = `${H}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n`
const publish = `POST /v1/channels/hostile/events HTTP/1.1\r\n`
const many = (count: number, each: (i: number) => string) =>
  Array.from({ length: count }, (_, i) => each(i)).join('')

t.test('invalid and malformed requests get a coded error', async t => {
  const table: Record<string, string | Buffer> = {
    nothing: '',
    'a line break': '\r\n',
    zeros: Buffer.alloc(1000),
    noise: Buffer.from(Array.from({ length: 5000 }, (_, i) => (i * 7919 + (i >> 3)) & 255)),
    'a TLS hello': Buffer.from('16030100f1010000ed0303', 'hex'),
    'HTTP/2 with prior knowledge': 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0',
    'an SSH banner': 'SSH-2.0-OpenSSH_9.6\r\n',
    'a Redis command': '*1\r\n$4\r\nPING\r\n',
    'half a request line': 'GET /v1/po',
    'half a head': `GET /v1/poll?channel=a HTTP/1.1\r\nHost:`,
    'no version': 'GET /\r\n\r\n',
    'an unsupported version': `GET / HTTP/9.9\r\n${H}\r\n`,
    'no host': 'GET /v1/poll?channel=a HTTP/1.1\r\n\r\n',
    'an unknown method': `BREW / HTTP/1.1\r\n${H}\r\n`,
    CONNECT: `CONNECT example.com:443 HTTP/1.1\r\n${H}\r\n`,
    TRACE: `TRACE / HTTP/1.1\r\n${H}\r\n`,
    'a space before the colon': `GET /nothing HTTP/1.1\r\n${H}X : 1\r\n\r\n`,
    'a header without a name': `GET /nothing HTTP/1.1\r\n${H}: 1\r\n\r\n`,
    'a header without a colon': `GET /nothing HTTP/1.1\r\n${H}X\r\n\r\n`,
    'a NUL in a header': `GET /nothing HTTP/1.1\r\n${H}X: a\0b\r\n\r\n`,
    'a CR in a header': `GET /nothing HTTP/1.1\r\n${H}X: a\rb\r\n\r\n`,
    'a bare LF': `GET /nothing HTTP/1.1\nHost: x\n\n`,
    'a folded header': `GET /nothing HTTP/1.1\r\n${H}X: a\r\n b\r\n\r\n`,
    'a NUL in the URL': `GET /v1/poll?channel=a\0b HTTP/1.1\r\n${H}\r\n`,
    'a space in the URL': `GET /v1/poll?channel=a b HTTP/1.1\r\n${H}\r\n`,
    'bytes above ASCII in the URL': `GET /v1/poll?channel=\xe4 HTTP/1.1\r\n${H}\r\n`,
    'a bad escape in the path': `GET /v1/channels/%zz HTTP/1.1\r\n${H}\r\n`,
    'half an escape in the path': `GET /v1/channels/% HTTP/1.1\r\n${H}\r\n`,
    'invalid UTF-8 in the path': `GET /v1/channels/%ff HTTP/1.1\r\n${H}\r\n`,
    'dots in the path': `GET /v1/../../etc/passwd HTTP/1.1\r\n${H}\r\n`,
    'a whole URL': `GET http://elsewhere.example/v1/nothing HTTP/1.1\r\n${H}\r\n`,
    'a huge header': `GET /nothing HTTP/1.1\r\n${H}X: ${'x'.repeat(200_000)}\r\n\r\n`,
    'many headers': `GET /nothing HTTP/1.1\r\n${H}${many(5000, i => `X-${i}: ${i}\r\n`)}\r\n`,
    'a huge header name': `GET /nothing HTTP/1.1\r\n${H}${'x'.repeat(100_000)}: 1\r\n\r\n`,
    'a long URL': `GET /v1/poll?channel=${'a'.repeat(40_000)} HTTP/1.1\r\n${H}\r\n`,
    'a very long URL': `GET /${'a'.repeat(1_000_000)} HTTP/1.1\r\n${H}\r\n`,
    'a long path of slashes': `GET ${'/'.repeat(30_000)} HTTP/1.1\r\n${H}\r\n`,
    '1,000 channels': `GET /v1/poll?${many(1000, i => `&channel=c${i}`)} HTTP/1.1\r\n${H}\r\n`,
    'a cursor of 10,000 entries': `GET /v1/poll?channel=a&cursor=${many(6000, () => 'a-1,')}a-1 HTTP/1.1\r\n${H}\r\n`,
    'a bad body length': `${publish}${json('x')}\r\n1`,
    'a negative body length': `${publish}${json(-1)}\r\n1`,
    'a hexadecimal body length': `${publish}${json('0x1')}\r\n1`,
    'an overflowing body length': `${publish}${json('99999999999999999999999')}\r\n1`,
    'two different body lengths': `${publish}${json(1)}Content-Length: 2\r\n\r\n11`,
    'two equal body lengths': `${publish}${json('1, 1')}\r\n1`,
    'a length and chunks': `${publish}${json(1)}Transfer-Encoding: chunked\r\n\r\n1\r\n1\r\n0\r\n\r\n`,
    'a body that ends early': `${publish}${json(1000)}\r\n{"half":`,
    'a body that is larger than allowed': `${publish}${json(50_000_000)}\r\n${'1'.repeat(100_000)}`,
    'bad chunks': `${publish}${chunked}\r\nzz\r\n1\r\n`,
    'a chunk without an end': `${publish}${chunked}\r\nff\r\n1`,
    'an overflowing chunk size': `${publish}${chunked}\r\nffffffffffffffffff\r\n1`,
    'a negative chunk size': `${publish}${chunked}\r\n-1\r\n1\r\n`,
    'a chunk longer than its size': `${publish}${chunked}\r\n1\r\n11\r\n0\r\n\r\n`,
    'a huge chunk extension': `${publish}${chunked}\r\n1;${'x'.repeat(100_000)}\r\n1\r\n0\r\n\r\n`,
    'an unknown transfer coding': `${publish}${H}Content-Type: application/json\r\nTransfer-Encoding: rot13\r\n\r\n1`,
    'chunked twice': `${publish}${chunked}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n`,
    'a body that is not JSON': `${publish}${json(5)}\r\n{"a":`,
    'a body that is not UTF-8': Buffer.from(`${publish}${json(3)}\r\n"\xff"`, 'latin1'),
    'a NUL as a body': `${publish}${json(1)}\r\n\0`,
    'a body without a type': `${publish}${H}Content-Length: 1\r\n\r\n1`,
    'a type with a NUL': `${publish}${H}Content-Type: application/json\0\r\nContent-Length: 1\r\n\r\n1`,
    'a body 20,000 arrays deep': `${publish}${json(20_000)}\r\n${'['.repeat(20_000)}`,
    'an idempotency key with a NUL': `${publish}${json(1)}Idempotency-Key: a\0\r\n\r\n1`,
    'an idempotency key with a tab': `${publish}${json(1)}Idempotency-Key: a\tb\r\n\r\n1`,
    'an idempotency key that is too long': `${publish}${json(1)}Idempotency-Key: ${'k'.repeat(129)}\r\n\r\n1`,
    'an idempotency key above ASCII': `${publish}${json(1)}Idempotency-Key: \xe4\r\n\r\n1`,
    'an upgrade to an invalid protocol': `GET /nothing HTTP/1.1\r\n${H}Connection: Upgrade\r\nUpgrade: \x01\r\n\r\n`,
    'an upgrade without a key': `GET /v1/ws HTTP/1.1\r\n${H}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n`,
    'an upgrade with a bad key':
      `GET /v1/ws HTTP/1.1\r\n${H}Connection: Upgrade\r\nUpgrade: websocket\r\n` +
      'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n\r\n',
    'an upgrade with an unsupported version':
      `GET /v1/ws HTTP/1.1\r\n${H}Connection: Upgrade\r\nUpgrade: websocket\r\n` +
      'Sec-WebSocket-Version: 99\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
    'a Last-Event-ID with a NUL': `GET /v1/sse?channel=a HTTP/1.1\r\n${H}Last-Event-ID: a-1\0\r\n\r\n`,
  }
  for (const [what, bytes] of Object.entries(table)) {
    const answer = await exchange(bytes)
    t.equal(wrongWith(answer), undefined, what)
    t.ok(await alive(), `alive after ${what}`)
  }
})

t.test('a handshake for a long path takes no more time if the path ends with a slash', async t => {
  const upgrade =
    'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'
  const handshake = (path: string) => exchange(`GET /${path} HTTP/1.1\r\n${H}${upgrade}\r\n`)
  /** The CPU time of three handshakes, µs. */
  const costOf = async (path: string) => {
    const before = process.cpuUsage()
    for (let i = 0; i < 3; i++) t.match(await handshake(path), /^HTTP\/1.1 414 /)
    const { user, system } = process.cpuUsage(before)
    return user + system
  }
  const long = 'a'.repeat(60_000)
  await costOf(long)
  const usual = await costOf(long)
  // In quadratic time, it would be a thousand times as much.
  t.ok((await costOf(`${long}/`)) < 50 * usual)
})

/** Texts that would add a header, a block or a line if they were not escaped. */
const INJECTIONS = [
  '%0d%0aSet-Cookie:%20a=b',
  '%0a%0adata:%20forged%0a%0a',
  '%0d',
  '%00',
  '%0aid:%201',
  '%e2%80%a8',
  '%c2%85',
]
const NAMES = [
  ...INJECTIONS.map(each => `a${each}`),
  ...INJECTIONS,
  '%f0%9f%99%82',
  '%c3%a4',
  '%ff',
  '%c0%80',
  '%ed%a0%80',
  'a%2f%2e%2e%2fb',
  '%2e%2e%2f',
  'a%20',
  '+%20',
  '*',
  '%7b%22',
  "%22'",
  '%3cscript%3e',
  'a'.repeat(201),
  'fanwire:',
  'fanwire:probe',
]

t.test('invalid parameters get a coded error', async t => {
  const queries = [
    ...NAMES.map(name => `channel=${name}`),
    ...[
      ...INJECTIONS,
      'NaN',
      '-1',
      'null',
      'undefined',
      '[object%20Object]',
      'a-1e9',
      'a-0x1',
      'a-+1',
      'a-1%20',
    ].flatMap(each => [
      `channel=a&cursor=${each}`,
      `channel=a&cursor=a-1${each}`,
      `channel=a&channel=b&cursor=a-1,${each}`,
    ]),
    ...[
      '1e9',
      'NaN',
      '-1',
      '',
      '+1',
      ' 1',
      '%201',
      '0',
      '00000000000',
      '1.0',
      'Infinity',
      '0b1',
      '%d9%a1',
      '1%00',
      '9'.repeat(400),
    ].flatMap(each => [`channel=a&limit=${each}`, `channel=a&wait=${each}`]),
    'channel=a&limit=1&limit=2',
    'channel=a&wait=1&wait=1',
    'channel=a&cursor=latest&cursor=latest',
    'channel=a&channel=a',
    'channel=a&__proto__=1',
    'channel=a&__proto__[x]=1',
    'channel=a&constructor=1',
    'channel=a&hasOwnProperty=1',
    'channel=a&toString=1',
    'channel=a&limit[]=1',
    'channel[]=a',
    'channel[0]=a&channel[1]=b',
    '__proto__=a',
    'constructor[prototype][x]=1',
    '%63hannel=a&ch%00annel=b',
    'channel',
    '=',
    '?',
    '%',
    'channel=%',
    'channel=a&%0d%0aX:%201=1',
  ]
  for (const wire of WIRES) {
    for (const query of queries) {
      // Not every route has `wait` and `limit`; on those that do, each of these is invalid.
      const answer = await exchange(
        `GET /v1/${wire.name}?${query} HTTP/1.1\r\n${H}${UPGRADE[wire.name] ?? ''}\r\n`,
      )
      if (answer === '' || wrongWith(answer) !== undefined) {
        t.fail(`${wire.name}?${query}: ${wrongWith(answer) ?? 'no answer'}`)
      }
    }
    t.ok(await alive(), wire.name)
  }
  t.equal(({} as Record<string, unknown>).x, undefined)
  t.equal(node.hub.stats().readers, 0)
  t.equal(node.hub.stats().channels, 0, 'no invalid request made the node follow a channel')
})

t.test('invalid names in paths and publishes get a coded error', async t => {
  const requests = [
    ...NAMES.flatMap(name => [
      `GET /v1/channels/${name} HTTP/1.1\r\n${H}\r\n`,
      `GET /v1/channels/a/events/${name} HTTP/1.1\r\n${H}\r\n`,
      `POST /v1/channels/${name}/events HTTP/1.1\r\n${json(1)}\r\n1`,
    ]),
    ...[...INJECTIONS, 'gap', 'error', 'open', 'close', 'fanwire:x', 'x'.repeat(65), '', '%c3%a4'].map(
      type => `POST /v1/channels/a/events?type=${type} HTTP/1.1\r\n${json(1)}\r\n1`,
    ),
    ...['type=a&type=b', 'priority=urgent', 'priority=low&priority=low', '__proto__=1', 'constructor=1'].map(
      query => `POST /v1/channels/a/events?${query} HTTP/1.1\r\n${json(1)}\r\n1`,
    ),
  ]
  for (const request of requests) {
    const answer = await exchange(request)
    if (answer === '' || wrongWith(answer) !== undefined) {
      t.fail(`${JSON.stringify(request.slice(0, 120))}: ${wrongWith(answer) ?? 'no answer'}`)
    }
  }
  t.ok(await alive())
  t.equal((await node.log.state('a')).count, 0, 'no event was published')
})

t.test('no data breaks out of its frame, on any wire', async t => {
  const channel = fresh()
  const clients = await Promise.all(
    WIRES.map(wire => wire.connect(node, { channels: [channel], cursor: 'earliest' })),
  )
  const raws = ['sse', 'stream'].map(wire =>
    // HTTP/1.0, so that the body has no chunks.
    new Raw(node.port).send(`GET /v1/${wire}?channel=${channel} HTTP/1.0\r\n${H}\r\n`),
  )
  t.teardown(() => {
    for (const client of clients) client.cut()
    for (const raw of raws) raw.close()
  })
  await Promise.all(raws.map(raw => raw.until(/retry: \d+\n\n|"open".*\n/)))
  const before = raws.map(raw => raw.text.length)
  const controls = Array.from({ length: 32 }, (_, i) => String.fromCharCode(i)).join('')
  const bodies: [string, string | Buffer][] = [
    ['text/plain', `${controls}\x7f\x80\x85\u2028\u2029\ufeff`],
    ['text/plain', '\r\n\r\ndata: forged\r\nid: 1\r\nevent: gap\r\n\r\n'],
    ['text/plain', '\0\0\0'],
    ['application/json', '[\r1,\n2,\r\n3\r\n\r\n]'],
    ['application/json', '"\\r\\n\\u0000\\u000a"'],
    ['application/octet-stream', Buffer.from(controls)],
  ]
  for (const [contentType, body] of bodies) {
    const id = await node.publish(channel, body, contentType)
    const texts = await Promise.all(clients.map(client => client.event()))
    t.equal(new Set(texts).size, 1, 'the data is the same on every wire')
    // oxlint-disable-next-line no-control-regex
    t.notMatch(texts[0], /[\0-\x1f]/)
    t.equal(JSON.parse(texts[0] ?? '').id, id)
    if (contentType === 'text/plain') t.equal(JSON.parse(texts[0] ?? '').data, body)
  }
  await node.append(channel, '"the end"')
  await Promise.all(raws.map(raw => raw.until(/"the end"\}\n(id: .*\n\n)?$/)))
  for (const [i, raw] of raws.entries()) {
    const text = raw.text.slice(before[i])
    // oxlint-disable-next-line no-control-regex
    t.notMatch(text, /[\0-\x09\x0b-\x1f]/, 'no control character but the line breaks of the frames')
    const lines = text.split('\n').filter(line => line !== '')
    t.ok(lines.every(line => /^(id: [a-z0-9]+-\d+$|data: \{.*\}$|\{.*\}$)/.test(line)))
    t.equal(lines.filter(line => line.includes('{"channel"')).length, bodies.length + 1)
  }
})

t.test('control characters escaped in JSON are rejected in names, in bulk and over WebSocket', async t => {
  const entries = ['\\r\\n', '\\u0000', 'a\\nb', 'ä', ' ', '\\ud800'].flatMap(each => [
    `{"channel":"a${each}","data":1}`,
    `{"channels":["a","${each}"],"data":1}`,
    `{"channel":"a","type":"t${each}","data":1}`,
    `{"channel":"a","idempotencyKey":"k${each}","data":1}`,
    `{"channel":"a","data":1,"x${each}":1}`,
  ])
  const body = `{"events":[${entries.join(',')}]}`
  const bytes = Buffer.from(
    `POST /v1/events HTTP/1.1\r\n${json(Buffer.byteLength(body))}Connection: close\r\n\r\n${body}`,
  )
  const answer = await exchange(bytes)
  const { results } = JSON.parse(answer.slice(answer.indexOf('\r\n\r\n') + 4))
  t.equal(results.length, entries.length)
  for (const [i, { error }] of results.entries()) t.match(error?.code, /^FW_BAD_/, entries[i] ?? '')
})

t.test('requests that stop in the middle are dropped with their connections', async t => {
  const sockets = node.app.sockets.size
  const halves = [
    'GET /v1/poll?channel=a HT',
    `GET /v1/poll?channel=a HTTP/1.1\r\nHost: x`,
    `${publish}${json(100)}\r\n{"a"`,
    `${publish}${chunked}\r\n5\r\n"abc`,
    `POST /v1/events HTTP/1.1\r\n${H}Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"cha`,
    `GET /v1/ws HTTP/1.1\r\n${H}Connection: Upgrade\r\nUpgrade: websocket\r\n`,
  ]
  for (const end of ['destroy', 'resetAndDestroy', 'end'] as const) {
    const raws = Array.from({ length: 30 }, (_, i) =>
      new Raw(node.port).send(halves[i % halves.length] ?? ''),
    )
    await Promise.all(raws.map(raw => once(raw.socket, 'connect')))
    for (let i = 0; i < 5; i++) await setImmediate()
    for (const raw of raws) raw.socket[end]()
    await until(`${end}: all are gone`, () => node.app.sockets.size <= sockets)
    for (const raw of raws) raw.close()
  }
  t.ok(await alive())
  await node.app.inFlight.answered(5000)
})

const UPGRADE: Readonly<Record<string, string>> = {
  ws:
    'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n',
}
