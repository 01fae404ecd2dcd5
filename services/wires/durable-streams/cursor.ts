// Cursors: numbers of time intervals. Caches distinguish successive long polls by them, so they always increase.

const BEGAN = Date.UTC(2024, 9, 9)
const INTERVAL_MS = 20_000
/** The maximum number of intervals that a cursor may be ahead of the clock: an hour. */
const MAX_AHEAD = 180

/** A cursor greater than the client's. */
export function cursorAfter(cursor: string | undefined): string {
  const now = Math.floor((Date.now() - BEGAN) / INTERVAL_MS)
  const last = cursor !== undefined && /^\d{1,15}$/.test(cursor) ? Number(cursor) : -1
  return String(last < now ? now : last + 1 + Math.floor(Math.random() * MAX_AHEAD))
}
