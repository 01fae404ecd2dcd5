// Fastify's options for every server of a node: limits, timeouts, and no error texts of Fastify's own.

import { randomBytes } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import type { IncomingHttpHeaders as Http2Headers } from 'node:http2'
import Fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyServerOptions,
  LogController,
} from 'fastify'
import type { Context } from './context.ts'
import { MAX_HEADERS_BYTES, MAX_URL_BYTES, sendError } from './errors.ts'
import { refuseMalformed } from './node/malformed.ts'
import { route } from './route.ts'
import { originForm } from './target.ts'

/** Random, so that ids of several nodes differ. */
const NODE = randomBytes(4).toString('hex')
const REQUEST_ID = /^[\w.:=+/-]{1,64}$/
let requests = 0

/** The proxy's request id, if it is safe in a log; otherwise a new one. */
function requestId({ headers }: { headers: IncomingHttpHeaders | Http2Headers }): string {
  const given = headers['x-request-id']
  if (typeof given === 'string' && REQUEST_ID.test(given)) return given
  return `${NODE}-${(++requests).toString(36)}`
}

/** Takes everything as it is. The types ask for Ajv and fast-json-stringify, which Fastify would load otherwise. */
const NO_COMPILERS = {
  compilersFactory: {
    buildValidator: () => () => () => true,
    buildSerializer: () => () => (body: unknown) => JSON.stringify(body),
  },
} as object as NonNullable<FastifyServerOptions['schemaController']>

export function createFastify(context: Context, logger: FastifyBaseLogger): FastifyInstance {
  const app: FastifyInstance = Fastify({
    loggerInstance: logger,
    logController: new LogController({ disableRequestLogging: true }),
    rewriteUrl: originForm,
    genReqId: requestId,
    // Few requests log anything, and those lines have the request's id.
    childLoggerFactory: parent => parent,
    // As long as any URL, so that a name that is too long gets its own error instead of 404.
    routerOptions: { maxParamLength: MAX_URL_BYTES },
    bodyLimit: context.config.maxBody,
    // Longer than load balancers keep idle connections, so that they close first.
    keepAliveTimeout: 72_000,
    // A bulk publish may take any time; headers may not.
    requestTimeout: 0,
    http: {
      maxHeaderSize: MAX_HEADERS_BYTES,
      // Node would reject the request without an error code; target.ts checks the header.
      requireHostHeader: false,
      headersTimeout: 60_000,
      connectionsCheckingInterval: 10_000,
      // TCP notices a peer that vanished silently.
      keepAlive: true,
      keepAliveInitialDelay: 30_000,
    },
    forceCloseConnections: true,
    return503OnClosing: false,
    exposeHeadRoutes: false,
    clientErrorHandler: refuseMalformed,
    frameworkErrors: (error, request, reply) => void sendError(error, request, reply),
    // Schemas are for query.ts and OpenAPI: faults of a request are reported with our error codes.
    schemaController: NO_COMPILERS,
  })
  // Each route declares which bodies it accepts.
  app.removeAllContentTypeParsers()
  app.decorate('fanwire', context)
  app.register(route)
  return app
}
