// The routes of Mercure: subscribing, publishing and listing subscriptions.

import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { UPDATES } from '../../broker/event/update.ts'
import { askToRead } from '../../http/asking.ts'
import { requirePublishOrigin } from '../../http/auth.ts'
import { takeBodies } from '../../http/body.ts'
import { requireMedia } from '../../http/content-type.ts'
import { MERCURE_TOKEN_COOKIES } from '../../http/cookies.ts'
import { operation, texts } from '../../http/operation.ts'
import { Type } from '../../http/schema.ts'
import { requireReadable } from '../open-for.ts'
import { stream } from '../streaming.ts'
import { Audience } from './audience.ts'
import { MercureConnection } from './connection.ts'
import { HUB } from './form.ts'
import { mercureFraming } from './framing.ts'
import { publish } from './publish.ts'
import { listRoutes } from './list.ts'
import { beginningOf, headerText, Names } from './resume.ts'
import { Subscriptions } from './subscriptions.ts'
import { namedTopics, QUERY, wantedBy } from './wanted.ts'

const FORM_TYPE = 'application/x-www-form-urlencoded'

const SUBSCRIBE = operation({
  summary: 'Mercure: subscribe to topics',
  tag: 'read',
  query: QUERY,
  answers: { 200: { description: 'server-sent events that do not end', type: 'text/event-stream' } },
})

const FORM = Type.Object({
  topic: Type.Array(Type.String(), { description: 'the first is the canonical one' }),
  data: Type.Optional(Type.String()),
  private: Type.Optional(Type.String({ description: 'private if the field is present' })),
  id: Type.Optional(Type.String()),
  type: Type.Optional(Type.String()),
  retry: Type.Optional(Type.String({ description: 'ms' })),
})

const PUBLISH = operation({
  summary: 'Mercure: publish an update',
  tag: 'publish',
  query: Type.Object({ '<name>': texts('ignored') }),
  body: { [FORM_TYPE]: FORM },
  answers: { 200: { description: 'the id of the update', type: 'text/plain' } },
})

/** Sources of tokens besides the header. */
const TOKENS = {
  tokenCookies: MERCURE_TOKEN_COOKIES,
  tokenParameter: 'authorization',
} as const

export async function mercureRoutes(app: FastifyInstance): Promise<void> {
  const subscriptions = app.fanwire.config.mercureSubscriptions
    ? new Subscriptions(app.fanwire, app.log)
    : undefined
  const hub = new Hub(app, subscriptions)
  if (subscriptions !== undefined) listRoutes(app, subscriptions, TOKENS)
  takeBodies(app)
  app.route({
    method: ['GET', 'HEAD'],
    url: HUB,
    schema: SUBSCRIBE,
    config: { ...TOKENS, sse: true, opens: true },
    handler: (request, reply) => hub.subscribe(request, reply),
  })
  const onRequest = [requirePublisher, requireMedia(new Set([FORM_TYPE]), FORM_TYPE)]
  app.post(HUB, { schema: PUBLISH, config: TOKENS, onRequest }, async (request, reply) =>
    reply.header('content-type', 'text/plain; charset=utf-8').send(await publish(app.fanwire, request)),
  )
}

/** Runs before the body is read. Raises FW_FORBIDDEN_ORIGIN, FW_UNAUTHORIZED. */
async function requirePublisher(request: FastifyRequest): Promise<void> {
  requirePublishOrigin(request)
  request.server.fanwire.access.requirePublisher(request.identity, 'Authorization: Bearer …, or a cookie')
}

class Hub {
  readonly #app: FastifyInstance
  readonly #subscriptions: Subscriptions | undefined
  readonly #names = new Names()

  /** `subscriptions`: undefined if they are not published. */
  constructor(app: FastifyInstance, subscriptions: Subscriptions | undefined) {
    this.#app = app
    this.#subscriptions = subscriptions
  }

  /** Raises FW_BAD_PARAMETER, FW_TOO_MANY_CHANNELS, FW_UNAUTHORIZED, FW_FORBIDDEN, LogUnavailable. */
  async subscribe(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    const { access, hub } = this.#app.fanwire
    const { matchers, after } = wantedBy(request)
    const named = namedTopics(matchers)
    const asked = {
      channels: named,
      starts: named.map(() => (after === undefined ? 'latest' : 'earliest')),
    } as const
    if (access.asking !== undefined) await askToRead(request, asked)
    const { identity } = request
    requireReadable({ access, identity }, asked)
    const { start, lost, before, head } = await beginningOf({ access, hub, identity }, this.#names, after)
    if (before !== undefined) {
      const id = headerText(before)
      reply.headers({ 'mercure-last-event-id': id, 'last-event-id': id })
    }
    const audience = new Audience(access, { identity, matchers, head })
    await stream(
      request,
      reply,
      {
        framing: mercureFraming,
        contentType: 'text/event-stream',
        connect: (registry, framing, outlet) =>
          new MercureConnection(registry, framing, outlet, {
            audience,
            topics: named,
            gone: this.#subscriptions?.add(matchers, identity) ?? (() => {}),
          }),
      },
      { channels: [UPDATES], starts: [start], selections: [], plans: [], lost, values: {} },
    )
  }
}
