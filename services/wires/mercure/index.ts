// Mercure (dunglas/mercure, protocol 0.x and 1.0) at /.well-known/mercure, with FANWIRE_MERCURE=1. The hub is the log
// of updates; a topic is also the channel of that name.

import type { FastifyInstance } from 'fastify'

export async function mercure(app: FastifyInstance): Promise<void> {
  if (!app.fanwire.config.mercure) return
  const { mercureRoutes } = await import('./routes.ts')
  await app.register(mercureRoutes)
}
