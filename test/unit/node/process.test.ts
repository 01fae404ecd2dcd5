// The process of a node: its start, its output, and its exit.

import { once } from 'node:events'
import { createServer } from 'node:net'
import t from 'tap'
import { WebSocket } from 'ws'
import { launch, type RunningNode, runNode, startNode } from '../../support/node.ts'
import { Reading } from '../../support/reading.ts'
import { Raw } from '../http/app.ts'

const json = { 'content-type': 'application/json' }

function publish(
  node: RunningNode,
  headers: Record<string, string> = {},
  channel = 'news',
): Promise<Response> {
  const url = `${node.url}/v1/channels/${channel}/events?type=x`
  return fetch(url, { method: 'POST', headers: { ...json, ...headers }, body: '1' })
}

t.test('a node prints where it listens in one line, and is ready by then', async t => {
  const node = await startNode()
  t.teardown(() => node.kill())
  t.equal((await fetch(`${node.url}/readyz`)).status, 200)
  const lines = node.logs.map(line => JSON.parse(line))
  t.equal(lines.length, 1, 'one line, which is JSON if there is no terminal')
  t.match(lines[0], {
    level: 30,
    address: node.url,
    msg: `listening on ${node.url}`,
    role: 'all',
    log: 'memory',
    hint: /^a restart forgets the log; FANWIRE_DATA=/,
  })
  t.equal((await publish(node)).status, 201)
  t.match(await (await fetch(`${node.url}/v1/poll?channel=news`)).json(), {
    events: [{ type: 'x', data: 1 }],
  })
})

t.test('on SIGTERM: not ready first, goodbyes, held requests answered, then exit 0', async t => {
  const args = ['--drain', '300ms', '--drain-notice', '5s', '--log-level', 'debug']
  const node = await startNode({ args })
  t.teardown(() => node.kill())
  const sse = new Reading(await fetch(`${node.url}/v1/sse?channel=news`))
  const stream = new Reading(await fetch(`${node.url}/v1/stream?channel=news`))
  await sse.until(/id: /)
  await stream.until(/"open"/)
  const poll = fetch(`${node.url}/v1/long-poll?channel=news&wait=50`)
  while (!/^fanwire_readers 3$/m.test(await (await fetch(`${node.url}/metrics`)).text()));

  node.signal('SIGTERM')
  await node.logged(/"not ready: the node is stopping"/)
  const ready = await fetch(`${node.url}/readyz`)
  t.equal(ready.status, 503)
  t.equal(ready.headers.get('connection'), 'close')
  const read = await fetch(`${node.url}/v1/poll?channel=other`)
  t.equal(read.status, 503, 'new reads are rejected, so that clients go to another node')
  t.match(await read.json(), { error: { code: 'FW_DRAINING' } })
  t.equal((await publish(node, {}, 'other')).status, 201, 'publishes are accepted')
  t.notMatch(sse.text + stream.text, /retry: \d+\n: |"close"/, 'no client has received a goodbye yet')

  const answer = await poll
  t.equal(answer.status, 200)
  t.equal(answer.headers.get('connection'), 'close')
  t.match(await answer.json(), { events: [], cursor: /-0$/ })
  await t.rejects(
    fetch(`${node.url}/readyz`),
    { cause: { code: 'ECONNREFUSED' } },
    'no new connection is accepted',
  )
  t.match(await sse.until(/$never/), /retry: \d+/)
  t.match(await stream.until(/"close"/), /\{"close":\{"code":1001,.*"retry":\d+\}\}/)
  t.strictSame(await node.exit, { code: 0, signal: null })
  t.match(node.logs.at(-1), /"stopped"/)
})

t.test('a connection at its maximum age is ended on every wire, with a reason', async t => {
  const node = await startNode({ args: ['--max-age', '1ms', '--heartbeat', '100ms'] })
  t.teardown(() => node.kill())
  const stream = new Reading(await fetch(`${node.url}/v1/stream?channel=news`))
  t.match(await stream.until(/$never/), /\{"close":\{"code":1001,.*"retry":\d+\}\}\n$/)
  const sse = new Reading(await fetch(`${node.url}/v1/sse?channel=news`))
  t.match(await sse.until(/$never/), /retry: \d+\n: 1001 .*\n$/)
  const socket = new WebSocket(`${node.url.replace('http', 'ws')}/v1/ws?channel=news`)
  const [code] = await once(socket, 'close')
  t.equal(code, 1001)
  const raw = new Raw(node.port)
  while (!/^connection: close/im.test(raw.text)) {
    const before = raw.text.length
    raw.send('GET /v1/poll?channel=news HTTP/1.1\r\nHost: localhost\r\n\r\n')
    await raw.until(new RegExp(`^.{${before}}.*\\}$`, 's'))
  }
  await raw.ended
  t.notMatch(raw.text, /^HTTP\/1.1 [^2]/m, 'every request was answered')
  t.equal((await node.stop()).code, 0)
})

t.test('SIGINT stops a node too, at once if it has no clients', async t => {
  const node = await startNode()
  t.strictSame(await node.stop('SIGINT'), { code: 0, signal: null })
})

t.test('a publish in flight is answered', async t => {
  const node = await startNode()
  t.teardown(() => node.kill())
  let send: (() => void) | undefined
  const body = new ReadableStream({
    start(controller) {
      controller.enqueue(Buffer.from('[1,'))
      send = () => {
        controller.enqueue(Buffer.from('2]'))
        controller.close()
      }
    },
  })
  const url = `${node.url}/v1/channels/news/events`
  const answer = fetch(url, { method: 'POST', headers: json, body, duplex: 'half' } as RequestInit)
  while (!/^fanwire_sockets 2$/m.test(await (await fetch(`${node.url}/metrics`)).text()));
  // The node may have accepted the connection before the head was sent. It has the head before this request.
  await (await fetch(`${node.url}/readyz`)).text()
  node.signal('SIGTERM')
  await node.logged(/stopping/)
  send?.()
  t.equal((await answer).status, 201)
  t.equal((await node.exit).code, 0)
})

t.test('clients with an invalid upgrade are answered like all others', async t => {
  const node = await startNode({ args: ['--drain', '0ms'] })
  t.teardown(() => node.kill())
  const body = '{"n":1}'
  const upgrade = (to: string) =>
    `Connection: keep-alive, Upgrade, HTTP2-Settings\r\nUpgrade: ${to}\r\nHTTP2-Settings: AAA`
  const raw = new Raw(node.port)
  raw.send(
    `POST /v1/channels/news/events HTTP/1.1\r\nHost: localhost\r\n${upgrade('h2c')}\r\n` +
      `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`,
  )
  await new Promise(resolve => setImmediate(resolve))
  raw.send(body)
  t.match(await raw.until(/\}/), /^HTTP\/1.1 201 /, 'the body of the request is read')
  for (const [to, path, status] of [
    ['h2c', '/v1/poll?channel=news', 200],
    ['websocket', '/v1/poll?channel=news', 200],
    ['websocket', '/v1/nothing', 404],
    ['h2c', '/v1/ws', 426],
  ] as const) {
    const before = raw.text.length
    raw.send(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n${upgrade(to)}\r\n\r\n`)
    await raw.until(new RegExp(`^.{${before}}.*\\}$`, 's'))
    t.match(raw.text.slice(before), new RegExp(`^HTTP/1.1 ${status} `), `${to} ${path}`)
  }
  t.match(
    await (await fetch(`${node.url}/metrics`)).text(),
    /^fanwire_sockets 2$/m,
    'each socket counts once',
  )
  t.equal((await node.stop()).code, 0)
  await raw.ended
})

t.test('a second signal ends the node at once', async t => {
  const node = await startNode({ args: ['--drain', '1h'] })
  t.teardown(() => node.kill())
  const readers = await Promise.all(
    Array.from({ length: 5 }, () => fetch(`${node.url}/v1/sse?channel=news`).then(each => new Reading(each))),
  )
  await Promise.all(readers.map(each => each.until(/id: /)))
  const again = setInterval(() => node.signal('SIGTERM'), 100)
  t.equal((await node.exit).code, 1)
  clearInterval(again)
  t.match(node.logs.at(-1), /second SIGTERM: exiting at once/)
})

t.test('a signal that npm also forwards counts once: readers receive their goodbyes', async t => {
  // The clock that measures how late a signal is runs slowly, since a busy machine may deliver the last one late.
  const slow = 'data:text/javascript,const{now}=performance;performance.now=()=>now.call(performance)/100'
  const node = await startNode({ args: ['--drain', '200ms'], flags: [`--import=${slow}`] })
  t.teardown(() => node.kill())
  const reader = new Reading(await fetch(`${node.url}/v1/sse?channel=news`))
  await reader.until(/id: /)
  for (let i = 0; i < 3; i++) node.signal('SIGINT')
  await node.logged(/SIGINT: stopping/)
  node.signal('SIGINT')
  t.same(await node.exit, { code: 0, signal: null })
  t.match(await reader.until(/$never/), /: 1001 the node is stopping/)
  t.match(node.logs.at(-1), /"stopped"/)
})

t.test('an internal fault is logged, and ends the node with exit code 1 after goodbyes', async t => {
  const raise = `data:text/javascript,process.on('SIGWINCH',()=>Promise.reject(new Error('b00m')))`
  const node = await startNode({ env: { NODE_OPTIONS: `--import=${raise.replaceAll(' ', '%20')}` } })
  t.teardown(() => node.kill())
  const sse = new Reading(await fetch(`${node.url}/v1/sse?channel=news`))
  await sse.until(/id: /)
  node.signal('SIGWINCH')
  t.equal((await node.exit).code, 1)
  const line = JSON.parse(node.logs.find(each => each.includes('b00m')) ?? '{}')
  t.match(line, { level: 60, err: { message: 'b00m', stack: /Error: b00m/ } })
  t.match(await sse.until(/$never/), /retry: \d+.*retry: \d+/s, 'the goodbye has a retry delay')
})

t.test('a node whose log output nobody reads still stops', async t => {
  const { child, logged } = launch({ env: { FANWIRE_DRAIN: '0s' } })
  t.teardown(() => child.kill('SIGKILL'))
  const ended = once(child, 'exit')
  await logged(/listening on/)
  child.stdout?.destroy()
  child.kill('SIGTERM')
  t.strictSame(await ended, [0, null])
})

t.test('keys and queries are in no log line, whatever the level', async t => {
  const node = await startNode({ env: { FANWIRE_PUBLISH_KEY: 's3cret-key', LOG_LEVEL: 'trace' } })
  t.equal((await publish(node, { authorization: 'Bearer s3cret-key' })).status, 201)
  t.equal((await publish(node, { authorization: 'Bearer wr0ng-key' })).status, 401)
  await (await fetch(`${node.url}/v1/poll?channel=news&token=s3cret-key`)).text()
  await (await fetch(`${node.url}/s3cret-path?token=s3cret-key`)).text()
  await (await fetch(`${node.url}/v1/%zz?token=s3cret-key`)).text()
  await node.stop()
  const logs = node.logs.join('\n')
  t.match(logs, /"path":"\/v1\/poll"/)
  t.notMatch(logs, /s3cret-key|wr0ng-key|token=/)
})

t.test('unusable settings end the start with exit code 2 and one line per reason', async t => {
  const { code, output } = await runNode({ env: { PORT: 'x', FANWIRE_NOPE: '1' } })
  t.equal(code, 2)
  t.match(output.split('\n').sort(), [
    /^fanwire: FANWIRE_NOPE is not a setting/,
    /^fanwire: PORT is "x"; expected/,
  ])
})

t.test('--help and --version print and exit with 0', async t => {
  const help = await runNode({ args: ['--help'] })
  t.equal(help.code, 0)
  t.match(help.output, /--publish-key/)
  const version = await runNode({ args: ['--version'] })
  t.equal(version.code, 0)
  t.match(version.output, /^\d+\.\d+\.\d+$/)
})

t.test('a port in use is reported in one line', async t => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as { port: number }
  const { code, output } = await runNode({ env: { PORT: String(port) } })
  t.equal(code, 1)
  t.match(output, new RegExp(`^fanwire: port ${port} of 127.0.0.1 is in use: .*PORT.*$`))
})

t.test('a host that is not an address of this machine is reported in one line', async t => {
  for (const HOST of ['192.0.2.1', 'no-such-name.invalid']) {
    const { code, output } = await runNode({ env: { HOST, FANWIRE_INSECURE: '1' } })
    t.equal(code, 1)
    t.match(output, /^fanwire: HOST is .*, which is not an address of this machine.*$/)
  }
})

t.test('an unreachable Redis is reported in one line, without its password', async t => {
  // A port that the system gives to nobody.
  const port = 1
  const REDIS_URL = `redis://:s3cret@127.0.0.1:${port}`
  const { code, output } = await runNode({ env: { REDIS_URL, FANWIRE_LOG_TIMEOUT: '500ms' } })
  t.equal(code, 1)
  t.match(output, new RegExp(`fanwire: the log cannot be reached: Redis at 127.0.0.1:${port}: .*REDIS_URL`))
  t.notMatch(output, /s3cret/)
})

t.test('listening beyond loopback without a key is rejected', async t => {
  const { code, output } = await runNode({ env: { HOST: '0.0.0.0' } })
  t.equal(code, 2)
  t.match(output, /FANWIRE_RULES.*FANWIRE_INSECURE=1/)
})

t.test('a node with HOST=localhost listens on one address', async t => {
  const node = await startNode({ env: { HOST: 'localhost' } })
  t.match(node.logs[0], /listening on http:\/\/(127\.0\.0\.1|\[::1\]):\d+/)
  await node.stop()
})
