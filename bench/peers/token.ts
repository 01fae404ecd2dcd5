// A token that a node accepts, and the setting for it.

import { createHmac, randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'

const segment = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')

export function issueToken(dir: string): { readonly token: string; readonly env: Record<string, string> } {
  const secret = randomBytes(32)
  const file = join(dir, 'keys.json')
  const key = { kty: 'oct', kid: 'bench', alg: 'HS256', k: secret.toString('base64url') }
  writeFileSync(file, JSON.stringify({ keys: [key] }))
  const iat = Math.floor(Date.now() / 1000)
  const input = `${segment({ alg: 'HS256', kid: 'bench' })}.${segment({ sub: 'bench', iat, exp: iat + 3600 })}`
  const token = `${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`
  return { token, env: { FANWIRE_JWT_KEYS_FILE: file } }
}
