// Builds the HTTP side that edges and writers share; nothing listens here.

import Fastify, { type FastifyBaseLogger, type FastifyInstance, LogController } from 'fastify'
import { auth } from './auth.ts'
import { channels } from './channels.ts'
import type { Context } from './context.ts'
import { stopping } from './drain.ts'
import { errors, MAX_HEADERS, MAX_URL, tell } from './errors.ts'
import { handshakes } from './handshakes.ts'
import { health } from './health.ts'
import { limits } from './limits.ts'
import { refuseMalformed } from './node/malformed.ts'
import { methods } from './methods.ts'
import { metrics } from './metrics.ts'
import { origins } from './origins.ts'
import { protocols } from './protocols.ts'
import { originForm, target } from './target.ts'
import { halfOpen } from './node/half-open.ts'
import { pipelining } from './node/pipelining.ts'
import { unrouted } from './node/unrouted.ts'
import { upgrades } from './node/upgrades.ts'

/** A Fastify instance with everything but wires and publish routes, which are registered on it next. */
export function buildServer(context: Context, logger: FastifyBaseLogger): FastifyInstance {
  const app: FastifyInstance = Fastify({
    loggerInstance: logger,
    logController: new LogController({ disableRequestLogging: true }),
    rewriteUrl: originForm,
    // As long as any URL, so that an overlong name is told as one and not as 404.
    routerOptions: { maxParamLength: MAX_URL },
    bodyLimit: context.config.maxBody,
    // Longer than load balancers keep idle connections, so that they close first.
    keepAliveTimeout: 72_000,
    // A bulk publish may take as long as it likes; headers may not.
    requestTimeout: 0,
    http: {
      maxHeaderSize: MAX_HEADERS,
      // Node would refuse without a code; see target.ts.
      requireHostHeader: false,
      headersTimeout: 60_000,
      connectionsCheckingInterval: 10_000,
      // A peer that vanished without a word is noticed by TCP.
      keepAlive: true,
      keepAliveInitialDelay: 30_000,
    },
    forceCloseConnections: true,
    return503OnClosing: false,
    exposeHeadRoutes: false,
    clientErrorHandler: refuseMalformed,
    frameworkErrors: (error, request, reply) => void tell(error, request, reply),
  })
  // Each route says itself what bodies it takes.
  app.removeAllContentTypeParsers()
  app.decorate('fanwire', context)
  // In the order in which a request meets them.
  app.register(protocols)
  app.register(halfOpen)
  app.register(pipelining)
  app.register(upgrades)
  app.register(handshakes)
  app.register(errors)
  app.register(unrouted)
  app.register(origins)
  app.register(target)
  app.register(methods)
  app.register(stopping)
  app.register(limits)
  app.register(health)
  app.register(auth)
  app.register(metrics)
  app.register(channels)
  if (logger.level === 'debug' || logger.level === 'trace') logRequests(app)
  return app
}

/** One line a request. Never the query, nor headers: they may hold what is nobody's business. */
function logRequests(app: FastifyInstance): void {
  app.addHook('onResponse', (request, reply, done) => {
    const path = request.url.split('?', 1)[0]
    const ms = Math.round(reply.elapsedTime * 10) / 10
    request.log.debug({ method: request.method, path, status: reply.statusCode, ms }, 'request')
    done()
  })
}
