// Signatures of Standard Webhooks (https://www.standardwebhooks.com): HMAC-SHA256 of id, time and body.

import { createHmac, timingSafeEqual } from 'node:crypto'

const SECRET_PREFIX = 'whsec_'
/** How far a signature's time may be from now, s. */
const TOLERANCE_S = 300

type Headers = Readonly<Record<string, string | string[] | undefined>>

/** The headers of a message, with a signature for each secret, so that secrets can be rotated. */
export function signedHeaders(
  secrets: readonly string[],
  id: string,
  body: string,
  now = Date.now(),
): Record<string, string> {
  const timestamp = `${Math.floor(now / 1000)}`
  const signatures = secrets.map(secret => signatureOf(secret, id, timestamp, body))
  return {
    'webhook-id': id,
    'webhook-timestamp': timestamp,
    ...(signatures.length > 0 && { 'webhook-signature': signatures.join(' ') }),
  }
}

/** Why the signature of the response to that message is invalid; undefined if it is valid. */
export function signatureFault(
  secrets: readonly string[],
  id: string,
  headers: Headers,
  body: Buffer,
  now = Date.now(),
): string | undefined {
  const { 'webhook-id': given, 'webhook-timestamp': timestamp, 'webhook-signature': signatures } = headers
  if (typeof signatures !== 'string' || typeof timestamp !== 'string') return 'the answer is not signed'
  if (given !== id) return 'the answer is signed for another question'
  if (!(Math.abs(now / 1000 - Number(timestamp)) <= TOLERANCE_S)) return "the answer's signature is too old"
  const expected = secrets.map(secret => Buffer.from(signatureOf(secret, id, timestamp, body.toString())))
  const isRight = signatures.split(' ').some(signature => {
    const found = Buffer.from(signature)
    return expected.some(each => each.length === found.length && timingSafeEqual(each, found))
  })
  return isRight ? undefined : "the answer's signature is wrong"
}

function signatureOf(secret: string, id: string, timestamp: string, body: string): string {
  const key = Buffer.from(secret.slice(SECRET_PREFIX.length), 'base64')
  return `v1,${createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64')}`
}
