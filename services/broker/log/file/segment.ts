// One file of the log: a header, records, and once it is sealed, a table of contents.

import { closeSync, fstatSync, openSync, read as readFile, readSync } from 'node:fs'
import { promisify } from 'node:util'
import { crc32 } from 'node:zlib'
import { LogRefused, LogUnavailable } from '../log.ts'
import { decodeTable, sizeOfTable, type Table, type TablePlace } from './table.ts'

const read = promisify(readFile)

const MAGIC = Buffer.from('fanwire\n')
const VERSION = 1
export const HEADER = 64

export interface Header {
  readonly number: number
  /** The number of the first segment that it replaces. */
  readonly from: number
  /** The epoch that all existing channels began together with this segment; empty if they began none. */
  readonly epoch: string
}

export function nameOf(number: number): string {
  return `${String(number).padStart(12, '0')}.log`
}

/** The number in a segment's file name; undefined if `name` is not one. */
export function numberIn(name: string): number | undefined {
  const match = /^(\d{12})\.log$/.exec(name)
  return match === null ? undefined : Number(match[1])
}

/** The path of the file that will replace the segment at `path` once it is complete. */
export function unfinishedOf(path: string): string {
  return `${path}.new`
}

/** Whether this is the name of a file that was to replace a segment. */
export function isUnfinished(name: string): boolean {
  return /^\d{12}\.log\.new$/.test(name)
}

export function encodeHeader({ number, from, epoch }: Header): Buffer {
  const header = Buffer.alloc(HEADER)
  MAGIC.copy(header)
  header.writeUInt32LE(VERSION, 8)
  header.writeDoubleLE(number, 12)
  header.writeDoubleLE(from, 20)
  header.write(epoch, 28, 16, 'latin1')
  header.writeUInt32LE(crc32(header.subarray(0, HEADER - 4)), HEADER - 4)
  return header
}

/** Undefined if the header is incomplete. Raises LogRefused. */
export function decodeHeader(header: Buffer, path: string): Header | undefined {
  const refuse = (why: string) => new LogRefused(`${path} ${why}; nothing was changed`, 'foreign')
  if (!header.subarray(0, 8).equals(MAGIC.subarray(0, header.length)))
    throw refuse('is not a file of a fanwire log')
  if (header.length < HEADER) return undefined
  const version = header.readUInt32LE(8)
  if (version > VERSION)
    throw refuse(`is from a newer fanwire (format ${version}, this one writes ${VERSION})`)
  if (crc32(header.subarray(0, HEADER - 4)) !== header.readUInt32LE(HEADER - 4))
    throw refuse('has a damaged header')
  const epoch = header.toString('latin1', 28, 44).replace(/\0+$/, '')
  return { number: header.readDoubleLE(12), from: header.readDoubleLE(20), epoch }
}

/** The number of files that stay open although nobody reads them. */
const OPEN = 64
const open = new Set<Segment>()

export class Segment {
  readonly path: string
  readonly header: Header
  /** Time of its last event. */
  last = 0
  /** Bytes of records. */
  size = 0
  /** Whether records at its end are lost. */
  cut = false
  /** Its events and their bytes of data, then those that are unreadable. */
  #events = 0
  #bytes = 0
  #deadEvents = 0
  #deadBytes = 0
  #fd: number | undefined
  #readers = 0
  #forgotten = false

  constructor(path: string, header: Header) {
    this.path = path
    this.header = header
  }

  get number(): number {
    return this.header.number
  }

  /** Counts written events, and notes the time of the last one. */
  add(events: number, bytes: number, last: number): void {
    this.#events += events
    this.#bytes += bytes
    this.last = Math.max(this.last, last)
  }

  /** Counts events that are no longer readable. */
  drop(events: number, bytes: number): void {
    this.#deadEvents += events
    this.#deadBytes += bytes
  }

  /** Whether it has events, but no readable ones. */
  get isDead(): boolean {
    return this.#events > 0 && this.#deadEvents === this.#events
  }

  /** The approximate bytes of unreadable records. */
  get waste(): number {
    const all = weightOf(this.#events, this.#bytes)
    return all === 0 ? 0 : (this.size * weightOf(this.#deadEvents, this.#deadBytes)) / all
  }

  /** Keeps the file open until `release`, even if it is removed. */
  hold(): void {
    this.#fd ??= openSync(this.path, 'r')
    this.#readers++
    open.delete(this)
    open.add(this)
    for (const other of open) {
      if (open.size <= OPEN) break
      if (other.#readers === 0) other.#close()
    }
  }

  release(): void {
    this.#readers--
    if (this.#forgotten && this.#readers === 0) this.#close()
  }

  /** Closes the file once nobody reads it. */
  forget(): void {
    this.#forgotten = true
    if (this.#readers === 0) this.#close()
  }

  /** Reads bytes. Call it between `hold` and `release`. */
  async bytes(at: number, length: number): Promise<Buffer> {
    const into = Buffer.allocUnsafe(length)
    const { bytesRead } = await read(this.#held, into, 0, length, at)
    if (bytesRead < length) throw this.damaged(at)
    return into
  }

  bytesSync(at: number, length: number): Buffer {
    const into = Buffer.allocUnsafe(length)
    return into.subarray(0, readSync(this.#held, into, 0, length, at))
  }

  get fileSize(): number {
    return fstatSync(this.#held).size
  }

  /** Raises LogUnavailable if the bytes are not those that were written. */
  table({ at, crc }: TablePlace, rows: number): Table {
    this.hold()
    try {
      const table = decodeTable(this.bytesSync(at, sizeOfTable(rows)), rows, crc)
      if (table === undefined) throw this.damaged(at)
      return table
    } finally {
      this.release()
    }
  }

  damaged(at: number): LogUnavailable {
    return new LogUnavailable(`${this.path} is damaged at byte ${at}`, 'damaged')
  }

  get #held(): number {
    if (this.#fd === undefined) throw new Error(`${this.path} is not open`)
    return this.#fd
  }

  #close(): void {
    open.delete(this)
    if (this.#fd !== undefined) closeSync(this.#fd)
    this.#fd = undefined
  }
}

/** Minimum size of a record, besides the data. */
const RECORD = 40

function weightOf(events: number, bytes: number): number {
  return events * RECORD + bytes
}
