// Revocations: users whose tokens from before a time are rejected. Other files share them between nodes.

export interface Revocations {
  /**
   * Rejects the user's tokens that were issued before `before`, and those without a time (`iat`). `before` can only be
   * raised. At `until`, the last of these tokens has expired, so that the revocation can be forgotten; omit it if tokens
   * may live for ever. Times are ms since 1970.
   */
  revoke(user: string, before: number, until?: number): void
  /** Whether the user's token is revoked. `issuedAt` is in seconds, as in tokens. */
  isRevoked(user: string, issuedAt: number | undefined, now?: number): boolean
  /** All revocations in force, for a node that joins. */
  entries(now?: number): Revocation[]
  readonly size: number
}

export interface Revocation {
  readonly user: string
  readonly before: number
  readonly until: number
}

const MOST_REVOCATIONS = 100_000

/**
 * A table of at most that many users. When it is full, the oldest revocations are merged into one for all users: tokens
 * of that age are rejected, and applications have to renew them.
 */
export function createRevocations(most = MOST_REVOCATIONS): Revocations {
  /** Sorted by `before`, if revocations arrive in that order. */
  const table = new Map<string, Revocation>()
  let beforeForAll = -Infinity

  const makeRoom = (now: number) => {
    if (table.size <= most) return
    for (const { user, until } of table.values()) if (until <= now) table.delete(user)
    // Merges a tenth at once, so that a full table is not sorted at every revocation.
    const oldest = [...table.values()].sort((a, b) => a.before - b.before)
    const surplus = table.size <= most ? 0 : table.size - Math.floor(most * 0.9)
    for (const { user, before } of oldest.slice(0, surplus)) {
      table.delete(user)
      beforeForAll = Math.max(beforeForAll, before)
    }
  }

  return {
    revoke: (user, before, until = Infinity) => {
      const earlier = table.get(user)
      table.set(user, {
        user,
        before: Math.max(before, earlier?.before ?? -Infinity),
        until: Math.max(until, earlier?.until ?? -Infinity),
      })
      makeRoom(Date.now())
    },
    isRevoked: (user, issuedAt, now = Date.now()) => {
      const issued = issuedAt === undefined ? -Infinity : issuedAt * 1000
      const entry = table.get(user)
      if (entry !== undefined && entry.until > now) {
        if (issuedAt === undefined || issued < entry.before) return true
      }
      return beforeForAll !== -Infinity && issued < beforeForAll
    },
    entries: (now = Date.now()) => [...table.values()].filter(({ until }) => until > now),
    get size() {
      return table.size
    },
  }
}
