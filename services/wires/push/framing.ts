// The input of a PushSink: records, each with an event to push, or a line of NDJSON for the held stream. Lengths come
// first, so that the sink need not parse events.

import type { LogEvent } from '../../broker/event/event.ts'
import { printPosition } from '../../broker/event/position.ts'
import type { Framing } from '../../broker/fanout/framing.ts'
import { ndjsonFraming } from '../ndjson.ts'

/** One byte for the length of the channel, one for that of the id, one for `erased`, four for the length of the line. */
const HEADER_LENGTH = 7
const NEWLINE = 0x0a

/** An event that can be pushed. */
export interface PushedEvent {
  readonly channel: string
  readonly id: string
  /** Its data was erased. */
  readonly erased: boolean
}

export interface PushRecord {
  /** Undefined if there is only a line. */
  readonly event: PushedEvent | undefined
  /** With its line break. */
  readonly line: Buffer
  /** Where the next record begins. */
  readonly end: number
}

/** The framing for clients to which nothing can be pushed. */
export const lineFraming = ndjsonFraming('push')
const lines = lineFraming.plain

/** Records for a PushSink. */
export const recordFraming: Framing = {
  wire: lines.wire,
  opening: cursor => lineRecord(lines.opening(cursor)),
  stretch(events, from, to) {
    const pushed: (PushedEvent | undefined)[] = []
    let size = 0
    for (let i = from; i < to; i++) {
      const event = events[i] as LogEvent
      const record = pushedOf(event)
      pushed.push(record)
      size += headLength(record) + event.json.length + 1
    }
    const bytes = Buffer.allocUnsafe(size)
    let at = 0
    for (let i = from; i < to; i++) {
      const { json } = events[i] as LogEvent
      at = writeHead(bytes, at, pushed[i - from], json.length + 1)
      bytes.set(json, at)
      at += json.length
      bytes[at++] = NEWLINE
    }
    return bytes
  },
  gap: (channel, gap, cursor) => lineRecord(lines.gap(channel, gap, cursor)),
  passed: (channel, at, cursor) => lineRecord(lines.passed(channel, at, cursor)),
  heartbeat: lineRecord(lines.heartbeat),
  closing: reason => lineRecord(lines.closing(reason)),
}

/**
 * Whether the event can be fetched, and so be pushed. Ends, transient events, and events that replace skipped ones are
 * sent as lines.
 */
function isResource({ kind, skipped }: LogEvent): boolean {
  return kind !== 'end' && kind !== 'transient' && skipped === undefined
}

/** Undefined if there is only a line. */
function pushedOf(event: LogEvent): PushedEvent | undefined {
  if (!isResource(event)) return undefined
  return { channel: event.channel, id: printPosition(event), erased: event.kind === 'erased' }
}

/** The record that begins at `at`. */
export function readRecord(bytes: Buffer, at: number): PushRecord {
  const channelAt = at + HEADER_LENGTH
  const idAt = channelAt + bytes.readUInt8(at)
  const lineAt = idAt + bytes.readUInt8(at + 1)
  const end = lineAt + bytes.readUInt32BE(at + 3)
  const event =
    lineAt === channelAt
      ? undefined
      : {
          channel: bytes.toString('latin1', channelAt, idAt),
          id: bytes.toString('latin1', idAt, lineAt),
          erased: bytes.readUInt8(at + 2) === 1,
        }
  return { event, line: bytes.subarray(lineAt, end), end }
}

function lineRecord(line: Buffer): Buffer {
  const bytes = Buffer.allocUnsafe(headLength(undefined) + line.length)
  bytes.set(line, writeHead(bytes, 0, undefined, line.length))
  return bytes
}

/** Bytes before the line. */
function headLength(event: PushedEvent | undefined): number {
  return event === undefined ? HEADER_LENGTH : HEADER_LENGTH + event.channel.length + event.id.length
}

/** Returns where the line begins. */
function writeHead(bytes: Buffer, at: number, event: PushedEvent | undefined, lineLength: number): number {
  const { channel, id, erased } = event ?? { channel: '', id: '', erased: false }
  bytes.writeUInt8(channel.length, at)
  bytes.writeUInt8(id.length, at + 1)
  bytes.writeUInt8(erased ? 1 : 0, at + 2)
  const channelAt = bytes.writeUInt32BE(lineLength, at + 3)
  const idAt = channelAt + bytes.write(channel, channelAt, 'latin1')
  return idAt + bytes.write(id, idAt, 'latin1')
}
