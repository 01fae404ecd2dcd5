// Events: their data, and the one object that every wire delivers.

import { isUtf8 } from 'node:buffer'
import { withoutMark } from './json-spans.ts'
import type { Position } from './position.ts'
import { allocateRetained } from './slabs.ts'
import { printTags, type Tags } from './tags.ts'

/** A publisher's event; the log adds position and time. */
export interface Draft {
  /** One JSON value as UTF-8 text without line breaks. */
  readonly data: Buffer
  /** The bytes of the data as the publisher sent it, if they are not those of `data`: text and bytes. */
  readonly sent?: number
  readonly type?: string
  /** Validated by `checkedTags`. Undefined if there are none. */
  readonly tags?: Tags | undefined
  /** Set when `data` is a JSON string that holds bytes. */
  readonly encoding?: 'base64'
  /** `low` events may wait until enough have gathered (ARCHITECTURE.md#fan-out); their order is preserved. */
  readonly priority?: 'low'
  /** ASCII without spaces, per channel: a duplicate within the window appends nothing. */
  readonly idempotencyKey?: string
  /** Set if the event is delivered to the current readers only, and not stored: it has no idempotency key and no `ifHead`. */
  readonly transient?: true
  /** Only in the first draft of an append: the channel's required head. */
  readonly ifHead?: IfHead
  /** Only in the last draft of an append: this is the end of the channel. It has no data. */
  readonly end?: true
}

/** The required head; `none`: the channel holds no event, and none was published since its epoch began. */
export type IfHead = Position | 'none'

/** The kind of a record or a delivered object; undefined for an ordinary event. */
export type Kind =
  /** The end of its channel. */
  | 'end'
  /** Its data was erased. */
  | 'erased'
  /** It was not stored, and has no position. */
  | 'transient'

/** An event without its data: the members of its draft, and those that the log adds. */
export interface EventHead {
  readonly channel: string
  readonly epoch: string
  readonly offset: number
  /** The log's clock, ms since 1970; never less than the time of the previous event. */
  readonly time: number
  readonly type: string | undefined
  readonly tags?: Tags | undefined
  readonly encoding: 'base64' | undefined
  readonly low: boolean
  readonly kind?: Kind | undefined
}

/** An event as the log holds it. Immutable, and shared by every reader. */
export interface LogEvent extends EventHead {
  /** The object that every wire delivers, as JSON text. Encoded once per node. */
  readonly json: Buffer
  /** Where the data begins in `json`; it ends before the last byte. */
  readonly dataStart: number
  /** Bytes of the event's data. Retention by bytes counts them. */
  readonly bytes: number
  /**
   * The number of older events with the same value that a reader skipped, as in `json`. Never set on events from the
   * log.
   */
  readonly skipped?: number
}

/**
 * JSON text as an event's data: the same bytes, except that line breaks become spaces. (They are between tokens, since
 * RFC 8259 section 7 forbids them in strings.) The text is checked but not printed again, so numbers and keys stay as
 * they are. Undefined if it is not one JSON value in UTF-8. Writes into `body`.
 */
export function jsonData(body: Buffer): Buffer | undefined {
  const json = withoutMark(body)
  if (!isUtf8(json)) return undefined
  try {
    JSON.parse(json.toString('utf8'))
  } catch {
    return undefined
  }
  return unbroken(json)
}

/** Replaces the line breaks of valid JSON by spaces, in place. */
export function unbroken(json: Buffer): Buffer {
  for (const lineBreak of [0x0a, 0x0d]) {
    for (let i = json.indexOf(lineBreak); i !== -1; i = json.indexOf(lineBreak, i + 1)) json[i] = 0x20
  }
  return json
}

/** Plain text as an event's data: a JSON string. Undefined if it is not UTF-8. */
export function textData(body: Buffer): Buffer | undefined {
  return isUtf8(body) ? Buffer.from(JSON.stringify(body.toString('utf8'))) : undefined
}

/** Bytes as an event's data: a JSON string in base64 (RFC 4648 section 4), for `encoding: 'base64'`. */
export function binaryData(body: Buffer): Buffer {
  return Buffer.from(`"${body.toString('base64')}"`)
}

/** The head of a draft that the log holds at a position. */
export function headOfDraft(
  channel: string,
  { epoch, offset }: Position,
  time: number,
  { type, tags, encoding, priority, end }: Draft,
): EventHead {
  return {
    channel,
    epoch,
    offset,
    time,
    type,
    tags,
    encoding,
    low: priority === 'low',
    kind: end && 'end',
  }
}

/** The event, with the object that all wires deliver: the same bytes on every node. Copies `data`. */
export function encodeEvent(head: EventHead, data: Uint8Array): LogEvent {
  const { channel, epoch, offset, time, type, tags, encoding, low, kind } = head
  if (kind === 'end') return encodeEnd(head)
  // Names need no escapes in JSON. Tags are printed in ASCII.
  const before =
    `{"channel":"${channel}",` +
    (kind === 'transient' ? '' : `"id":"${epoch}-${offset}",`) +
    `"time":${time}` +
    (type === undefined ? '' : `,"type":"${type}"`) +
    (tags === undefined ? '' : `,"tags":${printTags(tags)}`) +
    (kind === 'erased' ? ',"erased":true' : '') +
    (encoding === undefined ? ',"data":' : `,"encoding":"${encoding}","data":`)
  const dataStart = before.length
  const length = dataStart + data.length + 1
  const json = kind === 'transient' ? Buffer.allocUnsafe(length) : allocateRetained(length)
  json.write(before, 0, 'latin1')
  json.set(data, dataStart)
  json[json.length - 1] = 0x7d
  return {
    channel,
    epoch,
    offset,
    time,
    type,
    tags,
    encoding,
    low,
    kind,
    json,
    dataStart,
    bytes: data.length,
  }
}

/** The type of an end, on wires that name events. */
const END = 'end'

function encodeEnd({ channel, epoch, offset, time }: EventHead): LogEvent {
  const before = '{"end":'
  const text = `${before}{"channel":"${channel}","id":"${epoch}-${offset}"}}`
  const json = allocateRetained(text.length)
  json.write(text, 'latin1')
  const dataStart = before.length
  return {
    channel,
    epoch,
    offset,
    time,
    type: END,
    tags: undefined,
    encoding: undefined,
    low: false,
    kind: 'end',
    json,
    dataStart,
    bytes: 0,
  }
}

const NO_DATA = Buffer.from('null')

/** The end of a channel, for readers that are already at `position`. */
export function endAt(channel: string, { epoch, offset }: Position): LogEvent {
  return encodeEnd({ channel, epoch, offset, time: 0, ...PLAIN })
}

const PLAIN = { type: undefined, encoding: undefined, low: false } as const

/** The event without its data and its tags. Position, time and type remain. */
export function erasedOf({ channel, epoch, offset, time, type }: LogEvent): LogEvent {
  return encodeEvent({ channel, epoch, offset, time, ...PLAIN, type, kind: 'erased' }, NO_DATA)
}

/** An event that is not stored. */
export function transientOf(channel: string, time: number, { type, tags, encoding, data }: Draft): LogEvent {
  const head = {
    channel,
    epoch: '',
    offset: 0,
    time,
    type,
    tags,
    encoding,
    low: false,
    kind: 'transient',
  } as const
  return encodeEvent(head, data)
}

/** The event's data as JSON text: a view. */
export function dataOf({ json, dataStart }: LogEvent): Buffer {
  return json.subarray(dataStart, -1)
}
