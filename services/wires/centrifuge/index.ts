// The protocol of Centrifugo's clients (centrifugal/protocol) at /connection/…, and its server API at /api/…, with
// FANWIRE_CENTRIFUGE=1.

import type { FastifyInstance } from 'fastify'

export async function centrifuge(app: FastifyInstance): Promise<void> {
  if (!app.fanwire.config.centrifuge) return
  const { centrifugeRoutes } = await import('./routes.ts')
  await app.register(centrifugeRoutes)
}
