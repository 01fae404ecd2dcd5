// Recently verified tokens: a verified signature stays valid, so that it is not checked at every poll. Times and
// revocation are checked every time.

import { hash } from 'node:crypto'
import type { Claims, Refused } from './claims.ts'
import type { Grants } from './grants.ts'
import type { TokenKeys } from './jwks.ts'

export interface Opened {
  readonly ok: true
  readonly claims: Claims
  /** What it grants a connection, or why it can't open one. */
  readonly grants: readonly Grants[] | Refused
}

interface Kept {
  readonly opened: Opened
  readonly characters: number
}

/** A token is forgotten if it is not used again for this long, or twice as long, ms. */
export const KEPT_MS = 30_000

/** For clients that ask again and again. The token of a connection that stays open is forgotten soon, which saves memory. */
export class VerifiedTokens {
  /** By digest: the tokens themselves are not kept. */
  #latest = new Map<string, Kept>()
  #earlier = new Map<string, Kept>()
  /** Of the tokens of `#latest`. */
  #characters = 0
  readonly #most: number
  #keys: TokenKeys | undefined
  #timer: NodeJS.Timeout | undefined

  /** Keeps up to that many characters of tokens. */
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

  /** Forgets everything: other keys may not verify these tokens. */
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

  /** Forgets the tokens that were not used since the last turn. */
  #turn(): void {
    this.#earlier = this.#latest
    this.#latest = new Map()
    this.#characters = 0
    if (this.#earlier.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }
}
