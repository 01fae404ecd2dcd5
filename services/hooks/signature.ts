// Signatures of Standard Webhooks (https://www.standardwebhooks.com): HMAC-SHA256 of id, time and body.

import { createHmac } from 'node:crypto'

const SECRET_PREFIX = 'whsec_'

/** The headers of a message, signed with each of the secrets, so that one can replace another. */
export function signedHeaders(
  secrets: readonly string[],
  id: string,
  body: string,
  now = Date.now(),
): Record<string, string> {
  const timestamp = `${Math.floor(now / 1000)}`
  const signatures = secrets.map(secret => {
    const key = Buffer.from(secret.slice(SECRET_PREFIX.length), 'base64')
    return `v1,${createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64')}`
  })
  return {
    'webhook-id': id,
    'webhook-timestamp': timestamp,
    ...(signatures.length > 0 && { 'webhook-signature': signatures.join(' ') }),
  }
}
