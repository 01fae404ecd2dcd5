// Revocations: whose tokens, issued before when, are refused. How nodes hear of each other's is not known here.

export interface Revocations {
  /**
   * Tokens of the user that were issued before `before` are refused, and those that don't say when (`iat`).
   * Raised, never lowered. `until`: when the last of them has expired, so that nothing need be remembered; left out
   * where tokens may live for ever. Times are ms since 1970.
   */
  revoke(user: string, before: number, until?: number): void
  /** `issuedAt` in seconds, as in tokens. */
  isRevoked(user: string, issuedAt: number | undefined, now?: number): boolean
  /** All that hold, for a node that joins. */
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
 * A table of at most that many users. When it is full, a revocation may not be forgotten: the oldest become one that
 * holds for all users, whose tokens of that age are refused, and renewed by their applications.
 */
export function createRevocations(most = MOST_REVOCATIONS): Revocations {
  /** In the order of `before`, as far as they come in it. */
  const table = new Map<string, Revocation>()
  let beforeForAll = -Infinity

  const makeRoom = (now: number) => {
    if (table.size <= most) return
    for (const { user, until } of table.values()) if (until <= now) table.delete(user)
    // A tenth at once, so that a full table is not searched at every revocation.
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
