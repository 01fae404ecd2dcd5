// Parts of hooks: allowed addresses, bounded answers, and the choice of the node that sends webhooks.

import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import dns from 'node:dns'
import { once } from 'node:events'
import { syncBuiltinESMExports } from 'node:module'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { mock } from 'node:test'
import t from 'tap'
import { Addresses } from '../../../services/hooks/addresses.ts'
import { readAnswer } from '../../../services/hooks/answer.ts'
import { Ledger } from '../../../services/hooks/ledger.ts'
import { Poster } from '../../../services/hooks/post.ts'
import { pauseOf } from '../../../services/hooks/sender.ts'
import { startReceiver } from './receiver.ts'

t.test('hooks may not call private addresses', async t => {
  const addresses = new Addresses(['hooks.internal'])
  const PRIVATE = [
    ...['10.1.2.3', '172.16.0.1', '192.168.1.1', '169.254.169.254', '100.64.0.1', '0.0.0.0', '224.0.0.1'],
    ...[
      '127.0.0.1',
      '::1',
      '::',
      'fd00::1',
      'fe80::1',
      '::ffff:10.0.0.1',
      '::ffff:127.0.0.1',
      '64:ff9b::a00:1',
    ],
  ]
  for (const address of PRIVATE) t.notOk(addresses.may('app.example', address), address)
  for (const address of ['93.184.216.34', '2606:2800:220:1::1']) t.ok(addresses.may('app.example', address))
  t.ok(addresses.may('hooks.internal', '10.1.2.3'))
  t.ok(addresses.may('localhost', '127.0.0.1'))
  t.notOk(addresses.may('localhost', '10.0.0.1'))
  const fault = (url: string) => addresses.faultOf(new URL(url))
  t.match(fault('http://app.example/'), /write https/)
  t.match(fault('https://10.0.0.1/'), /private/)
  t.match(fault('https://[::ffff:a00:1]/'), /private/)
  for (const url of [
    'https://app.example/',
    'http://127.0.0.1:1/',
    'http://[::1]/',
    'http://hooks.internal/',
  ])
    t.equal(fault(url), undefined, url)
})

t.test('a byte order mark before an answer is ignored', async t => {
  const answer = readAnswer(Buffer.from('\ufeff{"result":{"user":"ann","data":1.0}}'))
  t.match(answer, { result: { user: 'ann', data: Buffer.from('1.0') } })
})

t.test('a name that resolves to this machine is not called', async t => {
  const app = await startReceiver(t)
  type Found = (error: null, addresses: dns.LookupAddress[]) => void
  const resolve = mock.method(dns, 'lookup', (_host: string, _options: object, callback: Found) =>
    callback(null, [{ address: '127.0.0.1', family: 4 }]),
  )
  syncBuiltinESMExports()
  t.teardown(() => {
    resolve.mock.restore()
    syncBuiltinESMExports()
  })
  const poster = new Poster(new Addresses([]))
  t.teardown(() => poster.close())
  const url = app.url.replace('http://127.0.0.1', 'https://app.example')
  const sent = { url, headers: {}, body: '{}', timeout: 2000, most: 0 }
  await t.rejects(poster.post(sent), { message: /app\.example is at a private address/ })
  t.equal(app.messages.length, 0)
})

t.test('answers are bounded in size and time', async t => {
  const app = await startReceiver(t)
  const poster = new Poster(new Addresses([]))
  t.teardown(() => poster.close())
  const sent = { url: app.url, headers: {}, body: '{"events":[]}', timeout: 5000, most: 256 * 1024 }
  app.answer = response => response.end('x'.repeat(10 * 1024 * 1024))
  await t.rejects(poster.post(sent), { message: /larger than/ })
  app.answer = response => void response.write('{')
  await t.rejects(poster.post({ ...sent, timeout: 100 }), { message: 'no answer in time' })
  app.answer = response => response.end('{}')
  const { status, body } = await poster.post(sent)
  t.strictSame([status, body.toString()], [200, '{}'])
})

t.test('an endless answer is cut at its limit', async t => {
  const server = createServer(socket => {
    const piece = Buffer.alloc(64 * 1024, 'x')
    const write = () => socket.write(piece, error => void (error == null && write()))
    socket.on('error', () => {})
    socket.once('data', () => {
      socket.write('HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n')
      write()
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  // The sockets of the node. The library may connect once more when a connection is cut.
  const sockets: Socket[] = []
  const connected = (message: unknown) => void sockets.push((message as { socket: Socket }).socket)
  subscribe('undici:client:connected', connected)
  t.teardown(() => unsubscribe('undici:client:connected', connected))
  const { port } = server.address() as AddressInfo
  const sent = { url: `http://127.0.0.1:${port}/`, headers: {}, body: '{}', timeout: 10_000 }
  for (const [most, limit] of [
    [64 * 1024, 64 * 1024],
    [0, 256 * 1024],
  ] as const) {
    sockets.length = 0
    const poster = new Poster(new Addresses([]))
    t.teardown(() => poster.close())
    const accepted = once(server, 'connection') as Promise<[Socket]>
    const posted = poster.post({ ...sent, most })
    if (most > 0) await t.rejects(posted, { message: 'the answer is larger than 64 KiB' })
    else await posted
    const [application] = await accepted
    if (!application.closed) await new Promise<void>(resolve => void application.once('close', resolve))
    await poster.close()
    const [{ bytesRead } = { bytesRead: 0 }] = sockets
    // Up to one piece may be in each buffer on the way.
    t.ok(bytesRead >= limit && bytesRead <= limit + 3 * 64 * 1024, `${bytesRead} bytes read of ${limit}`)
  }
})

t.test(
  'an application that asks for a retry at once, or in the past, gets it after the shortest pause',
  async t => {
    const app = await startReceiver(t)
    const poster = new Poster(new Addresses(['127.0.0.1']))
    t.teardown(() => poster.close())
    const pauses: number[] = []
    for (const after of ['0', new Date(0).toUTCString(), '2', '999999']) {
      app.answer = response => response.writeHead(503, { 'retry-after': after }).end()
      const { retryAfter } = await poster.post({
        url: app.url,
        headers: {},
        body: '{}',
        timeout: 5000,
        most: 0,
      })
      pauses.push(pauseOf(1, retryAfter))
    }
    t.same(pauses, [500, 500, 2000, 3_600_000])
    const grown = pauseOf(99, undefined)
    t.ok(grown >= 30_000 && grown <= 60_000)
  },
)

t.test('one node sends; another takes over when it is silent or hands over', async t => {
  const ledger = new Ledger()
  const say = (type: string, time: number, data: object) => ledger.apply({ type, time, data })
  say('claim', 1000, { node: 'a' })
  say('claim', 1001, { node: 'b' })
  t.equal(ledger.holder, 'a')
  say('progress', 1002, { node: 'b', hook: 'h', state: { cursor: 'stale' } })
  t.equal(ledger.hooks.size, 0, 'a node that does not send cannot write')
  say('progress', 1003, { node: 'a', hook: 'h', state: { cursor: 'one' } })
  say('claim', 6000, { node: 'a', hooks: { h: { cursor: 'old' }, g: { cursor: 'kept' } } })
  t.equal(ledger.hooks.get('h')?.cursor, 'one')
  t.equal(ledger.hooks.get('g')?.cursor, 'kept', 'the entry that the log had lost')
  say('claim', 20_999, { node: 'b' })
  t.equal(ledger.holder, 'a')
  say('claim', 21_000, { node: 'b' })
  t.equal(ledger.holder, 'b', 'b takes over after 15 s')
  say('claim', 21_001, { node: 'a' })
  t.equal(ledger.holder, 'b')
  say('release', 21_002, { node: 'a' })
  t.equal(ledger.holder, 'b')
  say('release', 21_003, { node: 'b' })
  t.equal(ledger.holder, undefined)
  say('replay', 21_004, { hook: 'h', cursor: 'earliest' })
  t.match(ledger.hooks.get('h'), { cursor: 'earliest' })
  t.equal(ledger.replays.get('h'), 1)
})
