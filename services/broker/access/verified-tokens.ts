// A cache of verified tokens, so that signatures are not verified at every poll. Times and revocations are checked every
// time.

import { hash } from 'node:crypto'
import type { Claims, Refused } from './claims.ts'
import type { Grants } from './grants.ts'
import type { TokenKeys } from './jwks.ts'

export interface Opened {
  readonly ok: true
  readonly claims: Claims
  /** Its grants to a connection, or why it can't open one. */
  readonly grants: readonly Grants[] | Refused
}

interface Kept {
  readonly opened: Opened
  readonly characters: number
}

/** A token is dropped when it was unused for between once and twice this time, ms. */
export const KEPT_MS = 30_000

/** Serves polling clients. The token of a connection that stays open is dropped soon, which saves memory. */
export class VerifiedTokens {
  /** Keyed by digest: the tokens themselves are not kept. */
  #latest = new Map<string, Kept>()
  #earlier = new Map<string, Kept>()
  /** The total length of the tokens in `#latest`. */
  #characters = 0
  readonly #most: number
  #keys: TokenKeys | undefined
  #timer: NodeJS.Timeout | undefined

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
    const digest = hash('sha256', token, 'base64')
    const kept = this.#latest.get(digest) ?? this.#again(digest)
    if (kept !== undefined) return kept.opened
    const opened = open()
    if (opened.ok) this.#keep(digest, { opened, characters: token.length })
    return opened
  }

  /** Drops all tokens when the keys change, since the new keys may not verify them. */
  #follow(keys: TokenKeys): void {
    if (keys === this.#keys) return
    this.#keys = keys
    this.#turn()
    this.#turn()
  }

  #again(digest: string): Kept | undefined {
    const kept = this.#earlier.get(digest)
    if (kept === undefined) return undefined
    this.#earlier.delete(digest)
    this.#keep(digest, kept)
    return kept
  }

  #keep(digest: string, kept: Kept): void {
    if (this.#characters + kept.characters > this.#most / 2) this.#turn()
    this.#latest.set(digest, kept)
    this.#characters += kept.characters
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
