// Cursors: numbers of intervals of time, by which caches tell one round of waiting from the next. They never stand still.

const BEGAN = Date.UTC(2024, 9, 9)
const INTERVAL_MS = 20_000
/** How far one may go ahead of time: an hour. */
const MOST_AHEAD = 180

/** A cursor after the client's. */
export function cursorAfter(cursor: string | undefined): string {
  const now = Math.floor((Date.now() - BEGAN) / INTERVAL_MS)
  const last = cursor !== undefined && /^\d{1,15}$/.test(cursor) ? Number(cursor) : -1
  return String(last < now ? now : last + 1 + Math.floor(Math.random() * MOST_AHEAD))
}
