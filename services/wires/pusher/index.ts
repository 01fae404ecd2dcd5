// Pusher's protocol (for clients, and its HTTP API for servers), with FANWIRE_PUSHER_APPS. A Pusher channel is the
// channel of that name.

import type { FastifyInstance } from 'fastify'

export async function pusher(app: FastifyInstance): Promise<void> {
  if (app.fanwire.config.pusherApps === undefined) return
  const { pusherRoutes } = await import('./routes.ts')
  await app.register(pusherRoutes)
}
