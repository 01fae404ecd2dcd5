// Centrifugo's server API: POST /api/{method}, with a fanwire API key in X-API-Key. A call's error is reported in the
// body, with status 200.

import type { FastifyInstance, FastifyRequest } from 'fastify'
import { withoutMark } from '../../broker/event/json-spans.ts'
import { FanwireError } from '../../errors.ts'
import { requirePublishOrigin } from '../../http/auth.ts'
import { takeBodies, wholeBody } from '../../http/body.ts'
import { operation } from '../../http/operation.ts'
import { Type } from '../../http/schema.ts'
import { runCall } from './api-methods.ts'
import { printJson } from './json.ts'

/** Bytes of a body in addition to the data of an event. */
const BODY_ROOM = 64 * 1024
const APIKEY = /^apikey +(\S+) *$/i

export async function apiRoutes(app: FastifyInstance): Promise<void> {
  const { access, config, limits } = app.fanwire
  takeBodies(app)
  app.addHook('onRequest', async request => {
    requirePublishOrigin(request)
    const key = keyOf(request)
    if (key !== undefined) {
      request.identity = (await access.bearer(key)).identity
      limits.request({ identity: request.identity })
    }
    if (request.identity.kind !== 'key' && access.rules.open === undefined)
      throw new FanwireError('FW_UNAUTHORIZED', 'the server API needs an API key in X-API-Key')
  })

  app.post<{ Params: { method: string } }>(
    '/api/:method',
    {
      schema: operation({
        summary: 'Centrifuge: the server API',
        tag: 'publish',
        path: Type.Object({ method: Type.String({ description: 'such as publish' }) }),
        answers: { 200: { description: '{"result"} or {"error"}', type: '*/*' } },
      }),
    },
    async (request, reply) => {
      const most = config.maxBody + BODY_ROOM
      const body = await wholeBody(request, most, `a body may have at most ${most} bytes`)
      const json = body.length === 0 ? Buffer.from('{}') : withoutMark(body)
      const answered = await runCall(request, request.params.method, json)
      reply.header('cache-control', 'no-store').type('application/json; charset=utf-8')
      return printJson(answered)
    },
  )
}

/** The server's key, in either of Centrifugo's headers. */
function keyOf({ headers }: FastifyRequest): string | undefined {
  const { 'x-api-key': given, authorization = '' } = headers
  return typeof given === 'string' ? given : APIKEY.exec(authorization)?.[1]
}
