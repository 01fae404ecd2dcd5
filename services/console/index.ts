// The console at /console, a page that calls this node's routes with the user's token; its files contain nothing private.
// Also `/`, which lists the node's pages.

import type { FastifyInstance } from 'fastify'
import { serveBuilt } from '../http/built-files.ts'
import { NO_PARAMETERS } from '../http/operation.ts'
import { checkedQuery } from '../http/query.ts'

/** Allows its own files, and requests to its node. */
const HEADERS = {
  'cache-control': 'no-cache',
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; frame-src 'self'; " +
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'referrer-policy': 'no-referrer',
}

export async function consolePage(app: FastifyInstance): Promise<void> {
  const { config } = app.fanwire
  const on = config.console ?? config.role !== 'writer'
  const route = { config: { anonymous: true, always: true }, exposeHeadRoute: true } as const

  app.get('/', route, async (request, reply) => {
    checkedQuery(request, NO_PARAMETERS)
    const docs = config.docs ?? config.role !== 'writer'
    return reply.header('cache-control', 'no-cache').send({
      service: 'fanwire',
      ...(on && { console: '/console' }),
      ...(docs && { docs: '/docs', openapi: '/openapi.json' }),
      health: '/healthz',
      ready: '/readyz',
    })
  })
  if (!on) return

  serveBuilt(app, '/console', 'console/index.html', HEADERS)
  for (const file of ['console.js', 'console.css', 'icon.svg']) {
    serveBuilt(app, `/console/${file}`, `console/${file}`, HEADERS)
  }
}
