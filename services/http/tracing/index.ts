// OpenTelemetry traces of events, with FANWIRE_OTEL=1: the publish route, the append to the log, and the flush that
// delivers the event to a node's readers. An event of a sampled trace carries it as the tag `traceparent`, to all nodes
// and readers. Loaded only if it is switched on.

import { AsyncLocalStorage } from 'node:async_hooks'
import type { Context as TraceContext, Span, SpanContext, Tracer } from '@opentelemetry/api'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Draft, LogEvent } from '../../broker/event/event.ts'
import { Channel } from '../../broker/fanout/channel.ts'
import type { Hub } from '../../broker/fanout/hub.ts'
import type { ChannelLog } from '../../broker/log/log.ts'
import { VERSION } from '../../config/version.ts'
import { loadPackages, type Packages } from './packages.ts'
import { parseTraceparent, printTraceparent, TRACEPARENT } from './traceparent.ts'

/** The maximum number of an event's tags. */
const MAX_TAGS = 16

/**
 * Traces everything that the server publishes and delivers. Call it before the routes are added. Raises PackagesMissing.
 */
export function trace(app: FastifyInstance, packages = loadPackages()): void {
  const { api, sdk, resources, otlp } = packages
  const own = resources.resourceFromAttributes({ 'service.name': 'fanwire', 'service.version': VERSION })
  const provider = new sdk.BasicTracerProvider({
    // Reads OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES.
    resource: own.merge(resources.detectResources({ detectors: [resources.envDetector] })),
    spanProcessors: [new sdk.BatchSpanProcessor(new otlp.OTLPTraceExporter())],
  })
  const tracing = new Tracing(api, provider.getTracer('fanwire', VERSION))
  const { log, hub } = app.fanwire
  tracing.followRequests(app)
  tracing.followAppends(log)
  tracing.followDeliveries(hub)
  app.addHook('onClose', () => provider.shutdown())
}

class Tracing {
  readonly #api: Packages['api']
  readonly #tracer: Tracer
  /** The span of the publish in progress. */
  readonly #active = new AsyncLocalStorage<Span>()
  readonly #spans = new WeakMap<FastifyRequest, Span>()
  /** The offset of the newest delivered event. */
  readonly #delivered = new WeakMap<Channel, number>()

  constructor(api: Packages['api'], tracer: Tracer) {
    this.#api = api
    this.#tracer = tracer
  }

  /** Creates a span for each request of a publish route, in the trace of its `traceparent`. */
  followRequests(app: FastifyInstance): void {
    const { SpanKind, SpanStatusCode } = this.#api
    app.addHook('onRequest', (request, _reply, done) => {
      const { url = '', schema } = request.routeOptions
      if (request.method !== 'POST' || !tagsOf(schema).includes('publish')) return done()
      const options = {
        kind: SpanKind.SERVER,
        attributes: { 'http.request.method': 'POST', 'http.route': url },
      }
      const parent = parseTraceparent(request.headers[TRACEPARENT]?.toString())
      const span = this.#tracer.startSpan(`POST ${url}`, options, this.#within(parent))
      this.#spans.set(request, span)
      this.#active.run(span, done)
    })
    app.addHook('onResponse', (request, { statusCode }, done) => {
      const span = this.#spans.get(request)
      span?.setAttribute('http.response.status_code', statusCode)
      if (statusCode >= 500) span?.setStatus({ code: SpanStatusCode.ERROR })
      span?.end()
      done()
    })
  }

  /** Creates a span for each append of such a request. Its events carry the trace, if it is sampled. */
  followAppends(log: ChannelLog): void {
    const { SpanKind, SpanStatusCode } = this.#api
    const append = log.append.bind(log)
    log.append = async (channel, drafts) => {
      const publish = this.#active.getStore()
      if (publish === undefined) return append(channel, drafts)
      const attributes = attributesOf(channel, drafts.length)
      const options = { kind: SpanKind.PRODUCER, attributes }
      const span = this.#tracer.startSpan('append', options, this.#within(publish.spanContext()))
      try {
        return await append(channel, carrying(drafts, span))
      } catch (error) {
        span.setStatus({ code: SpanStatusCode.ERROR, message: String(error) })
        throw error
      } finally {
        span.end()
      }
    }
  }

  /**
   * Creates a span for each stretch with such events, from the log's time of the first event until all readers on this node
   * were visited.
   */
  followDeliveries({ connections }: Hub): void {
    connections.flushLoop.flushed = flushed => {
      if (flushed instanceof Channel) this.#deliver(flushed)
    }
  }

  #deliver(channel: Channel): void {
    const { recent, members } = channel
    const { head, floor } = recent
    const from = Math.max(this.#delivered.get(channel) ?? head - 1, floor)
    this.#delivered.set(channel, head)
    if (from >= head || members.length === 0) return
    const events = recent.list.slice(recent.indexAfter(from))
    const [first, ...others] = events.flatMap(event => sampled(event))
    if (first === undefined) return
    const options = {
      kind: this.#api.SpanKind.CONSUMER,
      startTime: Math.min(first.event.time, Date.now()),
      links: others.map(({ context }) => ({ context })),
      attributes: { ...attributesOf(channel.name, events.length), 'fanwire.readers': members.length },
    }
    this.#tracer.startSpan('deliver', options, this.#within(first.context)).end()
  }

  #within(parent: SpanContext | undefined): TraceContext {
    const { ROOT_CONTEXT, trace } = this.#api
    return parent === undefined ? ROOT_CONTEXT : trace.setSpanContext(ROOT_CONTEXT, parent)
  }
}

function tagsOf(schema: unknown): readonly string[] {
  return (schema as { tags?: readonly string[] } | undefined)?.tags ?? []
}

/** The attributes by OpenTelemetry's conventions for messaging. */
function attributesOf(channel: string, events: number) {
  return {
    'messaging.system': 'fanwire',
    'messaging.destination.name': channel,
    'messaging.batch.message_count': events,
  }
}

/** The drafts with the tag of the trace; a draft that has one already, or has no room, is unchanged. */
function carrying(drafts: readonly Draft[], span: Span): readonly Draft[] {
  const context = span.spanContext()
  if ((context.traceFlags & 1) === 0) return drafts
  const value = printTraceparent(context)
  return drafts.map(draft => {
    const { tags = new Map<string, string>(), end } = draft
    if (end === true || tags.has(TRACEPARENT) || tags.size >= MAX_TAGS) return draft
    return { ...draft, tags: new Map([...tags, [TRACEPARENT, value]]) }
  })
}

function sampled(event: LogEvent): { readonly event: LogEvent; readonly context: SpanContext }[] {
  const context = parseTraceparent(event.tags?.get(TRACEPARENT))
  return context === undefined || context.traceFlags === 0 ? [] : [{ event, context }]
}
