// An edge: every wire that clients may connect over.

import type { FastifyInstance } from 'fastify'
import { transports } from './index.ts'

export async function edge(app: FastifyInstance): Promise<void> {
  for (const transport of transports) await app.register(transport)
}
