// Positions and cursors: parse, print, compare.

/** The place of an event in its channel's log. Printed `<epoch>-<offset>`, e.g. `m3k9zq-42`. */
export interface Position {
  /** Names one unbroken history of one channel: 1 to 16 of `a-z0-9`. */
  readonly epoch: string
  /** Counts the channel's events from 1; 0 is before the first. At most 2^53 - 1. */
  readonly offset: number
}

/** Where a reader begins: a position, the oldest readable event, or the head. */
export type Start = Position | 'earliest' | 'latest'

/** Events after `from`, up to and including `to`, may be lost; a reader continues from `to`. */
export interface Gap {
  readonly from: Position
  readonly to: Position
}

const POSITION = /^([a-z0-9]{1,16})-(0|[1-9][0-9]{0,15})$/

/** The position that `text` prints, or undefined if it is none. */
export function parsePosition(text: string): Position | undefined {
  const match = POSITION.exec(text)
  if (match === null) return undefined
  const offset = Number(match[2])
  if (!Number.isSafeInteger(offset)) return undefined
  return { epoch: match[1] as string, offset }
}

export function printPosition(position: Position): string {
  return `${position.epoch}-${position.offset}`
}

/** One entry of a cursor: a position, `earliest` or `latest`; undefined if it is malformed. */
export function parseStart(text: string): Start | undefined {
  return text === 'earliest' || text === 'latest' ? text : parsePosition(text)
}

/**
 * The starts that a cursor gives `count` channels, in the order of the channels: one `earliest` or `latest`
 * is for all of them, any other list has one entry for each channel. Undefined if it is malformed or of another length.
 */
export function parseCursor(text: string, count: number): Start[] | undefined {
  if (text === 'earliest' || text === 'latest') return new Array<Start>(count).fill(text)
  const entries = text.split(',', count + 1)
  if (entries.length !== count) return undefined
  const starts: Start[] = []
  for (const entry of entries) {
    const start = parseStart(entry)
    if (start === undefined) return undefined
    starts.push(start)
  }
  return starts
}

/** The cursor of several channels: their positions in the order of the request. */
export function printCursor(positions: readonly Position[]): string {
  return positions.map(printPosition).join(',')
}

export function samePosition(a: Position, b: Position): boolean {
  return a.offset === b.offset && a.epoch === b.epoch
}
