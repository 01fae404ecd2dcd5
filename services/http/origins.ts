// Which browser pages may read (CORS), open a WebSocket and publish, by the origin that their browser names.

import cors, { type FastifyCorsOptions } from '@fastify/cors'
import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { type Config, isLoopbackHost } from '../config.ts'
import { FanwireError } from '../errors.ts'

declare module 'fastify' {
  interface FastifyInstance {
    readonly originRule: OriginRule
  }
}

/** Whether a browser page of `origin` may talk to a node that it addressed as `host`. */
export type OriginRule = (origin: string, host: string | undefined) => boolean

export function originRule({ origins, host: listensOn }: Pick<Config, 'origins' | 'host'>): OriginRule {
  if (origins?.includes('*')) return () => true
  const canonical = (origin: string) => (URL.canParse(origin) ? new URL(origin) : undefined)
  if (origins !== undefined) return origin => origins.includes(canonical(origin)?.origin ?? '')
  if (isLoopbackHost(listensOn)) {
    return origin => {
      const url = canonical(origin)
      return url !== undefined && /^https?:$/.test(url.protocol) && isLoopbackHost(url.hostname)
    }
  }
  // One's own: the page came from where it now asks. Not on loopback, since any name can be made to lead there.
  return (origin, host) => {
    const url = canonical(origin)
    if (url === undefined || host === undefined || !/^https?:$/.test(url.protocol)) return false
    return url.host === canonical(`${url.protocol}//${host}`)?.host
  }
}

const PREFLIGHT = {
  methods: 'GET, HEAD, POST',
  allowedHeaders: 'Authorization, Content-Type, Idempotency-Key, If-None-Match, Last-Event-ID',
  maxAge: 600,
  strictPreflight: false,
}
const EXPOSED = 'ETag, Idempotency-Replayed, Retry-After'

/** Whether the page that sent this may do what pages may. Browsers send an `Origin`; who sends none is no page. */
function mayOriginate({ headers, server, host }: FastifyRequest): boolean {
  return headers.origin === undefined || server.originRule(headers.origin, host)
}

/** An onRequest hook for what a foreign page may not even send. Raises FW_FORBIDDEN_ORIGIN. */
async function requireOrigin(request: FastifyRequest): Promise<void> {
  if (mayOriginate(request)) return
  throw new FanwireError(
    'FW_FORBIDDEN_ORIGIN',
    'a browser page of this origin may not do that; FANWIRE_ORIGINS lists those that may',
  )
}

export const origins = fp(
  async app => {
    const { config } = app.fanwire
    const all = config.origins?.includes('*') === true
    app.decorate('originRule', originRule(config))

    // For each request, so that `Vary: Origin` always goes with an answer that depends on it.
    await app.register(cors, {
      delegator: (request: FastifyRequest, callback: (error: null, options: FastifyCorsOptions) => void) => {
        const { origin } = request.headers
        const granted = origin !== undefined && mayOriginate(request)
        callback(null, {
          ...PREFLIGHT,
          origin: granted ? (all ? '*' : origin) : false,
          exposedHeaders: EXPOSED,
          preflight: request.headers['access-control-request-method'] !== undefined,
        })
      },
    })

    app.addHook('onRequest', async request => {
      if (request.routeOptions.config?.origin === 'required') await requireOrigin(request)
    })
  },
  { name: 'fanwire-origins', fastify: '5.x' },
)
