// HMAC (RFC 2104) by two one-shot hashes, which take half the time of an `Hmac` object of node:crypto.

import { hash } from 'node:crypto'

/** Bytes of a hash function's block (RFC 4868 section 2.1.1). */
const BLOCK_BYTES = { sha256: 64, sha384: 128, sha512: 128 } as const

export type HashName = keyof typeof BLOCK_BYTES

/** Texts of at most this many bytes are hashed where they are written, without a copy. */
const SCRATCH_BYTES = 2 ** 12
const scratch = Buffer.alloc(SCRATCH_BYTES)

/** Prepares a key once. Returns a function that computes the code of a text in UTF-8. */
export function hmacWith(name: HashName, secret: Buffer): (text: string) => Buffer {
  const block = BLOCK_BYTES[name]
  const key = Buffer.alloc(block)
  ;(secret.length > block ? digestOf(name, secret) : secret).copy(key)
  const inner = key.map(byte => byte ^ 0x36)
  const outer = key.map(byte => byte ^ 0x5c)
  const withInner = (text: string): Buffer => {
    // A character has at most three bytes.
    if (block + 3 * text.length > SCRATCH_BYTES) return Buffer.concat([inner, Buffer.from(text)])
    scratch.set(inner)
    return scratch.subarray(0, block + scratch.write(text, block))
  }
  return text => {
    const digest = hash(name, withInner(text), 'binary')
    scratch.set(outer)
    const end = block + scratch.write(digest, block, 'binary')
    return digestOf(name, scratch.subarray(0, end))
  }
}

/** Goes through a string, which is faster than `hash` with the encoding `buffer`. */
function digestOf(name: HashName, data: Buffer): Buffer {
  return Buffer.from(hash(name, data, 'binary'), 'binary')
}
