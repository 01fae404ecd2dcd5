// Tokens that were verified a moment ago: what a signature says of a token stays, so that it is not asked at every poll.
// Times, revocation and grants are not kept: they are asked of the claims every time.

import { hash } from 'node:crypto'
import type { Claims } from './claims.ts'
import type { TokenKeys } from './jwks.ts'

export interface Opened {
  readonly ok: true
  readonly claims: Claims
}

interface Kept {
  readonly opened: Opened
  readonly characters: number
}

export interface VerifiedTokens {
  get(token: string, keys: TokenKeys): Opened | undefined
  set(token: string, keys: TokenKeys, opened: Opened): void
}

/** Keeps the latest used, up to that many characters of tokens. Keeps no token, only its digest. */
export function createVerifiedTokens(mostCharacters: number): VerifiedTokens {
  /** In the order of their last use. */
  const kept = new Map<string, Kept>()
  let characters = 0
  let keptFor: TokenKeys | undefined

  /** Other keys may not verify what these did. */
  const follow = (keys: TokenKeys) => {
    if (keys === keptFor) return
    kept.clear()
    characters = 0
    keptFor = keys
  }

  return {
    get: (token, keys) => {
      follow(keys)
      if (kept.size === 0) return undefined
      const digest = digestOf(token)
      const found = kept.get(digest)
      if (found === undefined) return undefined
      kept.delete(digest)
      kept.set(digest, found)
      return found.opened
    },
    set: (token, keys, opened) => {
      follow(keys)
      if (token.length > mostCharacters) return
      const digest = digestOf(token)
      if (kept.has(digest)) return
      kept.set(digest, { opened, characters: token.length })
      characters += token.length
      for (const [oldest, entry] of kept) {
        if (characters <= mostCharacters) break
        kept.delete(oldest)
        characters -= entry.characters
      }
    },
  }
}

function digestOf(token: string): string {
  return hash('sha256', token, 'base64')
}
