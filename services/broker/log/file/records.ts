// The bytes of a segment: a header, then records, each framed by its length and its CRC-32. A length of zero ends them:
// behind it the file may hold zeros that were written ahead.

import { crc32 } from 'node:zlib'
import type { Draft } from '../../event/event.ts'
import type { Tags } from '../../event/tags.ts'
import type { EndedEpoch } from '../history.ts'

/** Of a record: its length without the frame, and the CRC-32 of what follows. */
export const FRAME = 8
const EVENT_HEAD = 24

const KINDS = { nothing: 0, event: 1, channel: 2 } as const
const BASE64 = 1
const LOW = 2

/** What a segment says of a channel, before its events: enough to go on with, should older segments be gone. */
export interface Told {
  readonly name: string
  readonly epoch: string
  readonly ended: readonly EndedEpoch[]
  /** Offset of the newest event before this segment. */
  readonly head: number
  /** Offset before the oldest event that was readable. */
  readonly floor: number
  readonly time: number
}

/** A record of an event. */
export interface Stored {
  readonly channel: number
  readonly offset: number
  readonly time: number
  readonly type: string | undefined
  readonly tags: Tags | undefined
  readonly key: string | undefined
  readonly encoding: 'base64' | undefined
  readonly low: boolean
  /** A view. */
  readonly data: Buffer
}

/** What few events have. */
interface Meta {
  readonly type?: string | undefined
  readonly tags?: readonly (readonly [string, string])[] | undefined
  readonly key?: string | undefined
}

function metaOf(type: string | undefined, tags: Tags | undefined, key: string | undefined): string {
  if (type === undefined && tags === undefined && key === undefined) return ''
  return JSON.stringify({ type, tags: tags && [...tags], key } satisfies Meta)
}

/** Gathers records in one buffer, which is used again after `clear`. */
export class RecordWriter {
  #buffer = Buffer.allocUnsafe(1 << 16)
  length = 0

  get bytes(): Buffer {
    return this.#buffer.subarray(0, this.length)
  }

  clear(): void {
    this.length = 0
    if (this.#buffer.length > 1 << 24) this.#buffer = Buffer.allocUnsafe(1 << 16)
  }

  /** Returns the record's length with its frame. */
  event(channel: number, offset: number, time: number, draft: Draft): number {
    const { data, type, tags, encoding, priority, idempotencyKey: key } = draft
    const meta = metaOf(type, tags, key)
    const metaLength = Buffer.byteLength(meta)
    const body = this.#begin(EVENT_HEAD + metaLength + data.length)
    body.writeUInt8(KINDS.event, 0)
    body.writeUInt8((encoding === 'base64' ? BASE64 : 0) | (priority === 'low' ? LOW : 0), 1)
    body.writeUInt16LE(metaLength, 2)
    body.writeUInt32LE(channel, 4)
    body.writeDoubleLE(offset, 8)
    body.writeDoubleLE(time, 16)
    if (metaLength > 0) body.write(meta, EVENT_HEAD)
    body.set(data, EVENT_HEAD + metaLength)
    return this.#end(body)
  }

  channel(id: number, told: Told): number {
    const text = Buffer.from(JSON.stringify(told))
    const body = this.#begin(8 + text.length)
    body.writeUInt32LE(KINDS.channel, 0)
    body.writeUInt32LE(id, 4)
    body.set(text, 8)
    return this.#end(body)
  }

  /** Says nothing, but has to be written. */
  nothing(): number {
    const body = this.#begin(4)
    body.writeUInt32LE(KINDS.nothing, 0)
    return this.#end(body)
  }

  /** A record as it stands in a segment. */
  copy(record: Buffer, channel: number): number {
    const body = this.#begin(record.length - FRAME)
    body.set(record.subarray(FRAME))
    body.writeUInt32LE(channel, 4)
    return this.#end(body)
  }

  #begin(length: number): Buffer {
    const end = this.length + FRAME + length
    if (end > this.#buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(end, this.#buffer.length * 2))
      this.#buffer.copy(larger, 0, 0, this.length)
      this.#buffer = larger
    }
    return this.#buffer.subarray(this.length + FRAME, end)
  }

  #end(body: Buffer): number {
    this.#buffer.writeUInt32LE(body.length, this.length)
    this.#buffer.writeUInt32LE(crc32(body), this.length + 4)
    this.length += FRAME + body.length
    return FRAME + body.length
  }
}

/** The body of the record at `at`; undefined where none is whole. */
function bodyAt(bytes: Buffer, at: number): Buffer | undefined {
  if (at + FRAME > bytes.length) return undefined
  const length = bytes.readUInt32LE(at)
  const end = at + FRAME + length
  if (length < 4 || end > bytes.length) return undefined
  const body = bytes.subarray(at + FRAME, end)
  return crc32(body) === bytes.readUInt32LE(at + 4) ? body : undefined
}

/** The event whose record begins at `at`; undefined where there is none. */
export function eventAt(bytes: Buffer, at: number): Stored | undefined {
  const body = bodyAt(bytes, at)
  return body?.readUInt8(0) === KINDS.event ? storedIn(body) : undefined
}

/** The whole record that begins at `at`, where there is one. */
export function recordAt(bytes: Buffer, at: number): Buffer {
  return bytes.subarray(at, at + FRAME + bytes.readUInt32LE(at))
}

function storedIn(body: Buffer): Stored {
  const flags = body.readUInt8(1)
  const dataStart = EVENT_HEAD + body.readUInt16LE(2)
  const meta: Meta = dataStart > EVENT_HEAD ? JSON.parse(body.toString('utf8', EVENT_HEAD, dataStart)) : {}
  return {
    channel: body.readUInt32LE(4),
    offset: body.readDoubleLE(8),
    time: body.readDoubleLE(16),
    type: meta.type,
    tags: meta.tags && new Map(meta.tags),
    key: meta.key,
    encoding: flags & BASE64 ? 'base64' : undefined,
    low: (flags & LOW) !== 0,
    data: body.subarray(dataStart),
  }
}

/** Who is told what a segment's records say, in their order. */
export interface RecordReader {
  event(event: Stored, at: number, length: number): void
  channel(id: number, told: Told): void
}

/** Reads the records from `at` on. Returns where they end, and whether a whole one stands behind a broken one. */
export function readRecords(
  bytes: Buffer,
  at: number,
  reader: RecordReader,
): { end: number; broken: boolean } {
  for (;;) {
    const body = bodyAt(bytes, at)
    if (body === undefined) return { end: at, broken: isBroken(bytes, at) }
    const kind = body.readUInt8(0)
    if (kind === KINDS.event) reader.event(storedIn(body), at, FRAME + body.length)
    else if (kind === KINDS.channel)
      reader.channel(body.readUInt32LE(4), JSON.parse(body.toString('utf8', 8)) as Told)
    at += FRAME + body.length
  }
}

function isBroken(bytes: Buffer, at: number): boolean {
  if (at + FRAME > bytes.length) return false
  const length = bytes.readUInt32LE(at)
  return length > 0 && bodyAt(bytes, at + FRAME + length) !== undefined
}
