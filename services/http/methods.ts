// Requests without a route: 404, 405 with the supported methods, OPTIONS, and URLs that are too long. They are answered
// before a body is read.

import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { FanwireError } from '../errors.ts'
import { MAX_URL_BYTES } from './errors.ts'

/** A route's path by segments; undefined matches any. */
interface Path {
  readonly segments: readonly (string | undefined)[]
  readonly methods: Set<string>
}

/** The methods of all registered routes, by path. */
class Paths {
  readonly #paths = new Map<string, Path>()

  add(url: string, methods: readonly string[]): void {
    const segments = url.split('/').map(each => (each.startsWith(':') ? undefined : each))
    const path = this.#paths.get(url) ?? { segments, methods: new Set() }
    for (const method of methods) path.methods.add(method)
    this.#paths.set(url, path)
  }

  /** `Allow` for a URL; undefined if there is no such path. */
  allow(url: string): string | undefined {
    const asked = pathOf(url).split('/')
    const allowed = new Set<string>()
    for (const { segments, methods } of this.#paths.values()) {
      if (fitAll(segments, asked)) for (const method of methods) allowed.add(method)
    }
    return allowed.size === 0 ? undefined : [...allowed.add('OPTIONS')].sort().join(', ')
  }
}

function pathOf(url: string): string {
  const query = url.indexOf('?')
  return query === -1 ? url : url.slice(0, query)
}

/** `*` at the end matches the rest. */
function fitAll(segments: Path['segments'], asked: readonly string[]): boolean {
  const open = segments.at(-1) === '*'
  const fixed = open ? segments.slice(0, -1) : segments
  if (open ? asked.slice(fixed.length).join('/') === '' : asked.length !== fixed.length) return false
  return fixed.every((each, i) => fit(each, asked[i]))
}

/** Whether a segment fits. An empty one is not a name: the path has an extra slash. */
function fit(segment: string | undefined, asked: string | undefined): boolean {
  if (segment === undefined) return asked !== ''
  if (segment === asked) return true
  try {
    return segment === decodeURIComponent(asked ?? '')
  } catch {
    return false
  }
}

export const methods = fp(
  async app => {
    const paths = new Paths()
    app.addHook('onRoute', ({ url, method }) => {
      if (url !== '*') paths.add(url, typeof method === 'string' ? [method] : method)
    })

    const nothing = ({ method, url }: FastifyRequest): FanwireError => {
      const allow = paths.allow(url)
      if (allow === undefined) {
        const path = pathOf(url)
        const slash = path.endsWith('/') && paths.allow(path.slice(0, -1)) !== undefined
        const hint = slash ? ': remove the slash at its end' : ''
        return new FanwireError('FW_NOT_FOUND', `there is nothing at this path${hint}`)
      }
      return new FanwireError(
        'FW_METHOD_NOT_ALLOWED',
        `this path does not support ${method}; it supports ${allow}`,
      )
    }

    app.addHook('onRequest', (request, reply, next) => {
      if (request.url.length > MAX_URL_BYTES) {
        throw new FanwireError('FW_URL_TOO_LONG', `the URL is longer than ${MAX_URL_BYTES} bytes`)
      }
      if (request.method === 'OPTIONS') {
        const allow = request.url === '*' ? 'GET, HEAD, OPTIONS, POST' : paths.allow(request.url)
        if (allow !== undefined) return void reply.code(204).header('allow', allow).send()
      } else if (
        !request.is404 &&
        !(pathOf(request.url).endsWith('/') && paths.allow(request.url) === undefined)
      )
        return next()
      const error = nothing(request)
      if (error.statusCode === 405) reply.header('allow', paths.allow(request.url))
      throw error
    })

    // Never reached, since the hook above comes first; kept so that Fastify's own texts can't appear.
    app.setNotFoundHandler(request => {
      throw nothing(request)
    })
  },
  { name: 'fanwire-methods', dependencies: ['fanwire-errors'], fastify: '5.x' },
)
