// The target of a request and the framing of its body: checks that RFC 9112 requires and Node's parser omits.

import type { IncomingMessage } from 'node:http'
import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { FanwireError } from '../errors.ts'
import { hostRule } from './origins.ts'

/** A host (RFC 3986 section 3.2.2) and an optional port. */
const HOST = /^(\[[0-9a-f:.]+\]|[\w.~!$&'()*+,;=%-]+)(?::\d{0,5})?$/i
const ABSOLUTE = /^https?:\/\/([^/?#]*)/i

/**
 * The target in origin-form: in absolute-form its host replaces `Host` (RFC 9112 section 3.2.2). Fastify calls this
 * before it looks for a route.
 */
export function originForm(request: Pick<IncomingMessage, 'url' | 'headers'>): string {
  const { url = '' } = request
  if (url.startsWith('/')) return url
  const [absolute, authority] = ABSOLUTE.exec(url) ?? []
  if (absolute === undefined) return url
  request.headers.host = authority
  const rest = url.slice(absolute.length)
  return rest.startsWith('/') ? rest : `/${rest}`
}

/**
 * A URL for logs: only its leading part with characters of paths. A query may contain secrets, and clients misplace the
 * `?`.
 */
export function loggedPath(url = ''): string {
  return /^[\w.:~@/-]*/.exec(url)?.[0] ?? ''
}

/** The name in `Host`, or over HTTP/2 in `:authority`; undefined if there is neither. Raises FW_BAD_REQUEST. */
function hostOf({ raw }: FastifyRequest): string | undefined {
  const { headers, rawHeaders, httpVersion } = raw
  let hosts = 0
  for (let i = 0; i < rawHeaders.length; i += 2) {
    if (rawHeaders[i]?.length === 4 && rawHeaders[i]?.toLowerCase() === 'host') hosts++
  }
  if (hosts > 1) throw new FanwireError('FW_BAD_REQUEST', 'the request has more than one Host header')
  const authority = headers[':authority']
  const host = headers.host ?? authority
  if (host === undefined) {
    if (httpVersion === '1.1') throw new FanwireError('FW_BAD_REQUEST', 'the request has no Host header')
    return undefined
  }
  const name = HOST.exec(String(host))?.[1]
  if (name === undefined || (authority ?? host) !== host) {
    throw new FanwireError('FW_BAD_REQUEST', 'the Host header is not a host with an optional port')
  }
  return name
}

export const target = fp(
  async app => {
    const isOurs = hostRule(app.fanwire.config)

    app.addHook('onRequest', (request, _reply, next) => {
      // The router ignores a fragment, but intermediaries may not.
      if (request.url.includes('#')) {
        throw new FanwireError('FW_BAD_REQUEST', 'the URL has a fragment, which is not for the server')
      }
      const coding = request.headers['transfer-encoding']
      if (coding !== undefined && coding.toLowerCase() !== 'chunked') {
        throw new FanwireError(
          'FW_TRANSFER_ENCODING',
          'a transfer coding other than chunked is not supported; send the body unencoded',
        )
      }
      const name = hostOf(request)
      // A page of any name may resolve to this node (DNS rebinding), and sends no `Origin` when it reads.
      if (name !== undefined && !isOurs(name) && request.route.anyHost !== true) {
        throw new FanwireError(
          'FW_FORBIDDEN_HOST',
          'this node does not accept the name in Host; FANWIRE_HOSTS lists the names that it accepts',
        )
      }
      next()
    })
  },
  { name: 'fanwire-target', dependencies: ['fanwire-errors'], fastify: '5.x' },
)
