// FANWIRE_METRICS_PORT moves the operators' routes to a separate port.

import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import t from 'tap'
import { freePort } from '../../infra/local/ports.ts'
import { startMemoryNode } from '../contract/node.ts'
import { launch, startNode } from '../support/node.ts'
import { startRedis } from '../support/redis-server.ts'
import { until } from '../support/until.ts'
import { Raw } from '../unit/http/app.ts'

const status = async (url: string) => (await fetch(url)).status

t.test('S9: metrics are on their own port only; health is on both', async t => {
  const node = await startNode({
    env: { FANWIRE_METRICS_PORT: '0', FANWIRE_DRAIN: '0ms', FANWIRE_DRAIN_NOTICE: '5s' },
  })
  t.teardown(() => node.kill())
  const { address } = JSON.parse(await node.logged(/metrics and health/)) as { address: string }
  t.not(address, node.url)
  const metrics = await fetch(`${address}/metrics`)
  t.equal(metrics.status, 200)
  t.match(await metrics.text(), /^fanwire_ready 1$/m)
  t.equal(await status(`${node.url}/metrics`), 404)
  for (const path of ['/healthz', '/readyz']) {
    for (const url of [address, node.url]) t.equal(await status(url + path), 200, url + path)
  }
  for (const path of ['/v1/poll?channel=a', '/v1/channels/a', '/v1/sse?channel=a', '/']) {
    t.equal(await status(address + path), 404, path)
  }
  const raw = new Raw(Number(new URL(address).port))
  t.teardown(() => raw.close())
  raw.send('GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n')
  t.match(await raw.until(/\}\}/), /^HTTP\/1\.1 403 .*FW_FORBIDDEN_HOST/s)

  node.signal('SIGTERM')
  await node.logged(/not ready: the node is stopping/)
  t.equal(await status(`${address}/readyz`), 503, 'it reports the stop')
  t.match(await (await fetch(`${address}/metrics`)).text(), /^fanwire_ready 0$/m)
  t.match(await node.exit, { code: 0 })
})

t.test('S9: metrics of several workers are summed on their own port too', async t => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const port = await freePort()
  const node = await startNode({
    env: { REDIS_URL: redis.url, WORKERS: '2', FANWIRE_METRICS_PORT: `${port}`, FANWIRE_DRAIN: '0ms' },
  })
  t.teardown(() => node.kill())
  t.not(node.port, port, 'the logged URL is that of PORT')
  for (let i = 0; i < 10; i++) {
    // Each request opens a new connection, so that the workers take turns.
    const answer = await fetch(`${node.url}/v1/channels/a/events`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', connection: 'close' },
      body: '1',
    })
    t.equal(answer.status, 201)
  }
  // A worker that does not answer within a second is missing in the sum.
  await until('the sum over both workers', async () => {
    const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
    return /^fanwire_appends_total\{result="appended"\} 10$/m.test(text)
  })
  t.equal(await status(`${node.url}/metrics`), 404)
  t.match(await node.stop(), { code: 0 })
})

t.test('S9: an error for a used port names its setting', async t => {
  const taken = createServer().listen(0, '127.0.0.1')
  t.teardown(() => taken.close())
  await once(taken, 'listening')
  const { port } = taken.address() as AddressInfo
  const { exit, logs } = launch({ env: { FANWIRE_METRICS_PORT: `${port}` } })
  t.match(await exit, { code: 1 })
  t.match(logs.join('\n'), /FANWIRE_METRICS_PORT/)
})

t.test('S9: without the setting metrics are on PORT', async t => {
  const node = await startMemoryNode()
  t.teardown(() => node.close())
  t.equal((await node.get('/metrics')).status, 200)
})
