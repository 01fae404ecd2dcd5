// HMAC (RFC 2104) by two one-shot hashes, which take half the time of an `Hmac` object of node:crypto.

import { hash } from 'node:crypto'

/** Bytes of a hash function's block (RFC 4868 section 2.1.1). */
const BLOCK_BYTES = { sha256: 64, sha384: 128, sha512: 128 } as const

export type HashName = keyof typeof BLOCK_BYTES

/** Prepares a key once. Returns a function that computes the code of a text in UTF-8. */
export function hmacWith(name: HashName, secret: Buffer): (text: string) => Buffer {
  const key = Buffer.alloc(BLOCK_BYTES[name])
  ;(secret.length > key.length ? digestOf(name, secret) : secret).copy(key)
  const inner = key.map(byte => byte ^ 0x36)
  const outer = key.map(byte => byte ^ 0x5c)
  return text => {
    const digest = digestOf(name, Buffer.concat([inner, Buffer.from(text)]))
    return digestOf(name, Buffer.concat([outer, digest]))
  }
}

/** Goes through a string, which is faster than `hash` with the encoding `buffer`. */
function digestOf(name: HashName, data: Buffer): Buffer {
  return Buffer.from(hash(name, data, 'binary'), 'binary')
}
