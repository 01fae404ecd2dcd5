// Durable Streams (durable-streams/durable-streams, its protocol) at /v1/stream/{path}, with FANWIRE_DURABLE_STREAMS=1.
// A stream is the channel of that name.

import type { FastifyInstance } from 'fastify'

export async function durableStreams(app: FastifyInstance): Promise<void> {
  if (!app.fanwire.config.durableStreams) return
  const { durableStreamRoutes } = await import('./routes.ts')
  await app.register(durableStreamRoutes)
}
