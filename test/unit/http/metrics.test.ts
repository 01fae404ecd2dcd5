// /metrics has the right format, and the numbers of the node.

import { AggregatorRegistry } from 'prom-client'
import t from 'tap'
import { ANONYMOUS } from '../../../services/broker/access/identity.ts'
import { startMemoryNode } from '../../contract/node.ts'
import { until } from '../../support/until.ts'
import { Raw, startApp } from './app.ts'

const SAMPLE =
  /^[a-zA-Z_:][a-zA-Z0-9_:]*(\{[a-zA-Z_]\w*="[^"]*"(,[a-zA-Z_]\w*="[^"]*")*,?\})? (-?\d+(\.\d+)?(e[+-]?\d+)?|[+-]?Inf|NaN)$/i

t.test('every line is Prometheus text, and every metric has a help and a type', async t => {
  const { app } = await startApp(t)
  const answer = await app.inject('/metrics')
  t.equal(answer.statusCode, 200)
  t.match(answer.headers['content-type'], /^text\/plain; version=0\.0\.4/)
  const typed = new Set<string>()
  const names = new Set<string>()
  for (const line of answer.body.split('\n').filter(Boolean)) {
    const type = /^# TYPE (\S+) (counter|gauge|histogram|summary)$/.exec(line)
    if (type?.[1] !== undefined) typed.add(type[1])
    else if (!line.startsWith('# HELP ')) {
      t.match(line, SAMPLE)
      names.add(line.replace(/[{ ].*/, ''))
    }
  }
  for (const name of names) t.ok(typed.has(name) || typed.has(name.replace(/_(bucket|sum|count)$/, '')), name)
  for (const name of typed)
    if (name.startsWith('fanwire_')) t.match(name, /_(total|seconds|bytes)$|^fanwire_[a-z_]+$/)
})

t.test('appends and replays are counted and timed, including failures', async t => {
  const { app, log } = await startApp(t)
  const draft = { data: Buffer.from('1') }
  await app.fanwire.publisher.append('a', [draft, draft], { identity: ANONYMOUS })
  await app.fanwire.publisher.append('a', [{ ...draft, idempotencyKey: 'k' }], { identity: ANONYMOUS })
  const [replay] = await app.fanwire.publisher.append('a', [{ ...draft, idempotencyKey: 'k' }], {
    identity: ANONYMOUS,
  })
  t.equal(replay?.replayed, true)
  await log.close()
  await t.rejects(app.fanwire.publisher.append('a', [draft], { identity: ANONYMOUS }), {
    name: 'LogUnavailable',
  })
  const { body } = await app.inject('/metrics')
  t.match(body, /^fanwire_appends_total\{result="appended"\} 3$/m)
  t.match(body, /^fanwire_appends_total\{result="replayed"\} 1$/m)
  t.match(body, /^fanwire_appends_total\{result="unavailable"\} 1$/m)
  t.match(body, /^fanwire_append_seconds_count 4$/m)
})

t.test("the hub's counters are read on request", async t => {
  const began = performance.now()
  const { app, health } = await startApp(t)
  const stats = app.fanwire.hub.connections.wires.of('sse')
  stats.connections = 3
  stats.deliveries = 12
  stats.gaps = 2
  app.fanwire.hub.logReads.started = 7
  const channel = await app.fanwire.hub.open('a')
  const { body } = await app.inject('/metrics')
  t.match(body, /^fanwire_connections\{wire="sse"\} 3$/m)
  t.match(body, /^fanwire_deliveries_total\{wire="sse"\} 12$/m)
  t.match(body, /^fanwire_gaps_total\{wire="sse"\} 2$/m)
  t.match(body, /^fanwire_log_reads_total 7$/m)
  t.match(body, /^fanwire_channels_followed 1$/m)
  t.match(body, /^fanwire_readers 0$/m)
  t.match(body, /^fanwire_ready 1$/m)
  const age = Number(/^fanwire_probe_age_seconds (\d+(\.\d+)?)$/m.exec(body)?.[1])
  t.ok(age * 1000 <= performance.now() - began, `${age} s`)
  stats.deliveries = 13
  health.drain()
  const later = (await app.inject('/metrics')).body
  t.match(later, /^fanwire_deliveries_total\{wire="sse"\} 13$/m, 'not 25')
  t.match(later, /^fanwire_ready 0$/m)
  channel.release()
})

t.test('readers are counted without a visit to each channel, however they come and go', async t => {
  const node = await startMemoryNode()
  t.teardown(() => node.close())
  const readers = async () => {
    const { body } = await node.get('/metrics')
    return Number(/^fanwire_readers (\d+)$/m.exec(body)?.[1])
  }
  const visits = Object.assign(node.hub, {
    [Symbol.iterator]: () => {
      throw new Error('a scrape visits all channels')
    },
  })
  t.teardown(() => void Reflect.deleteProperty(visits, Symbol.iterator))
  const clients = ['a', 'a', 'b'].map(name =>
    new Raw(node.port).send(`GET /v1/sse?channel=${name}&channel=c HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`),
  )
  await Promise.all(clients.map(client => client.until(/fanwire:open/)))
  t.equal(await readers(), 6)
  clients[0]?.close()
  await until('one is released', async () => (await readers()) === 4)
  await node.append('a', '1')
  t.equal(await readers(), 4)
  for (const client of clients) client.close()
  await until('all are released', async () => (await readers()) === 0)
})

t.test('append durations are reported as a histogram with cumulative buckets', async t => {
  const { app } = await startApp(t)
  const { metrics } = app.fanwire
  for (const ms of [0.5, 0.6, 4, 9000]) metrics.appended([], ms)
  const { body } = await app.inject('/metrics')
  const bucket = (le: string) =>
    body.split(`\nfanwire_append_seconds_bucket{le="${le}"} `)[1]?.split('\n', 1)[0]
  t.strictSame(['0.0005', '0.001', '0.0025', '0.005', '5', '+Inf'].map(bucket), [
    '1',
    '2',
    '2',
    '3',
    '3',
    '4',
  ])
  t.match(body, /^fanwire_append_seconds_sum 9\.0051/m)
  t.match(body, /^fanwire_append_seconds_count 4$/m)
  // The form in which workers report metrics to their primary.
  const json = await metrics.registry.getMetricsAsJSON()
  t.match(
    await AggregatorRegistry.aggregate([json, json]).metrics(),
    /^fanwire_append_seconds_bucket\{le="0.005"\} 6$/m,
  )
})

t.test('the event loop of an idle node has no delay', async t => {
  const { app } = await startApp(t)
  const lag = async () => {
    const { body } = await app.inject('/metrics')
    return Number(/^nodejs_eventloop_lag_min_seconds (\S+)$/m.exec(body)?.[1])
  }
  await lag()
  // On a busy machine the node may not be idle at once. The interval, if it counted, would always be 0.1 s or more.
  await until('the interval between two samples does not count as delay', async () => {
    await new Promise(resolve => setTimeout(resolve, 400))
    return (await lag()) < 0.09
  })
})
