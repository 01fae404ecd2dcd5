// GET /.well-known/mercure/subscriptions and the paths below it: lists subscriptions.

import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { isGranted } from '../../broker/access/grants.ts'
import { isStranger } from '../../broker/access/identity.ts'
import { FanwireError } from '../../errors.ts'
import { matches, tagOf } from '../../http/conditional.ts'
import { operation, text, texts } from '../../http/operation.ts'
import { Type } from '../../http/schema.ts'
import { HUB } from './form.ts'
import { headerText, newestId } from './resume.ts'
import { SUBSCRIPTIONS, type Subscriptions, type Subscription } from './subscriptions.ts'

const QUERY = Type.Object({
  authorization: text('0.x: a token, with FANWIRE_TOKEN_QUERY=1'),
  '<name>': texts('any other parameter is ignored'),
})
const PARAMETERS = ['first', 'second', 'third'] as const
const TYPES: ReadonlySet<string> = new Set(['exact', 'urlpattern'])

type Params = Partial<Record<(typeof PARAMETERS)[number], string>>

export function listRoutes(app: FastifyInstance, subscriptions: Subscriptions, config: object): void {
  for (let count = 0; count <= PARAMETERS.length; count++) {
    const names = PARAMETERS.slice(0, count)
    const path = Object.fromEntries(names.map(name => [name, Type.String()]))
    const schema = operation({
      summary: 'Mercure: subscriptions',
      tag: 'read',
      ...(count === 0 ? {} : { path: Type.Object(path) }),
      query: QUERY,
      answers: { 200: { description: 'a subscription, or a list of them', type: 'application/json' } },
    })
    const url = [SUBSCRIPTIONS, ...names.map(name => `:${name}`)].join('/')
    app.get(url, { schema, config }, (request, reply) => list(request, reply, subscriptions))
  }
}

/** The path is the topic that must be granted. Raises FW_UNAUTHORIZED, FW_FORBIDDEN, FW_NOT_FOUND, LogUnavailable. */
async function list(
  request: FastifyRequest,
  reply: FastifyReply,
  subscriptions: Subscriptions,
): Promise<FastifyReply> {
  const { access, hub } = request.server.fanwire
  const { identity } = request
  const [path = ''] = (request.raw.url ?? '').split('?', 1)
  requireGranted(request, path)
  const { fits, single } = selectorOf(request.params as Params)
  const last = await newestId({ access, hub, identity })
  const found = (await subscriptions.list()).filter(fits)
  const older = identity.grants.some(({ list }) => list.some(({ olderForm }) => olderForm))
  if (single && found[0] === undefined)
    throw new FanwireError('FW_NOT_FOUND', 'there is no such subscription')
  const body = JSON.stringify(single ? found[0] : collection(path, found, last, older))
  const tag = `"${tagOf(body)}"`
  reply.headers({
    'content-type': older ? 'application/ld+json' : 'application/json',
    'cache-control': 'no-cache, private',
    etag: tag,
    link: `<${HUB}>; rel="mercure"; last-event-id="${headerText(last)}"; type="mercure"; content-type="application/json"`,
  })
  if (matches(request.headers['if-none-match'], tag)) return reply.code(304).send()
  return reply.send(body)
}

function requireGranted({ identity, server }: FastifyRequest, path: string): void {
  const { access } = server.fanwire
  access.require(identity, 'subscribe', path)
  if (isGranted(identity.grants, 'subscribe', path)) return
  if (isStranger(identity))
    throw new FanwireError(
      'FW_UNAUTHORIZED',
      'subscriptions are listed only for a token or a key that grants this path',
    )
  throw new FanwireError('FW_FORBIDDEN', 'the token does not grant subscribing to this path', {
    challenge: 'insufficient_scope',
  })
}

/** `{topic}`, `{topic}/{subscriber}` of 0.x; `{type}/{match}`, `{type}/{match}/{subscriber}` of 1.0. */
function selectorOf({ first, second, third }: Params): {
  fits: (each: Subscription) => boolean
  single: boolean
} {
  if (first === undefined) return { fits: () => true, single: false }
  if (third !== undefined || (second !== undefined && TYPES.has(first))) {
    const fits = ({ match_type: type, match, subscriber }: Subscription) =>
      type === first && match === second && (third === undefined || subscriber === third)
    return { fits, single: third !== undefined }
  }
  const fits = ({ topic, subscriber }: Subscription) =>
    topic === first && (second === undefined || subscriber === second)
  return { fits, single: second !== undefined }
}

function collection(
  path: string,
  subscriptions: readonly Subscription[],
  last: string,
  older: boolean,
): object {
  return older
    ? {
        '@context': 'https://mercure.rocks/',
        id: path,
        type: 'Subscriptions',
        lastEventID: last,
        subscriptions,
      }
    : { id: path, type: 'subscriptions', subscriptions }
}
