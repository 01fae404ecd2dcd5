// The routes of the protocol.

import type { FastifyInstance } from 'fastify'
import { apiRoutes } from './api.ts'
import { emulationRoutes } from './emulation.ts'
import { websocketRoutes } from './websocket.ts'

export async function centrifugeRoutes(app: FastifyInstance): Promise<void> {
  await app.register(websocketRoutes)
  await app.register(emulationRoutes)
  await app.register(apiRoutes)
}
