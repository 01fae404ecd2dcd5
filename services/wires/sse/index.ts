// Server-sent events: GET /v1/sse (WHATWG HTML section 9.2). `id:` is the connection's whole cursor.

import type { FastifyInstance } from 'fastify'
import { operation } from '../../http/operation.ts'
import { readQuery, resumeParameters } from '../read-query.ts'
import { stream } from '../streaming.ts'
import { sseFraming } from './framing.ts'

/** Lower than on other wires, since every `id:` names all channels. */
const MAX_CHANNELS = 32

const QUERY = resumeParameters()

const schema = operation({
  summary: 'Server-sent events',
  tag: 'read',
  query: QUERY,
  answers: { 200: { description: 'a stream that does not end', type: 'text/event-stream' } },
})

export async function sse(app: FastifyInstance): Promise<void> {
  const rules = {
    begin: 'latest',
    maxChannels: Math.min(MAX_CHANNELS, app.fanwire.config.maxChannels),
    lastEventId: true,
    query: QUERY,
  } as const

  const streaming = { framing: sseFraming, contentType: 'text/event-stream' }

  app.route({
    method: ['GET', 'HEAD'],
    url: '/v1/sse',
    schema,
    config: { sse: true },
    handler: (request, reply) => stream(request, reply, streaming, readQuery(request, rules)),
  })
}
