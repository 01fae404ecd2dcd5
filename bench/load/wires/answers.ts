// Parses the responses of the request wires, except their events: these stay bytes in which the scanner finds markers.

export interface Answered {
  /** The events in order. */
  readonly events: Buffer
  /** The cursor, or the query with which a page reloads. */
  readonly next: string
  readonly more: boolean
  readonly gaps: number
}

const NOTHING = Buffer.alloc(0)
const CURSOR = '"cursor":"'
const NEW_ROW = '<li class="new">'
const GAP_ROW = '<li class="gap">'

/** `{"events":[…],"cursor":"…",…}`: the cursor is searched from the end, because events may contain anything. */
export function pageOf(body: string): Answered | undefined {
  const at = body.lastIndexOf(CURSOR)
  if (at === -1) return undefined
  try {
    const { cursor, more, gaps } = JSON.parse(`{${body.slice(at)}`) as {
      cursor: string
      more?: boolean
      gaps?: readonly unknown[]
    }
    return {
      events: Buffer.from(body.slice(0, at), 'latin1'),
      next: cursor,
      more: more === true,
      gaps: gaps?.length ?? 0,
    }
  } catch {
    return undefined
  }
}

/** The page's new rows, oldest first, as on the other wires. */
export function reloadOf(page: string): Answered | undefined {
  const next = /http-equiv="refresh" content="\d+; url=([^"]*)"/.exec(page)?.[1]?.replaceAll('&#38;', '&')
  if (next === undefined) return undefined
  const rows = page.split(NEW_ROW)
  const gaps = page.split(GAP_ROW).length - 1
  if (rows.length === 1) return { events: NOTHING, next, more: false, gaps }
  const events = rows.slice(1).map(row => row.slice(0, row.indexOf('</li>')))
  return { events: Buffer.from(events.reverse().join('\n'), 'latin1'), next, more: false, gaps }
}
