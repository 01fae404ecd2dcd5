// A cache of verified tokens, so that signatures are not verified at every poll. Times and revocations are checked every
// time.

import { ownCopy } from '../event/names.ts'
import type { Claims, Refused } from './claims.ts'
import type { Grants } from './grants.ts'
import type { TokenKeys } from './jwks.ts'

export interface Opened {
  readonly ok: true
  readonly claims: Claims
  /** Its grants to a connection, or why it can't open one. */
  readonly grants: readonly Grants[] | Refused
}

/** A token is dropped when it was unused for between once and twice this time, ms. */
export const KEPT_MS = 30_000

/** The number of fingerprints that are kept of tokens that came once. */
const FINGERPRINTS = 2 ** 14

/**
 * Serves polling clients: a token is kept when it comes for the second time. Most tokens open one connection that stays,
 * so keeping those would cost each of them time and memory.
 */
export class VerifiedTokens {
  /** Keyed by token: a digest would cost more than it saves. */
  #latest = new Map<string, Opened>()
  #earlier = new Map<string, Opened>()
  /** The total length of the tokens in `#latest`. */
  #characters = 0
  readonly #most: number
  #keys: TokenKeys | undefined
  #timer: NodeJS.Timeout | undefined
  /** Fingerprints of verified tokens, by their lowest bits. */
  readonly #fingerprints = new Uint32Array(FINGERPRINTS)

  /** Keeps tokens of at most that many characters in total. */
  constructor(mostCharacters: number) {
    this.#most = mostCharacters
  }

  get size(): number {
    return this.#latest.size + this.#earlier.size
  }

  /** The token's result from `open`, which is called only if the token is not known yet. */
  get(token: string, keys: TokenKeys, open: () => Opened | Refused): Opened | Refused {
    this.#follow(keys)
    if (token.length > this.#most / 2) return open()
    const kept = this.#latest.get(token) ?? this.#again(token)
    if (kept !== undefined) return kept
    const opened = open()
    if (opened.ok && this.#cameBefore(token)) this.#keep(token, opened)
    return opened
  }

  /** Whether a token has the fingerprint of an earlier one. A wrong answer costs time or memory only. */
  #cameBefore(token: string): boolean {
    const fingerprint = fingerprintOf(token)
    const slot = fingerprint % FINGERPRINTS
    const before = this.#fingerprints[slot] === fingerprint
    this.#fingerprints[slot] = fingerprint
    return before
  }

  /** Drops all tokens when the keys change, since the new keys may not verify them. */
  #follow(keys: TokenKeys): void {
    if (keys === this.#keys) return
    this.#keys = keys
    this.#turn()
    this.#turn()
  }

  #again(token: string): Opened | undefined {
    const kept = this.#earlier.get(token)
    if (kept === undefined) return undefined
    this.#earlier.delete(token)
    this.#keep(token, kept)
    return kept
  }

  #keep(token: string, opened: Opened): void {
    if (this.#characters + token.length > this.#most / 2) this.#turn()
    this.#latest.set(ownCopy(token), opened)
    this.#characters += token.length
    this.#timer ??= setInterval(() => this.#turn(), KEPT_MS).unref()
  }

  /** Drops the tokens that were not used since the last turn. */
  #turn(): void {
    this.#earlier = this.#latest
    this.#latest = new Map()
    this.#characters = 0
    if (this.#earlier.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }
}

/** 32 bits of the end of a token's signature, which is as good as random. */
function fingerprintOf(token: string): number {
  let bits = 0
  for (let i = Math.max(0, token.length - 11); i < token.length; i++)
    bits = Math.imul(bits, 61) + token.charCodeAt(i)
  return bits >>> 0
}
