// Server-sent events: GET /v1/sse (WHATWG HTML section 9.2). `id:` is the connection's whole cursor.

import type { FastifyInstance } from 'fastify'
import { readQuery } from '../read-query.ts'
import { stream } from '../streaming.ts'
import { sseFraming } from './framing.ts'

/** With several channels every `id:` names them all, so there are fewer than elsewhere. */
const MAX_CHANNELS = 32

export async function sse(app: FastifyInstance): Promise<void> {
  const rules = {
    begin: 'latest',
    maxChannels: Math.min(MAX_CHANNELS, app.fanwire.config.maxChannels),
    lastEventId: true,
  } as const

  const streaming = { framing: sseFraming, contentType: 'text/event-stream' }

  app.route({
    method: ['GET', 'HEAD'],
    url: '/v1/sse',
    config: { sse: true },
    handler: (request, reply) => stream(request, reply, streaming, readQuery(request, rules)),
  })
}
