// OpenTelemetry traces over two real nodes on one Redis, as a collector receives them.

import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { pino } from 'pino'
import t from 'tap'
import { loadPackages, PackagesMissing } from '../../services/http/tracing/packages.ts'
import { parseTraceparent, printTraceparent } from '../../services/http/tracing/traceparent.ts'
import { closeParts } from '../../services/node/cluster.ts'
import { explain } from '../../services/node/explain.ts'
import { listen } from '../../services/node/listen.ts'
import { start } from '../../services/node/node.ts'
import { configOf } from '../contract/node.ts'
import { startRedis } from '../support/redis-server.ts'
import { until } from '../support/until.ts'

interface Span {
  readonly name: string
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly links?: readonly { readonly traceId: string }[]
  readonly attributes: readonly { readonly key: string; readonly value: Record<string, unknown> }[]
}

const attempt = (load?: (name: string) => unknown) => {
  try {
    return loadPackages(load)
  } catch (error) {
    return error
  }
}
const skip = attempt() instanceof PackagesMissing && 'its packages are not installed'

const spans: Span[] = []
async function take(request: IncomingMessage): Promise<void> {
  const pieces: Buffer[] = []
  for await (const piece of request) pieces.push(piece)
  const { resourceSpans } = JSON.parse(Buffer.concat(pieces).toString())
  for (const { scopeSpans } of resourceSpans) for (const scope of scopeSpans) spans.push(...scope.spans)
}
const collector = createServer((request, response) => {
  take(request).then(
    () => response.writeHead(200, { 'content-type': 'application/json' }).end('{}'),
    error => t.fail(String(error)),
  )
})
await new Promise<void>(resolve => collector.listen(0, '127.0.0.1', resolve))
t.teardown(() => {
  collector.close()
  collector.closeAllConnections()
})
process.env.OTEL_EXPORTER_OTLP_ENDPOINT = `http://127.0.0.1:${(collector.address() as AddressInfo).port}`
process.env.OTEL_BSP_SCHEDULE_DELAY = '50'

const TRACE = '0af7651916cd43dd8448eb211c80319c'
const CALLER = 'b7ad6b7169203331'
const attribute = (span: Span | undefined, name: string) =>
  Object.values(span?.attributes.find(({ key }) => key === name)?.value ?? {})[0]

t.test('an event is traced from its publish to its delivery on another node', { skip }, async t => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const apps: FastifyInstance[] = []
  const startTraced = async () => {
    const config = { ...configOf({ OTEL: '1' }), redisUrl: redis.url, port: 0, host: '127.0.0.1' }
    const app = await start(config, pino({ level: 'silent' }))
    apps.push(app)
    return listen(app, config)
  }
  const [one, other] = [await startTraced(), await startTraced()]
  t.teardown(async () => {
    for (const app of apps) {
      await app.close()
      await closeParts(app.fanwire)
    }
  })
  const reading = new AbortController()
  const sse = await fetch(`${other}/v1/sse?channel=news`, { signal: reading.signal })
  t.equal(sse.status, 200)
  const publish = (traceparent: string, body = '1') =>
    fetch(`${one}/v1/channels/news/events`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', traceparent },
      body,
    })
  const answer = await publish(`00-${TRACE}-${CALLER}-01`)
  t.equal(answer.status, 201)
  await until('the last span of the event arrives', () => spans.some(({ name }) => name === 'deliver'))
  await until('the span of the route arrives', () => spans.some(({ name }) => name.startsWith('POST')))

  const of = (name: string) => spans.find(span => span.name.startsWith(name))
  const [route, append, deliver] = [of('POST'), of('append'), of('deliver')]
  for (const span of [route, append, deliver]) t.equal(span?.traceId, TRACE, span?.name ?? 'a span')
  t.equal(route?.parentSpanId, CALLER)
  t.equal(append?.parentSpanId, route?.spanId)
  t.equal(deliver?.parentSpanId, append?.spanId)
  t.match(route?.name, /^POST \/v1\/channels\//)
  t.equal(Number(attribute(route, 'http.response.status_code')), 201)
  t.equal(attribute(append, 'messaging.destination.name'), 'news')
  t.equal(Number(attribute(deliver, 'fanwire.readers')), 1)

  const poll = await fetch(`${one}/v1/poll?channel=news`)
  const { events } = (await poll.json()) as { events: { tags: Record<string, string> }[] }
  t.strictSame(
    events[0]?.tags,
    { traceparent: `00-${TRACE}-${append?.spanId}-01` },
    'readers can continue the trace',
  )

  const before = spans.length
  await (await publish(`00-${'1'.repeat(32)}-${CALLER}-00`)).text()
  await (await publish(`00-${'2'.repeat(32)}-${CALLER}-01`, '"x')).text()
  await until('the rejected one is reported', () => spans.length > before)
  t.strictSame(
    spans.slice(before).map(({ name, traceId }) => [name.slice(0, 4), traceId[0]]),
    [['POST', '2']],
    'unsampled events are not traced, and rejected ones are not appended',
  )
  reading.abort()
})

t.test(
  'without the packages of OpenTelemetry the node does not start, and names the packages to install',
  async t => {
    const away = (name: string) => {
      throw Object.assign(new Error(name), { code: 'MODULE_NOT_FOUND' })
    }
    const error = attempt(away)
    t.ok(error instanceof PackagesMissing)
    const line = explain(error, configOf({}))
    t.match(
      line,
      /^FW_OTEL_PACKAGES: FANWIRE_OTEL=1 needs .*npm install @opentelemetry\/api@1 @opentelemetry\//,
    )
    t.notMatch(line, '\n')
  },
)

t.test('traceparent is parsed as W3C specifies', async t => {
  const good = `00-${TRACE}-${CALLER}-01`
  const context = parseTraceparent(good)
  t.equal(context && printTraceparent(context), good)
  t.equal(parseTraceparent(`00-${TRACE}-${CALLER}-02`)?.traceFlags, 0)
  t.equal(parseTraceparent(`01-${TRACE}-${CALLER}-01-more`)?.traceId, TRACE)
  for (const bad of [
    undefined,
    '',
    `ff-${TRACE}-${CALLER}-01`,
    `00-${'0'.repeat(32)}-${CALLER}-01`,
    `00-${TRACE}-${'0'.repeat(16)}-01`,
    `00-${TRACE.toUpperCase()}-${CALLER}-01`,
    `00-${TRACE}-${CALLER}`,
  ]) {
    t.equal(parseTraceparent(bad), undefined, String(bad))
  }
})
