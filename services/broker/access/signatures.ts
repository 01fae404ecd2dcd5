// Signatures of tokens (RFC 7518 section 3), verified with keys that are prepared once: parsing a public key for each
// token would cost more than the signature.

import { constants, type KeyObject, timingSafeEqual, verify, type VerifyKeyObjectInput } from 'node:crypto'
import { type HashName, hmacWith } from './hmac.ts'

/** Returns whether a signature matches the text. Does not raise. */
export type Verify = (text: string, signature: Buffer) => boolean

/** The only check that fits a key's algorithm: a token can't influence it. */
export function verifierOf(algorithm: string, key: KeyObject): Verify {
  const hash = `sha${algorithm.slice(2)}`
  switch (algorithm.slice(0, 2)) {
    case 'HS':
      return byCode(hmacWith(hash as HashName, key.export()))
    case 'ES':
      return bySignature(hash, { key, dsaEncoding: 'ieee-p1363' })
    case 'RS':
      return bySignature(hash, { key, padding: constants.RSA_PKCS1_PADDING })
    case 'PS':
      return bySignature(hash, {
        key,
        padding: constants.RSA_PKCS1_PSS_PADDING,
        saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
      })
    default:
      return bySignature(null, { key })
  }
}

function byCode(codeOf: (text: string) => Buffer): Verify {
  return (text, signature) => {
    const right = codeOf(text)
    return right.length === signature.length && timingSafeEqual(right, signature)
  }
}

/** `hash` is null for EdDSA, which has its own. */
function bySignature(hash: string | null, key: VerifyKeyObjectInput): Verify {
  return (text, signature) => {
    try {
      return verify(hash, Buffer.from(text), key, signature)
    } catch {
      return false
    }
  }
}
