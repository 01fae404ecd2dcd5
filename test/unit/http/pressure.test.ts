// A node that is short of CPU time or memory rejects new reads, and nothing else.

import t from 'tap'
import { startMemoryNode } from '../../contract/node.ts'
import { Pressure } from '../../../services/http/pressure.ts'
import { APP, appsFile } from '../../support/pusher.ts'
import { Raw } from './app.ts'

const calm = { delay: 0, rss: 0, heap: 0 }
const late = { ...calm, delay: 1001 }

t.test('one long pause is not pressure; four in a row are, until four are well below the limit', async t => {
  const pressure = new Pressure({ maxLoopDelay: 1000, maxRss: 100 })
  const causes = (...looks: (typeof calm)[]) =>
    looks.map(look => {
      pressure.look(look)
      return pressure.cause
    })
  t.strictSame(causes(late, late, late, calm, late, late, late), new Array(7).fill(undefined))
  t.strictSame(causes(late), ['loop'])
  const almost = { ...calm, delay: 900 }
  t.strictSame(causes(almost, calm, calm, calm, almost), new Array(5).fill('loop'), 'hysteresis')
  t.strictSame(causes(calm, calm, calm, calm), ['loop', 'loop', 'loop', undefined])
  const large = { ...calm, rss: 101 }
  t.strictSame(causes(large, large, large, large), [undefined, undefined, undefined, 'memory'])
  const full = { ...calm, heap: Number.MAX_SAFE_INTEGER }
  t.strictSame(causes(calm, calm, calm, calm, full, full, full, full).at(-1), 'memory')
  const never = new Pressure({ maxLoopDelay: 0, maxRss: 0 })
  for (let i = 0; i < 10; i++) never.look({ ...late, rss: 1e12 })
  t.equal(never.cause, undefined)
})

t.test(
  'a heap that is full after a full collection is pressure at once, until a collection frees memory or none runs',
  async t => {
    const pressure = new Pressure({ maxLoopDelay: 1000, maxRss: 0 })
    const causes = [0.7, 0.8, 0.7, 0.5, 0.8].map(inUse => {
      pressure.collected({ used: 1000 * inUse, limit: 1000, young: 32 })
      return pressure.cause
    })
    t.strictSame(causes, [undefined, 'memory', 'memory', undefined, 'memory'])
    for (let i = 0; i < 7; i++) pressure.look(calm)
    t.equal(pressure.cause, 'memory')
    pressure.look(calm)
    t.equal(pressure.cause, undefined, 'no collection ran for 2 s')
  },
)

t.test('a small heap is full when its young generation would not fit beside what is in use', async t => {
  const pressure = new Pressure({ maxLoopDelay: 1000, maxRss: 0 })
  for (const [used, cause] of [
    [31, undefined],
    [33, 'memory'],
    [31, 'memory'],
    [25, undefined],
  ] as const) {
    pressure.collected({ used, limit: 64, young: 32 })
    t.equal(pressure.cause, cause, `${used}`)
  }
})

t.test('new reads are 503 on each wire; publishes, health and metrics are answered', async t => {
  const node = await startMemoryNode({
    SOCKET_IO: '1',
    CENTRIFUGE: '1',
    MERCURE: '1',
    PUSHER_APPS: appsFile(),
  })
  t.teardown(() => node.close())
  const { pressure } = node.app.fanwire
  // Measurements of this process must not affect the test.
  pressure.close()
  for (let i = 0; i < 4; i++) pressure.look(late)
  for (const wire of ['poll', 'long-poll', 'stream', 'push', 'refresh', 'ws']) {
    const reply = await node.get(`/v1/${wire}?channel=a`)
    t.match(reply, { status: 503, body: /FW_OVERLOADED/, headers: { connection: 'close' } }, wire)
    t.ok(Number(reply.headers['retry-after']) > 0, wire)
  }
  const io = await node.get('/socket.io/?EIO=4&transport=polling')
  t.match(io, { status: 503, body: /FW_OVERLOADED/ })
  const firstOf = async (request: string) => {
    const raw = new Raw(node.port).send(`${request} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n`)
    const text = await raw.until(/FW_[A-Z_]+/)
    raw.close()
    return text
  }
  for (const wire of ['websocket', 'uni_websocket', 'http_stream', 'uni_http_stream', 'uni_sse']) {
    const method = /stream|sse/.test(wire) ? 'POST' : 'GET'
    t.match(await firstOf(`${method} /connection/${wire}`), /^HTTP\/1.1 503 .*FW_OVERLOADED/s, wire)
  }
  t.match(await firstOf(`GET /app/${APP.key}?protocol=7`), /^HTTP\/1.1 503 .*FW_OVERLOADED/s)
  for (const path of ['/connection/sse', '/connection/uni_sse', '/.well-known/mercure?topic=a']) {
    t.match(await firstOf(`GET ${path}`), /^HTTP\/1.1 200 .*retry: \d+\n: FW_OVERLOADED/s, path)
  }
  t.ok(await node.publish('a', '1'))
  for (const path of ['/healthz', '/readyz']) t.equal((await node.get(path)).status, 200, path)
  const metrics = await node.get('/metrics')
  t.match(metrics.body, /^fanwire_overloaded 1$/m)
  t.match(metrics.body, /^fanwire_shed_total\{cause="loop"\} 16$/m)
  for (let i = 0; i < 4; i++) pressure.look(calm)
  t.equal((await node.get('/v1/poll?channel=a')).status, 200)
})
