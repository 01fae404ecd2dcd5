// The locations of the events of one channel in one segment, a row for each. The columns grow in memory while the segment
// is active. A sealed segment has them on disk, and they are read when needed.

import { crc32 } from 'node:zlib'

export interface Table {
  readonly length: number
  readonly times: ArrayLike<number>
  /** Where the record begins. */
  readonly at: ArrayLike<number>
  /** Length of the record with its frame. */
  readonly lengths: ArrayLike<number>
  /** Bytes of data. */
  readonly bytes: ArrayLike<number>
}

export class GrowingTable implements Table {
  readonly times: number[] = []
  readonly at: number[] = []
  readonly lengths: number[] = []
  readonly bytes: number[] = []

  get length(): number {
    return this.at.length
  }

  push(time: number, at: number, length: number, bytes: number): void {
    this.times.push(time)
    this.at.push(at)
    this.lengths.push(length)
    this.bytes.push(bytes)
  }
}

/** The place of a table in a sealed segment. */
export interface TablePlace {
  readonly at: number
  readonly crc: number
}

const ROW = 8 + 3 * 4

export function sizeOfTable(rows: number): number {
  return rows * ROW
}

/** Writes the table at `at`; returns its CRC-32. */
export function encodeTable(table: Table, into: Buffer, at: number): number {
  const begin = at
  const view = new DataView(into.buffer, into.byteOffset, into.length)
  for (let i = 0; i < table.length; i++, at += 8) view.setFloat64(at, table.times[i] ?? 0, true)
  for (const column of [table.at, table.lengths, table.bytes])
    for (let i = 0; i < table.length; i++, at += 4) view.setUint32(at, column[i] ?? 0, true)
  return crc32(into.subarray(begin, at))
}

/** Undefined if the bytes are not those that were written. */
export function decodeTable(bytes: Buffer, rows: number, crc: number): Table | undefined {
  if (bytes.length !== sizeOfTable(rows) || crc32(bytes) !== crc) return undefined
  // Typed arrays have the machine's byte order: little-endian on every platform that Node supports today.
  const own = new Uint8Array(bytes).buffer
  const column = (index: number) => new Uint32Array(own, rows * (8 + 4 * index), rows)
  return {
    length: rows,
    times: new Float64Array(own, 0, rows),
    at: column(0),
    lengths: column(1),
    bytes: column(2),
  }
}
