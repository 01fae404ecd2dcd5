// Positions and cursors: parse, print, compare.

import { parseTime } from './time.ts'

/** The place of an event in its channel's log. Printed `<epoch>-<offset>`, e.g. `m3k9zq-42`. */
export interface Position {
  /** Names one unbroken history of the channel: 1 to 16 characters of `a-z0-9`. */
  readonly epoch: string
  /** Counts the channel's events from 1; 0 is before the first. At most 2^53 - 1. */
  readonly offset: number
}

/** Where a reader begins: a position, the oldest readable event, the head, or a start that has to be looked up. */
export type Start = Position | 'earliest' | 'latest' | Last | Since

/** Starts before the newest events, at most this number. */
export interface Last {
  readonly last: number
}

/**
 * Starts at the first readable event at this time or later by the log's clock, ms since 1970, or at the head if there is
 * none yet.
 */
export interface Since {
  readonly since: number
}

/** Events after `from`, up to and including `to`, may be lost. The reader continues from `to`. */
export interface Gap {
  readonly from: Position
  readonly to: Position
}

const POSITION = /^([a-z0-9]{1,16})-(0|[1-9][0-9]{0,15})$/

/** Parses a position; undefined if `text` is malformed. */
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

export function isPosition(start: Start): start is Position {
  return typeof start === 'object' && 'epoch' in start
}

export function isSince(start: Start): start is Since {
  return typeof start === 'object' && 'since' in start
}

/** The start as an entry of a cursor. */
export function printStart(start: Start): string {
  if (typeof start === 'string') return start
  if (isPosition(start)) return printPosition(start)
  return isSince(start) ? `since:${start.since}` : `last:${start.last}`
}

const MAX_LAST = 10_000
const LAST = /^last:([1-9][0-9]{0,4})$/

/**
 * One entry of a cursor: a position, `earliest`, `latest`, `last:<n>`, or `since:` and ms or an RFC 3339 time. Undefined if
 * it is malformed.
 */
export function parseStart(text: string): Start | undefined {
  if (text === 'earliest' || text === 'latest') return text
  const last = Number(LAST.exec(text)?.[1] ?? 0)
  if (last > 0) return last <= MAX_LAST ? { last } : undefined
  if (!text.startsWith('since:')) return parsePosition(text)
  const since = parseTime(text.slice('since:'.length))
  return since === undefined ? undefined : { since }
}

/**
 * Parses a list for `count` channels: one entry per channel in the same order, or a single entry for all of them if
 * `isForAll` holds. Undefined if an entry is malformed or the length differs.
 */
export function parseList<T>(
  text: string,
  count: number,
  parse: (entry: string) => T | undefined,
  isForAll: (entry: T) => boolean,
): T[] | undefined {
  const entries: T[] = []
  const texts = text.split(',', count + 1)
  for (const each of texts) {
    const entry = parse(each)
    if (entry === undefined) return undefined
    entries.push(entry)
  }
  const [first] = entries
  if (entries.length === 1 && first !== undefined && isForAll(first)) return new Array<T>(count).fill(first)
  return entries.length === count ? entries : undefined
}

/** Parses the cursor of `count` channels. A single entry other than a position applies to all of them. */
export function parseCursor(text: string, count: number): Start[] | undefined {
  return parseList(text, count, parseStart, start => !isPosition(start))
}

/** The cursor of several channels: their positions in the order of the request. */
export function printCursor(positions: readonly Position[]): string {
  return positions.map(printPosition).join(',')
}

export function samePosition(a: Position, b: Position): boolean {
  return a.offset === b.offset && a.epoch === b.epoch
}
