// HTTP streaming: GET /v1/stream, one JSON object a line (NDJSON).

import type { FastifyInstance } from 'fastify'
import { ndjsonFraming } from '../ndjson.ts'
import { readQuery } from '../read-query.ts'
import { stream } from '../streaming.ts'

export async function httpStream(app: FastifyInstance): Promise<void> {
  const rules = { begin: 'latest', maxChannels: app.fanwire.config.maxChannels } as const
  const streaming = { framing: ndjsonFraming('stream'), contentType: 'application/x-ndjson' }

  app.route({
    method: ['GET', 'HEAD'],
    url: '/v1/stream',
    handler: (request, reply) => stream(request, reply, streaming, readQuery(request, rules)),
  })
}
