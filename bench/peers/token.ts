// Tokens for a node, and the setting that makes it accept them.

import { createHmac, randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'

const segment = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
const CAPS = [{ channels: ['*'], allow: ['sub', 'pub', 'hst'] }]

export interface TokenIssuer {
  /** Issues a token of a user that is valid for an hour. */
  issue(user: string): string
  readonly env: Record<string, string>
}

export function tokenIssuer(dir: string): TokenIssuer {
  const secret = randomBytes(32)
  const file = join(dir, 'keys.json')
  const key = { kty: 'oct', kid: 'bench', alg: 'HS256', k: secret.toString('base64url') }
  writeFileSync(file, JSON.stringify({ keys: [key] }))
  const iat = Math.floor(Date.now() / 1000)
  return {
    env: { FANWIRE_JWT_KEYS_FILE: file },
    issue: user => {
      const claims = { sub: user, iat, exp: iat + 3600, caps: CAPS }
      const input = `${segment({ alg: 'HS256', kid: 'bench' })}.${segment(claims)}`
      return `${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`
    },
  }
}
