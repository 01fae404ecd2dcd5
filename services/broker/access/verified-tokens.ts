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

export class VerifiedTokens {
  /** By digest, in the order of last use: the tokens themselves are not kept. */
  readonly #kept = new Map<string, Kept>()
  readonly #most: number
  #characters = 0
  #keys: TokenKeys | undefined

  /** Keeps the most recently used, up to that many characters of tokens. */
  constructor(mostCharacters: number) {
    this.#most = mostCharacters
  }

  /** The token's result from `open`, which is called only if the token is not known yet. */
  get(token: string, keys: TokenKeys, open: () => Opened | Refused): Opened | Refused {
    this.#follow(keys)
    if (token.length > this.#most) return open()
    const digest = hash('sha256', token, 'base64')
    const kept = this.#kept.get(digest)
    if (kept !== undefined) {
      this.#kept.delete(digest)
      this.#kept.set(digest, kept)
      return kept.opened
    }
    const opened = open()
    if (opened.ok) this.#keep(digest, { opened, characters: token.length })
    return opened
  }

  /** Forgets everything: other keys may not verify these tokens. */
  #follow(keys: TokenKeys): void {
    if (keys === this.#keys) return
    this.#kept.clear()
    this.#characters = 0
    this.#keys = keys
  }

  #keep(digest: string, kept: Kept): void {
    this.#kept.set(digest, kept)
    this.#characters += kept.characters
    for (const [oldest, { characters }] of this.#kept) {
      if (this.#characters <= this.#most) break
      this.#kept.delete(oldest)
      this.#characters -= characters
    }
  }
}
