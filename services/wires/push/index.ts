// HTTP/2 push: GET /v1/push pushes each event as its resource, /v1/channels/{channel}/events/{id}. The request's own
// stream lists the pushed events in NDJSON. If nothing can be pushed (the client does not accept it, or a load balancer
// speaks HTTP/1.1 with the node), that stream carries the events themselves.

import type { OutgoingHttpHeaders } from 'node:http2'
import type { FastifyInstance } from 'fastify'
import { lineFraming, recordFraming } from './framing.ts'
import { canPush, PushSink } from './pushes.ts'
import { isShared } from '../../http/conditional.ts'
import { operation } from '../../http/operation.ts'
import { readParameters, readQuery } from '../read-query.ts'
import { type Streaming, stream } from '../streaming.ts'

const QUERY = readParameters({})

const schema = operation({
  summary: 'HTTP/2 push: each event as a resource',
  tag: 'read',
  query: QUERY,
  answers: { 200: { description: 'a stream that does not end', type: 'application/x-ndjson' } },
})

export async function push(app: FastifyInstance): Promise<void> {
  const { access, config } = app.fanwire
  const rules = { begin: 'latest', maxChannels: config.maxChannels, query: QUERY } as const
  const streaming: Streaming = {
    framing: lineFraming,
    contentType: 'application/x-ndjson',
    overHttp2(stream, request, reply) {
      if (!canPush(stream)) return undefined
      // The headers with which a page of another origin may read the response, and its key in a cache.
      const { origin } = request.headers
      const sink = new PushSink(
        stream,
        { ...(reply.getHeaders() as OutgoingHttpHeaders) },
        origin === undefined ? {} : { origin },
        isShared(request),
        channel => access.ruleOf(channel).erasable,
      )
      return { framing: recordFraming, sink }
    },
  }

  app.route({
    method: ['GET', 'HEAD'],
    url: '/v1/push',
    schema,
    handler: (request, reply) => stream(request, reply, streaming, readQuery(request, rules)),
  })
}
