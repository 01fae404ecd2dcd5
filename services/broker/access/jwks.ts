// Keys that verify tokens, from a JWKS (RFC 7517): each is bound to one algorithm, and to `iss` and `aud` if it has
// them.

import { createPublicKey, createSecretKey, hash, type JsonWebKey, type KeyObject } from 'node:crypto'
import { isObject } from '../event/json-values.ts'
import { quote } from '../../errors.ts'
import { BadFileError, readJson } from '../files/bad-file.ts'
import { isStrings } from './grants.ts'
import { type Verify, verifierOf } from './signatures.ts'

const SECRET_BYTES = { HS256: 32, HS384: 48, HS512: 64 } as const
const CURVES = { ES256: 'P-256', ES384: 'P-384', ES512: 'P-521' } as const
const RSA_ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'] as const
const LEAST_RSA_BITS = 2048

export type Algorithm =
  | keyof typeof SECRET_BYTES
  | keyof typeof CURVES
  | (typeof RSA_ALGORITHMS)[number]
  | 'EdDSA'

export interface TokenKey {
  /** A hash of the key, the same on all nodes. It reveals no more of a secret than any token does. */
  readonly id: string
  readonly kid: string | undefined
  readonly algorithm: Algorithm
  /** The token's `iss` must equal it. */
  readonly issuer: string | undefined
  /** The token's `aud` must have one of them. */
  readonly audiences: readonly string[] | undefined
  /** Whether this key and algorithm signed a token's first two parts. */
  readonly verify: Verify
}

/** Finds keys by a token's header. */
export interface TokenKeys {
  /**
   * The key with that `kid`; without a `kid`, the only key of that algorithm. The algorithm that a token names can only
   * select a key that is bound to it.
   */
  find(kid: string | undefined, algorithm: string): TokenKey | undefined
  /** Whether a key has that id. */
  has(id: string): boolean
  readonly size: number
}

/** Options for reading a key set. A provider's published set may contain keys for other uses, but no secrets. */
export interface JwksOptions {
  readonly published?: boolean
  /** Used for keys without an `iss`. */
  readonly issuer?: string | undefined
  /** Used for keys without an `aud`. */
  readonly audiences?: readonly string[] | undefined
}

export const NO_KEYS: TokenKeys = { find: () => undefined, has: () => false, size: 0 }

/**
 * Parses a JWKS. Raises a `BadFileError` that names key and member. In a published set (RFC 7517 section 5), keys that
 * are malformed or unusable here are ignored.
 */
export function parseJwks(text: string, options: JwksOptions = {}): TokenKeys {
  const list = readSet(text)
  const read: TokenKey[] = []
  for (const [index, jwk] of list.entries()) {
    try {
      read.push(readKey(`keys[${index}]`, jwk, options))
    } catch (error) {
      if (options.published !== true) throw error
    }
  }
  return tokenKeys(read, options.published === true)
}

function readSet(text: string): unknown[] {
  const set = readJson(text, 'the key set')
  const keys = isObject(set) ? set.keys : undefined
  if (!Array.isArray(keys)) throw new BadFileError('the key set is not an object with a list `keys`')
  return keys
}

function tokenKeys(list: readonly TokenKey[], published: boolean): TokenKeys {
  const byKid = new Map<string, TokenKey>()
  const byAlgorithm = new Map<string, TokenKey[]>()
  for (const [index, key] of list.entries()) {
    if (key.kid !== undefined && byKid.has(key.kid)) {
      if (published) continue
      throw new BadFileError(`keys[${index}].kid: an earlier key has the same`)
    }
    if (key.kid !== undefined) byKid.set(key.kid, key)
    byAlgorithm.set(key.algorithm, [...(byAlgorithm.get(key.algorithm) ?? []), key])
  }
  for (const [algorithm, keys] of byAlgorithm) {
    if (keys.length > 1 && keys.some(({ kid }) => kid === undefined) && !published) {
      throw new BadFileError(
        `keys: each of several ${algorithm} keys needs a kid, so that tokens can name it`,
      )
    }
  }
  const ids = new Set(list.map(({ id }) => id))
  return {
    size: list.length,
    has: id => ids.has(id),
    find: (kid, algorithm) => {
      if (kid !== undefined) return byKid.get(kid)
      const [only, second] = byAlgorithm.get(algorithm) ?? []
      return second === undefined ? only : undefined
    },
  }
}

function readKey(name: string, jwk: unknown, { published, issuer, audiences }: JwksOptions): TokenKey {
  if (!isObject(jwk)) throw new BadFileError(`${name}: is not an object`)
  const { kid, use, key_ops: operations, iss = issuer, aud = audiences } = jwk
  if (kid !== undefined && (typeof kid !== 'string' || kid === '')) {
    throw new BadFileError(`${name}.kid: is not a string`)
  }
  if (use !== undefined && use !== 'sig') throw new BadFileError(`${name}.use: is not "sig"`)
  if (operations !== undefined && !(isStrings(operations) && operations.includes('verify'))) {
    throw new BadFileError(`${name}.key_ops: has no "verify"`)
  }
  if (iss !== undefined && typeof iss !== 'string') throw new BadFileError(`${name}.iss: is not a string`)
  if (jwk.kty === 'oct' && published === true) {
    throw new BadFileError(`${name}: is a secret in a published key set`)
  }
  const { algorithm, key } = readMaterial(name, jwk, published === true)
  return {
    id: idOf(algorithm, key),
    kid,
    algorithm,
    issuer: iss,
    audiences: aud === undefined ? undefined : readAudiences(`${name}.aud`, aud),
    verify: verifierOf(algorithm, key),
  }
}

function idOf(algorithm: Algorithm, key: KeyObject): string {
  const bytes = key.type === 'secret' ? key.export() : Buffer.from(pemOf(key))
  return hash('sha256', Buffer.concat([Buffer.from(`${algorithm} `), bytes]), 'base64url').slice(0, 16)
}

function pemOf(key: KeyObject): string {
  return key.export({ type: 'spki', format: 'pem' }).toString()
}

function readAudiences(name: string, value: unknown): readonly string[] {
  const list = typeof value === 'string' ? [value] : value
  if (!isStrings(list) || list.length === 0) {
    throw new BadFileError(`${name}: is neither a string nor a list of strings`)
  }
  return list
}

function readMaterial(
  name: string,
  jwk: Record<string, unknown>,
  guess: boolean,
): { algorithm: Algorithm; key: KeyObject } {
  const { kty } = jwk
  if (kty === 'oct') return readSecret(name, jwk)
  if (kty !== 'RSA' && kty !== 'EC' && kty !== 'OKP') {
    throw new BadFileError(`${name}.kty: is not one of oct, RSA, EC, OKP`)
  }
  if ('d' in jwk) throw new BadFileError(`${name}: is a private key; only its public half belongs here`)
  const algorithm = algorithmOf(name, jwk, guess)
  const key = publicKey(name, jwk)
  if (kty === 'RSA' && (key.asymmetricKeyDetails?.modulusLength ?? 0) < LEAST_RSA_BITS) {
    throw new BadFileError(`${name}.n: an RSA key has at least ${LEAST_RSA_BITS} bits`)
  }
  return { algorithm, key }
}

/** A secret must be at least as long as the hash (RFC 7518 section 3.2). */
function readSecret(
  name: string,
  { alg, k }: Record<string, unknown>,
): { algorithm: Algorithm; key: KeyObject } {
  const algorithm = (Object.keys(SECRET_BYTES) as (keyof typeof SECRET_BYTES)[]).find(known => known === alg)
  if (algorithm === undefined) {
    throw new BadFileError(`${name}.alg: an oct key needs HS256, HS384 or HS512`)
  }
  if (typeof k !== 'string' || !/^[A-Za-z0-9_-]+$/.test(k))
    throw new BadFileError(`${name}.k: is not base64url`)
  const secret = Buffer.from(k, 'base64url')
  const least = SECRET_BYTES[algorithm]
  if (secret.length < least) {
    throw new BadFileError(`${name}.k: has ${secret.length} bytes; ${algorithm} needs at least ${least}`)
  }
  return { algorithm, key: createSecretKey(secret) }
}

/** `alg`, which must match the key's type. If a provider omits it: RS256, or the only algorithm of the curve. */
function algorithmOf(name: string, { alg, kty, crv }: Record<string, unknown>, guess: boolean): Algorithm {
  const possible = possibleAlgorithms(kty, crv)
  if (alg === undefined && guess && possible[0] !== undefined) return possible[0]
  const algorithm = possible.find(known => known === alg)
  if (algorithm !== undefined) return algorithm
  const kind = [kty, crv].filter(part => typeof part === 'string').join(' ')
  throw new BadFileError(
    possible.length === 0
      ? `${name}.crv: ${quote(kind)} keys are not supported`
      : `${name}.alg: ${alg === undefined ? 'is missing' : quote(alg)}; a key of ${quote(kind)} needs ${possible.join(' or ')}`,
  )
}

function possibleAlgorithms(kty: unknown, crv: unknown): readonly Algorithm[] {
  if (kty === 'RSA') return RSA_ALGORITHMS
  if (kty === 'OKP') return crv === 'Ed25519' ? ['EdDSA'] : []
  return (Object.keys(CURVES) as (keyof typeof CURVES)[]).filter(algorithm => CURVES[algorithm] === crv)
}

function publicKey(name: string, jwk: Record<string, unknown>): KeyObject {
  try {
    return createPublicKey({ key: jwk as JsonWebKey, format: 'jwk' })
  } catch {
    throw new BadFileError(`${name}: the key itself is malformed`)
  }
}
