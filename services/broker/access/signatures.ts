// Signatures of tokens (RFC 7518 section 3), by keys that are made ready once: to read a public key from its text for each
// token would cost more than the signature.

import {
  constants,
  createHmac,
  type KeyObject,
  timingSafeEqual,
  verify,
  type VerifyKeyObjectInput,
} from 'node:crypto'

/** Whether a signature is that of the text. Does not raise. */
export type Verify = (text: string, signature: Buffer) => boolean

/** The one check that goes with a key's algorithm: a token has no say in it. */
export function verifierOf(algorithm: string, key: KeyObject): Verify {
  const hash = `sha${algorithm.slice(2)}`
  switch (algorithm.slice(0, 2)) {
    case 'HS':
      return (text, signature) => {
        const right = createHmac(hash, key).update(text).digest()
        return right.length === signature.length && timingSafeEqual(right, signature)
      }
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

/** `hash` null: that of EdDSA. */
function bySignature(hash: string | null, key: VerifyKeyObjectInput): Verify {
  return (text, signature) => {
    try {
      return verify(hash, Buffer.from(text), key, signature)
    } catch {
      return false
    }
  }
}
