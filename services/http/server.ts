// Builds the HTTP front of all services; it does not listen.

import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import { auth } from './auth.ts'
import type { Context } from './context.ts'
import { errors } from './errors.ts'
import { createFastify } from './fastify.ts'
import { handshakes } from './handshakes.ts'
import { health } from './health.ts'
import { inFlight } from './in-flight.ts'
import { limits } from './limits.ts'
import { methods } from './methods.ts'
import { metrics } from './metrics.ts'
import { origins } from './origins.ts'
import { pressure } from './pressure.ts'
import { protocols } from './listeners.ts'
import { addressRates, identityRates } from './rates.ts'
import { loggedPath, target } from './target.ts'
import { halfOpen } from './node/half-open.ts'
import { pipelining } from './node/pipelining.ts'
import { unrouted } from './node/unrouted.ts'
import { upgrades } from './node/upgrades.ts'

/** A Fastify instance with everything that services share; services are registered on it next. */
export function buildServer(context: Context, logger: FastifyBaseLogger): FastifyInstance {
  const app = createFastify(context, logger)
  // Registered in the order in which they process a request.
  app.register(protocols)
  app.register(halfOpen)
  app.register(pipelining)
  app.register(upgrades)
  app.register(handshakes)
  app.register(errors)
  app.register(unrouted)
  app.register(origins)
  app.register(addressRates)
  app.register(target)
  app.register(methods)
  app.register(inFlight)
  app.register(limits)
  app.register(health)
  app.register(pressure)
  app.register(auth)
  app.register(identityRates)
  // Otherwise they are only on that port.
  if (context.config.metricsPort === undefined) app.register(metrics)
  if (logger.level === 'debug' || logger.level === 'trace') logRequests(app)
  return app
}

/** Logs one line per request, without the query and headers, which may be confidential. */
function logRequests(app: FastifyInstance): void {
  app.addHook('onResponse', (request, reply, done) => {
    const path = loggedPath(request.url)
    const ms = Math.round(reply.elapsedTime * 10) / 10
    request.log.debug(
      { reqId: request.id, method: request.method, path, status: reply.statusCode, ms },
      'request',
    )
    done()
  })
}
