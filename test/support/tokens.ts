// Tokens for tests, signed by node:crypto alone, so that the tested code does not test itself; and their key sets.

import {
  constants,
  createHmac,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign as signData,
} from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

export interface TestKey {
  readonly kid: string
  readonly alg: string
  /** For a key set: public, or a secret of kind `oct`. */
  readonly jwk: Record<string, unknown>
  sign(input: string): Buffer
}

const HASH = (alg: string) => `sha${alg.slice(2)}`
const CURVES: Readonly<Record<string, string>> = { ES256: 'P-256', ES384: 'P-384', ES512: 'P-521' }

/** A new key of that algorithm. `members` go into its entry of the key set, such as `iss` and `aud`. */
export function testKey(
  alg: string,
  kid = alg.toLowerCase(),
  members: Record<string, unknown> = {},
): TestKey {
  if (alg.startsWith('HS')) return secretKey(alg, kid, members, randomBytes(64))
  const { publicKey, privateKey } = pairOf(alg)
  return {
    kid,
    alg,
    jwk: { ...publicKey.export({ format: 'jwk' }), kid, alg, use: 'sig', ...members },
    sign: input => signWith(alg, privateKey, Buffer.from(input)),
  }
}

/** An HS key of a given secret. */
export function secretKey(
  alg: string,
  kid: string,
  members: Record<string, unknown>,
  secret: Uint8Array | string,
): TestKey {
  return {
    kid,
    alg,
    jwk: { kty: 'oct', k: Buffer.from(secret).toString('base64url'), kid, alg, ...members },
    sign: input => createHmac(HASH(alg), secret).update(input).digest(),
  }
}

function pairOf(alg: string): { publicKey: KeyObject; privateKey: KeyObject } {
  const namedCurve = CURVES[alg]
  if (namedCurve !== undefined) return generateKeyPairSync('ec', { namedCurve })
  return alg === 'EdDSA' ? generateKeyPairSync('ed25519') : rsaPair()
}

const RSA_KEYS = join(import.meta.dirname, '../../.cache/test-keys')
let rsaPairs = 0

/** An RSA key pair that is new in this process. Files cache pairs, because generating one takes 250 ms. */
function rsaPair(): { publicKey: KeyObject; privateKey: KeyObject } {
  const path = join(RSA_KEYS, `${++rsaPairs}.pem`)
  let privateKey: KeyObject
  try {
    privateKey = createPrivateKey(readFileSync(path))
  } catch {
    privateKey = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey
    mkdirSync(RSA_KEYS, { recursive: true })
    writeFileSync(`${path}.${process.pid}`, privateKey.export({ type: 'pkcs8', format: 'pem' }))
    renameSync(`${path}.${process.pid}`, path)
  }
  return { publicKey: createPublicKey(privateKey), privateKey }
}

function signWith(alg: string, key: KeyObject, data: Buffer): Buffer {
  if (alg === 'EdDSA') return signData(null, data, key)
  if (alg.startsWith('ES')) return signData(HASH(alg), data, { key, dsaEncoding: 'ieee-p1363' })
  if (alg.startsWith('RS')) return signData(HASH(alg), data, key)
  return signData(HASH(alg), data, {
    key,
    padding: constants.RSA_PKCS1_PSS_PADDING,
    saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
  })
}

export function jwks(...keys: readonly TestKey[]): string {
  return JSON.stringify({ keys: keys.map(({ jwk }) => jwk) })
}

/** A token. `header` replaces members of the usual one; undefined leaves one out. */
export function signToken(key: TestKey, claims: unknown, header: Record<string, unknown> = {}): string {
  const input = `${segment({ typ: 'JWT', alg: key.alg, kid: key.kid, ...header })}.${segment(claims)}`
  return `${input}.${key.sign(input).toString('base64url')}`
}

/** One part of a token: JSON, or the text itself. */
export function segment(value: unknown): string {
  return Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')
}

/** Claims of a user, good for an hour. `now`: ms. */
export function userClaims(
  sub: string,
  more: Record<string, unknown> = {},
  now = Date.now(),
): Record<string, unknown> {
  const iat = Math.floor(now / 1000)
  return { sub, iat, exp: iat + 3600, ...more }
}
