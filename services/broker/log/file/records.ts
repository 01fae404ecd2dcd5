// The bytes of a segment: a header, then records, each framed by its length and a CRC-32. A length of zero ends the
// records: zeros that were written ahead may follow. An event's content (its tags and its data) has a separate CRC-32,
// since it is erased in place, by zeros, which no JSON text contains.

import { crc32 } from 'node:zlib'
import type { Draft } from '../../event/event.ts'
import type { Tags } from '../../event/tags.ts'
import type { EndedEpoch } from '../history.ts'

/** Bytes of a record's frame: its length without the frame, and the CRC-32 of the rest, except an event's content. */
export const FRAME_BYTES = 8
/**
 * Bytes of an event's head: kind, flags, length of the rare members (u16), channel (u32), offset and time (doubles),
 * CRC-32 of the content, length of its tags (u32). The rare members, the tags and the data follow.
 */
const EVENT_HEAD_BYTES = 32

const KINDS = { nothing: 0, event: 1, channel: 2 } as const
const BASE64 = 1
const LOW = 2
const END = 4
const KEYED = 8

/** A segment's record about a channel, before its events. It suffices to continue without the older segments. */
export interface ChannelState {
  readonly name: string
  readonly epoch: string
  readonly ended: readonly EndedEpoch[]
  /** Offset of the newest event before this segment. */
  readonly head: number
  /** Offset before the oldest event that was readable. */
  readonly floor: number
  readonly time: number
  /** Whether the channel has ended. */
  readonly over: boolean
}

/** The part of an event's record that a start needs: most of it need not be parsed. */
export interface Scanned {
  readonly channel: number
  readonly offset: number
  readonly time: number
  readonly key: string | undefined
  readonly kind: 'end' | 'erased' | undefined
  /** Bytes of data. */
  readonly bytes: number
}

/** A record of an event. */
export interface Stored extends Scanned {
  readonly type: string | undefined
  readonly tags: Tags | undefined
  readonly encoding: 'base64' | undefined
  readonly low: boolean
  /** A view; `null` if the event is erased. */
  readonly data: Buffer
}

/** Members that few events have. */
interface Meta {
  readonly type?: string | undefined
  readonly key?: string | undefined
}

const NULL = Buffer.from('null')
const NOTHING = Buffer.alloc(0)

/** Collects records in one buffer, which is reused after `clear`. */
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

  /** Writes an event. Returns the record's length with its frame. */
  event(channel: number, offset: number, time: number, draft: Draft): number {
    const { data, type, tags, encoding, priority, idempotencyKey: key, end } = draft
    const meta = textOf(type ?? key, { type, key } satisfies Meta)
    const labels = textOf(tags, tags && [...tags])
    const contentAt = EVENT_HEAD_BYTES + meta.length
    const body = this.#begin(contentAt + labels.length + data.length)
    body.writeUInt8(KINDS.event, 0)
    const keyed = key === undefined ? 0 : KEYED
    body.writeUInt8((encoding ? BASE64 : 0) | (priority ? LOW : 0) | (end ? END : 0) | keyed, 1)
    body.writeUInt16LE(meta.length, 2)
    body.writeUInt32LE(channel, 4)
    body.writeDoubleLE(offset, 8)
    body.writeDoubleLE(time, 16)
    body.writeUInt32LE(labels.length, 28)
    body.set(meta, EVENT_HEAD_BYTES)
    body.set(labels, contentAt)
    body.set(data, contentAt + labels.length)
    body.writeUInt32LE(crc32(body.subarray(contentAt)), 24)
    return this.#end(body, contentAt)
  }

  channel(id: number, state: ChannelState): number {
    const text = Buffer.from(JSON.stringify(state))
    const body = this.#begin(8 + text.length)
    body.writeUInt32LE(KINDS.channel, 0)
    body.writeUInt32LE(id, 4)
    body.set(text, 8)
    return this.#end(body)
  }

  /** Writes an empty record. */
  nothing(): number {
    const body = this.#begin(4)
    body.writeUInt32LE(KINDS.nothing, 0)
    return this.#end(body)
  }

  /** Writes a record that was read from a segment, with another channel id. */
  copy(record: Buffer, channel: number): number {
    const body = this.#begin(record.length - FRAME_BYTES)
    body.set(record.subarray(FRAME_BYTES))
    body.writeUInt32LE(channel, 4)
    return this.#end(body, contentStart(body))
  }

  #begin(length: number): Buffer {
    const end = this.length + FRAME_BYTES + length
    if (end > this.#buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(end, this.#buffer.length * 2))
      this.#buffer.copy(larger, 0, 0, this.length)
      this.#buffer = larger
    }
    return this.#buffer.subarray(this.length + FRAME_BYTES, end)
  }

  #end(body: Buffer, checked = body.length): number {
    this.#buffer.writeUInt32LE(body.length, this.length)
    this.#buffer.writeUInt32LE(crc32(body.subarray(0, checked)), this.length + 4)
    this.length += FRAME_BYTES + body.length
    return FRAME_BYTES + body.length
  }
}

function textOf(some: unknown, value: unknown): Buffer {
  return some === undefined ? NOTHING : Buffer.from(JSON.stringify(value))
}

/** Where the content begins in the body of an event's record. */
function contentStart(body: Buffer): number {
  return EVENT_HEAD_BYTES + body.readUInt16LE(2)
}

/** The body of the record at `at`; undefined if no complete record begins there. */
function bodyAt(bytes: Buffer, at: number): Buffer | undefined {
  if (at + FRAME_BYTES > bytes.length) return undefined
  const length = bytes.readUInt32LE(at)
  const end = at + FRAME_BYTES + length
  if (length < 4 || end > bytes.length) return undefined
  const body = bytes.subarray(at + FRAME_BYTES, end)
  const isEvent = body.readUInt8(0) === KINDS.event
  if (isEvent && (length < EVENT_HEAD_BYTES || length < contentStart(body))) return undefined
  const checked = isEvent ? body.subarray(0, contentStart(body)) : body
  return crc32(checked) === bytes.readUInt32LE(at + 4) ? body : undefined
}

/** The event whose record begins at `at`; undefined if no event's record begins there. */
export function eventAt(bytes: Buffer, at: number): Stored | undefined {
  const body = bodyAt(bytes, at)
  return body?.readUInt8(0) === KINDS.event ? storedIn(body) : undefined
}

/** The whole record that begins at `at`. */
export function recordAt(bytes: Buffer, at: number): Buffer {
  return bytes.subarray(at, at + FRAME_BYTES + bytes.readUInt32LE(at))
}

/** Where the content begins in an event's record; undefined for other records. */
export function contentOf(record: Buffer): number | undefined {
  const body = bodyAt(record, 0)
  return body?.readUInt8(0) === KINDS.event ? FRAME_BYTES + contentStart(body) : undefined
}

/** Undefined if the content is damaged, rather than erased. */
function scannedIn(body: Buffer): Scanned | undefined {
  const flags = body.readUInt8(1)
  const contentAt = contentStart(body)
  const content = body.subarray(contentAt)
  const isErased = crc32(content) !== body.readUInt32LE(24)
  if (isErased && !content.includes(0)) return undefined
  return {
    channel: body.readUInt32LE(4),
    offset: body.readDoubleLE(8),
    time: body.readDoubleLE(16),
    key: flags & KEYED ? metaIn(body, contentAt).key : undefined,
    kind: isErased ? 'erased' : flags & END ? 'end' : undefined,
    bytes: isErased ? NULL.length : content.length - body.readUInt32LE(28),
  }
}

function storedIn(body: Buffer): Stored | undefined {
  const scanned = scannedIn(body)
  if (scanned === undefined) return undefined
  const contentAt = contentStart(body)
  const { type } = metaIn(body, contentAt)
  if (scanned.kind === 'erased')
    return { ...scanned, type, tags: undefined, encoding: undefined, low: false, data: NULL }
  const flags = body.readUInt8(1)
  const labels = body.readUInt32LE(28)
  return {
    ...scanned,
    type,
    tags: labels > 0 ? new Map(JSON.parse(body.toString('utf8', contentAt, contentAt + labels))) : undefined,
    encoding: flags & BASE64 ? 'base64' : undefined,
    low: (flags & LOW) !== 0,
    data: body.subarray(contentAt + labels),
  }
}

function metaIn(body: Buffer, contentAt: number): Meta {
  return contentAt > EVENT_HEAD_BYTES ? JSON.parse(body.toString('utf8', EVENT_HEAD_BYTES, contentAt)) : {}
}

/** Receives a segment's records, in order. */
export interface RecordReader {
  event(event: Scanned, at: number, length: number): void
  channel(id: number, state: ChannelState): void
}

/**
 * Reads the records from `at` on. Returns where they end, and whether a complete record follows a broken one. An event
 * without its content was erased if it is before `sure`, and not written completely if it is after.
 */
export function readRecords(
  bytes: Buffer,
  at: number,
  sure: number,
  reader: RecordReader,
): { end: number; broken: boolean } {
  for (;;) {
    const body = bodyAt(bytes, at)
    const kind = body?.readUInt8(0)
    const event = body !== undefined && kind === KINDS.event ? scannedIn(body) : undefined
    const isHalf =
      event?.kind === 'erased' &&
      at >= sure &&
      bodyAt(bytes, at + FRAME_BYTES + (body?.length ?? 0)) === undefined
    if (body === undefined || isHalf || (kind === KINDS.event && event === undefined))
      return { end: at, broken: isBroken(bytes, at) }
    if (event !== undefined) reader.event(event, at, FRAME_BYTES + body.length)
    else if (kind === KINDS.channel)
      reader.channel(body.readUInt32LE(4), JSON.parse(body.toString('utf8', 8)) as ChannelState)
    at += FRAME_BYTES + body.length
  }
}

function isBroken(bytes: Buffer, at: number): boolean {
  if (at + FRAME_BYTES > bytes.length) return false
  const length = bytes.readUInt32LE(at)
  return length > 0 && bodyAt(bytes, at + FRAME_BYTES + length) !== undefined
}
