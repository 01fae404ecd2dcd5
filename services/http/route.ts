// The first hook of all.

import fp from 'fastify-plugin'

declare module 'fastify' {
  interface FastifyRequest {
    /** What its route says of itself; empty where there is none. Fastify's own `routeOptions` are made anew each time. */
    route: FastifyContextConfig & { readonly url?: string }
  }
}

export const route = fp(
  async app => {
    app.decorateRequest('route')
    // The only one that gives up its turn: by the next one, whatever came along with the head is parsed, so that the
    // others can tell whether the body is there.
    app.addHook('onRequest', async request => {
      request.route = request.routeOptions.config ?? {}
    })
  },
  { name: 'fanwire-route', fastify: '5.x' },
)
