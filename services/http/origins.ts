// Which browser pages may read (CORS, Fetch section 3.3), open a WebSocket and publish, by the browser's `Origin`; and
// the names by which the node may be addressed.

import type { FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { Config } from '../config/config.ts'
import { canonicalOrigin, isLoopbackHost } from '../config/kinds.ts'
import { FanwireError } from '../errors.ts'

declare module 'fastify' {
  interface FastifyInstance {
    readonly origins: OriginRules
  }
}

/** Whether a browser page of `origin` has a permission on a node that it addressed as `host`. */
export type OriginRule = (origin: string, host: string | undefined) => boolean

export interface OriginRules {
  readonly mayRead: OriginRule
  readonly mayPublish: OriginRule
  /** Which pages may use the cookies of the browser's user: not all that may read. */
  readonly mayBringCookies: OriginRule
}

/** `origins` as in the settings, for a node that listens on a host. */
export function originRule(origins: readonly string[] | undefined, listensOn: string): OriginRule {
  if (origins?.includes('*')) return () => true
  if (origins !== undefined) return isListed(origins)
  if (isLoopbackHost(listensOn)) {
    return origin => {
      const url = webOrigin(origin)
      return url !== undefined && isLoopbackHost(url.hostname)
    }
  }
  // The node's own origin is allowed: the page came from the host that it now calls. But not on loopback, to which any
  // name can resolve.
  return (origin, host) => {
    const url = webOrigin(origin)
    return url !== undefined && url.origin === webOrigin(`${url.protocol}//${host ?? ''}`)?.origin
  }
}

export function originRules({ origins, publishOrigins, host }: Config): OriginRules {
  // If all origins may read, they may not necessarily publish.
  const publish = publishOrigins ?? (origins?.includes('*') ? undefined : origins)
  const named = origins?.filter(each => each !== '*') ?? []
  return {
    mayRead: remembered(originRule(origins, host)),
    mayPublish: remembered(originRule(publish, host)),
    mayBringCookies: remembered(originRule(named.length === 0 ? undefined : named, host)),
  }
}

/** Requests from pages come from a few origins, each of which would be parsed several times per request. */
const REMEMBERED = 100
const REMEMBERED_LENGTH = 256

function remembered(rule: OriginRule): OriginRule {
  const known = new Map<string, boolean>()
  return (origin, host = '') => {
    const both = `${origin} ${host}`
    if (both.length > REMEMBERED_LENGTH) return rule(origin, host)
    let may = known.get(both)
    if (may === undefined) {
      may = rule(origin, host)
      if (known.size >= REMEMBERED) known.clear()
      known.set(both, may)
    }
    return may
  }
}

/** Whether requests may address the node as `name`, which has no port. */
export function hostRule({ host, hosts, origins }: Config): (name: string) => boolean {
  const all = [...(hosts ?? []), ...(origins ?? []).map(each => each.replace(/^[^/]*\/\/|:\d+$/g, ''))]
  if (all.includes('*') || (hosts === undefined && !isLoopbackHost(host))) return () => true
  const isNamed = matcher(all)
  // The test for loopback takes longer.
  return name => isNamed(name.toLowerCase().replace(/\.$/, '')) || isLoopbackHost(name)
}

function webOrigin(origin: string): URL | undefined {
  const canonical = /^https?:/i.test(origin) ? canonicalOrigin(origin) : undefined
  return canonical === undefined ? undefined : new URL(canonical)
}

function isListed(origins: readonly string[]): (origin: string) => boolean {
  const matches = matcher(origins)
  return origin => matches(canonicalOrigin(origin) ?? '')
}

/** Whether a text matches one of `patterns`, in which one `*` matches any non-empty text. */
function matcher(patterns: readonly string[]): (text: string) => boolean {
  const exact = new Set(patterns)
  const open = patterns.filter(each => each.includes('*')).map(each => each.split('*'))
  return text =>
    exact.has(text) ||
    open.some(
      ([before = '', after = '']) =>
        text.length > before.length + after.length && text.startsWith(before) && text.endsWith(after),
    )
}

const EXPOSED = 'ETag, Idempotency-Replayed, Retry-After'
const METHODS = 'GET, HEAD, POST, DELETE'
/** Headers of Durable Streams, if they are enabled. */
const STREAMS_EXPOSED =
  ', Stream-Next-Offset, Stream-Cursor, Stream-Up-To-Date, Stream-Closed, Stream-TTL, Stream-Expires-At, ' +
  'Stream-SSE-Data-Encoding, Producer-Epoch, Producer-Seq, Producer-Expected-Seq, Producer-Received-Seq, Location'
/** Headers of Mercure. */
const HUB_EXPOSED = ', Mercure-Last-Event-ID, Last-Event-ID, Link'
const STREAMS_METHODS = ', PUT'
/** The methods for which a page needs an origin that may publish. */
const CHANGES: ReadonlySet<string> = new Set(['POST', 'PUT', 'DELETE'])
/** How long a browser may cache the answer to a preflight, seconds. */
const MAX_AGE = '600'

/**
 * Raises FW_FORBIDDEN_ORIGIN for requests that a foreign page may not even send. A request without `Origin` is not from
 * a page.
 */
function requireOrigin({ headers: { origin }, host, server }: FastifyRequest): void {
  if (origin === undefined || server.origins.mayRead(origin, host)) return
  throw new FanwireError(
    'FW_FORBIDDEN_ORIGIN',
    'a browser page of this origin may not do this; FANWIRE_ORIGINS lists the origins that may',
  )
}

export const origins = fp(
  async app => {
    const { config } = app.fanwire
    const rules = originRules(config)
    const all = config.origins?.includes('*') === true
    const listed = [...(config.origins ?? []), ...(config.publishOrigins ?? [])]
    const exposed =
      EXPOSED + (config.durableStreams ? STREAMS_EXPOSED : '') + (config.mercure ? HUB_EXPOSED : '')
    const methods = config.durableStreams ? METHODS + STREAMS_METHODS : METHODS
    const isKnown = isListed(listed.filter(each => each !== '*'))
    app.decorate('origins', rules)

    /** Lets a page of `origin` read the response. */
    const grant = (reply: FastifyReply, origin: string): void => {
      const known = isKnown(origin)
      reply.header('access-control-allow-origin', all && !known ? '*' : origin)
      // Arbitrary pages may not use credentials such as cookies.
      if (known) reply.header('access-control-allow-credentials', 'true')
      reply.header('access-control-expose-headers', exposed)
    }

    app.addHook('onRequest', (request, reply, next) => {
      // Set even without an `Origin`, since caches have to know that the response depends on it.
      reply.header('vary', 'Origin')
      const { headers, host, method } = request
      const { origin } = headers
      if (origin === undefined) return next()
      const asked = method === 'OPTIONS' ? headers['access-control-request-method'] : undefined
      const publishes = CHANGES.has(asked ?? method)
      if (rules.mayRead(origin, host) || (publishes && rules.mayPublish(origin, host))) {
        grant(reply, origin)
        if (asked !== undefined) return void allow(request, reply, methods)
      }
      if (request.route.origin === 'required') requireOrigin(request)
      next()
    })
  },
  { name: 'fanwire-origins', fastify: '5.x' },
)

/** Answers a preflight: the page may send the headers that it asks for. */
function allow({ headers }: FastifyRequest, reply: FastifyReply, methods: string): void {
  const asked = headers['access-control-request-headers']
  if (asked !== undefined) reply.header('access-control-allow-headers', asked)
  reply
    .code(204)
    .headers({
      vary: 'Origin, Access-Control-Request-Method, Access-Control-Request-Headers',
      'access-control-allow-methods': methods,
      'access-control-max-age': MAX_AGE,
    })
    .send()
}
