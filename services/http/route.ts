// The first hook of every request.

import fp from 'fastify-plugin'

declare module 'fastify' {
  interface FastifyRequest {
    /** The options of its route; empty if there is none. Fastify creates its own `routeOptions` anew each time. */
    route: FastifyContextConfig & { readonly url?: string }
  }
}

export const route = fp(
  async app => {
    app.decorateRequest('route')
    // The only hook that waits for a turn of the event loop. Then everything that arrived with the head is parsed, so that
    // later hooks can see whether the body is complete.
    app.addHook('onRequest', async request => {
      request.route = request.routeOptions.config ?? {}
    })
  },
  { name: 'fanwire-route', fastify: '5.x' },
)
