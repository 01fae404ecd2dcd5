// Pusher's signatures: HMAC-SHA256 with an app's secret, in hexadecimal.

import { createHmac, hash, timingSafeEqual } from 'node:crypto'
import type { App } from '../../broker/access/apps.ts'
import { FanwireError } from '../../errors.ts'

/** How far a signed request's clock may be off, seconds. */
const CLOCK_S = 600

function isSigned(secret: string, text: string, signature: string): boolean {
  const expected = createHmac('sha256', secret).update(text).digest()
  const given = Buffer.from(signature, 'hex')
  return given.length === expected.length && timingSafeEqual(given, expected)
}

/** Raises FW_UNAUTHORIZED unless `auth` is `<key>:<signature of the text>`. */
export function requireSigned({ key, secret }: App, auth: unknown, text: string): void {
  const given = typeof auth === 'string' && auth.startsWith(`${key}:`) ? auth.slice(key.length + 1) : ''
  if (!isSigned(secret, text, given)) throw unauthorized('auth is not a valid signature of the app')
}

export interface SignedRequest {
  readonly method: string
  /** The URL as it was sent. */
  readonly url: string
  /** The decoded query. */
  readonly query: Readonly<Record<string, string | string[]>>
}

/** Raises FW_UNAUTHORIZED if a request to the API has no recent signature of the app. */
export function requireSignedRequest(
  app: App,
  { method, url, query }: SignedRequest,
  now = Date.now(),
): void {
  const { auth_key: key, auth_timestamp: time, auth_version: version, auth_signature: signature } = query
  if (key !== app.key) throw unauthorized('auth_key is not the key of the app')
  if (version !== '1.0') throw unauthorized('auth_version is not 1.0')
  if (!(Math.abs(Number(time) - now / 1000) <= CLOCK_S))
    throw unauthorized(`auth_timestamp is more than ${CLOCK_S} s from the clock of the node`)
  const [path = '', raw = ''] = url.split('?', 2)
  // Some libraries sign the encoded query, others the decoded one.
  const sent = raw.split('&').map(pair => pair.split('=', 2) as [string, string?])
  const decoded = Object.entries(query).map(([name, value]) => [name, String(value)] as [string, string])
  const given = typeof signature === 'string' ? signature : ''
  const signed = [decoded, sent].some(pairs =>
    isSigned(app.secret, `${method}\n${path}\n${printPairs(pairs)}`, given),
  )
  if (!signed) throw unauthorized('auth_signature does not match the request')
}

/** Raises FW_UNAUTHORIZED if the body is not the signed one. */
export function requireSignedBody({ query }: SignedRequest, body: Buffer): void {
  if (query.body_md5 !== hash('md5', body)) throw unauthorized('body_md5 does not match the body')
}

function printPairs(pairs: readonly (readonly [string, string?])[]): string {
  return pairs
    .filter(([name]) => name !== 'auth_signature')
    .map(([name, value = '']) => [name.toLowerCase(), value] as const)
    .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
    .map(pair => pair.join('='))
    .join('&')
}

function unauthorized(message: string): FanwireError {
  return new FanwireError('FW_UNAUTHORIZED', message)
}
