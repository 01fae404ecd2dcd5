// Cookies: a browser sends them with requests of any page, so they only count for requests from permitted pages.

import type { IncomingHttpHeaders } from 'node:http'
import type { FastifyRequest } from 'fastify'
import { FanwireError } from '../errors.ts'

/** How a browser loads a document, which no script of another page can imitate. */
const NAVIGATION = { mode: 'navigate', dest: 'document' } as const

/** The value of a cookie (RFC 6265 section 5.4). */
export function cookieOf({ cookie }: IncomingHttpHeaders, name: string): string | undefined {
  for (const pair of cookie?.split(';') ?? []) {
    const at = pair.indexOf('=')
    if (at !== -1 && pair.slice(0, at).trim() === name) return pair.slice(at + 1).trim() || undefined
  }
  return undefined
}

/** The cookies that contain tokens of Mercure's clients. */
export const MERCURE_TOKEN_COOKIES = ['__Secure-mercure_access_token', 'mercureAuthorization'] as const

/** The request's cookies without those that contain tokens, for the application; undefined if there are no others. */
export function showableCookiesOf({ headers, server }: FastifyRequest): string | undefined {
  const hidden: readonly (string | undefined)[] = [
    server.fanwire.config.tokenCookie,
    ...MERCURE_TOKEN_COOKIES,
  ]
  const shown = headers.cookie?.split(';').filter(pair => !hidden.includes(pair.split('=', 1)[0]?.trim()))
  return shown?.join(';').trim() || undefined
}

/**
 * Raises FW_FORBIDDEN_ORIGIN unless the request comes from a page of the node or of an origin that may read, or the user
 * navigates.
 */
export function requireOwnPage(request: FastifyRequest): void {
  const { headers, host, method, server } = request
  const { origin } = headers
  if (origin !== undefined && server.origins.mayBringCookies(origin, host)) return
  if (origin === undefined && (method === 'GET' || method === 'HEAD')) {
    const { 'sec-fetch-mode': mode, 'sec-fetch-dest': dest, 'sec-fetch-site': site } = headers
    if (mode === NAVIGATION.mode && dest === NAVIGATION.dest) return
    // Browsers send no Origin with a page's GET to its own origin.
    if (site === 'same-origin') return
  }
  throw new FanwireError(
    'FW_FORBIDDEN_ORIGIN',
    'a token in a cookie is accepted only from pages of the node and of FANWIRE_ORIGINS, and when the user navigates',
  )
}

/** Whether the application may receive the cookies: they come from a permitted page, or not from a browser. */
export function mayShowCookies(request: FastifyRequest): boolean {
  try {
    requireShowableCookies(request)
    return true
  } catch {
    return false
  }
}

/** Raises FW_FORBIDDEN_ORIGIN if the application would receive cookies of a foreign page. */
export function requireShowableCookies(request: FastifyRequest): void {
  const { origin, cookie, 'sec-fetch-site': site } = request.headers
  const fromNoPage = origin === undefined && (site === undefined || site === 'none')
  if (cookie === undefined || fromNoPage) return
  if (request.server.fanwire.access.asking?.headers.has('cookie') === true) requireOwnPage(request)
}
