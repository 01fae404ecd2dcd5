// HTTP streaming: GET /v1/stream, one JSON object per line (NDJSON).

import type { FastifyInstance } from 'fastify'
import { ndjsonFraming } from '../ndjson.ts'
import { operation } from '../../http/operation.ts'
import { PLANS } from '../plan-query.ts'
import { readParameters, readQuery } from '../read-query.ts'
import { stream } from '../streaming.ts'

const QUERY = readParameters(PLANS)

const schema = operation({
  summary: 'HTTP streaming: one JSON object per line',
  tag: 'read',
  query: QUERY,
  answers: { 200: { description: 'a stream that does not end', type: 'application/x-ndjson' } },
})

export async function httpStream(app: FastifyInstance): Promise<void> {
  const rules = { begin: 'latest', maxChannels: app.fanwire.config.maxChannels, query: QUERY } as const
  const streaming = { framing: ndjsonFraming('stream'), contentType: 'application/x-ndjson' }

  app.route({
    method: ['GET', 'HEAD'],
    url: '/v1/stream',
    schema,
    handler: (request, reply) => stream(request, reply, streaming, readQuery(request, rules)),
  })
}
