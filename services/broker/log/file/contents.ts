// A segment's table of contents, channel by channel. It is written after the records when the segment is sealed, so that
// a start need not read the records, and rebuilt from them if it is missing.

import { crc32 } from 'node:zlib'
import type { RecordReader, Scanned, ChannelState } from './records.ts'
import { readRecords } from './records.ts'
import { encodeTable, GrowingTable, sizeOfTable, type Table, type TablePlace } from './table.ts'

/** The events of one channel in one segment. */
export interface Stretch {
  readonly first: number
  readonly count: number
  /** Bytes of data. */
  readonly bytes: number
  /** Times of the first and of the last event. */
  readonly from: number
  readonly to: number
  readonly table: Table | TablePlace
}

/** An idempotency key, and its event. */
export type Keyed = readonly [key: string, offset: number, time: number]

export interface OfChannel {
  readonly state: ChannelState
  /** Undefined if the segment has no event of the channel. */
  readonly stretch: Stretch | undefined
  readonly keys: readonly Keyed[]
  /** Whether the channel had ended at the end of the segment. */
  readonly over: boolean
}

export interface Contents {
  /** Where the records end. */
  readonly end: number
  readonly channels: readonly OfChannel[]
  /** Whether records that followed them are lost. */
  readonly cut: boolean
}

const TRAILER = 24
const MAGIC = Buffer.from('FWSEALED')

type Row = [state: ChannelState, stretch: Flat | null, keys: readonly Keyed[], over: boolean]
type Flat = [first: number, count: number, bytes: number, from: number, to: number, at: number, crc: number]

/**
 * Encodes the table of contents for records that end at `end`, and returns the places of the tables in the file. Omits
 * keys that were used before `keysSince`.
 */
export function encodeContents(
  { end, channels, cut }: Contents,
  keysSince: number,
): { bytes: Buffer; places: (TablePlace | undefined)[] } {
  const places: (TablePlace | undefined)[] = []
  const rows = channels.reduce((sum, { stretch }) => sum + (stretch?.count ?? 0), 0)
  const tables = Buffer.allocUnsafe(sizeOfTable(rows))
  let at = 0
  const directory = channels.map(({ state, stretch, keys, over }): Row => {
    const young = keys.filter(([, , time]) => time >= keysSince)
    if (stretch === undefined || !('length' in stretch.table)) {
      places.push(undefined)
      return [state, null, young, over]
    }
    const { first, count, bytes, from, to, table } = stretch
    const place = end + at
    const crc = encodeTable(table, tables, at)
    at += sizeOfTable(count)
    places.push({ at: place, crc })
    return [state, [first, count, bytes, from, to, place, crc], young, over]
  })
  const text = Buffer.from(JSON.stringify([cut, directory]))
  const trailer = Buffer.alloc(TRAILER)
  trailer.writeDoubleLE(end, 0)
  trailer.writeUInt32LE(text.length, 8)
  trailer.writeUInt32LE(crc32(trailer.subarray(0, 12), crc32(text)), 12)
  MAGIC.copy(trailer, 16)
  return { bytes: Buffer.concat([tables, text, trailer]), places }
}

/** Reads `length` bytes of a file from `at` on, or fewer at its end. */
export type ReadBytes = (at: number, length: number) => Buffer

/** Reads the table of contents of a file of `size` bytes; undefined if it was not sealed, or is incomplete. */
export function readContents(read: ReadBytes, size: number): Contents | undefined {
  if (size < TRAILER) return undefined
  const trailer = read(size - TRAILER, TRAILER)
  if (!trailer.subarray(16).equals(MAGIC)) return undefined
  const end = trailer.readDoubleLE(0)
  const length = trailer.readUInt32LE(8)
  if (!(length <= size - TRAILER - end)) return undefined
  const text = read(size - TRAILER - length, length)
  if (crc32(trailer.subarray(0, 12), crc32(text)) !== trailer.readUInt32LE(12)) return undefined
  const [cut, rows] = JSON.parse(text.toString()) as [boolean, Row[]]
  const channels = rows.map(([state, flat, keys, over]): OfChannel => {
    if (flat === null) return { state, stretch: undefined, keys, over }
    const [first, count, bytes, from, to, at, crc] = flat
    return { state, stretch: { first, count, bytes, from, to, table: { at, crc } }, keys, over }
  })
  return { end, channels, cut }
}

/** Rebuilds the table of contents from the records from `at` on; see `readRecords`. */
export function scanContents(
  bytes: Buffer,
  at: number,
  sure: number,
): Contents & { readonly broken: boolean } {
  const gathered = new Gathered()
  const { end, broken } = readRecords(bytes, at, sure, gathered)
  return { end, broken, channels: gathered.channels, cut: end < sure }
}

interface Gathering {
  state: ChannelState
  first: number
  bytes: number
  readonly table: GrowingTable
  readonly keys: Keyed[]
  over: boolean
}

class Gathered implements RecordReader {
  readonly #channels: Gathering[] = []

  channel(id: number, state: ChannelState): void {
    const { over } = state
    const of = this.#channels[id]
    // The channel was cleared: its earlier events stay in the table.
    if (of !== undefined) Object.assign(of, { state: { ...state, head: of.state.head }, over })
    else this.#channels[id] = { state, first: 0, bytes: 0, table: new GrowingTable(), keys: [], over }
  }

  event({ channel, offset, time, key, kind, bytes }: Scanned, at: number, length: number): void {
    const of = this.#channels[channel]
    if (of === undefined) return
    if (of.table.length === 0) of.first = offset
    of.bytes += bytes
    of.table.push(time, at, length, bytes)
    of.over = kind === 'end'
    if (key !== undefined) of.keys.push([key, offset, time])
  }

  get channels(): OfChannel[] {
    return this.#channels.map(({ state, first, bytes, table, keys, over }) => ({
      state,
      over,
      keys,
      stretch: stretchOf(first, bytes, table),
    }))
  }
}

export function stretchOf(first: number, bytes: number, table: GrowingTable): Stretch | undefined {
  const count = table.length
  const from = table.times[0]
  if (from === undefined) return undefined
  return { first, count, bytes, from, to: table.times[count - 1] ?? from, table }
}
