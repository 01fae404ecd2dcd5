// A PushSink's input: records, each an event that can be pushed, or a line of NDJSON for the held stream. Lengths come
// first, so that the sink need not parse events.

import type { LogEvent } from '../../broker/event/event.ts'
import { printPosition } from '../../broker/event/position.ts'
import type { Framing } from '../../broker/fanout/framing.ts'
import { ndjsonFraming } from '../ndjson.ts'

/** One byte for the length of the channel, one for that of the id, four for that of the line. */
const HEADER_LENGTH = 6
const NEWLINE = 0x0a

export interface PushRecord {
  /** Names an event with its id; undefined if there is only a line. */
  readonly event: { readonly channel: string; readonly id: string } | undefined
  /** With its line break. */
  readonly line: Buffer
  /** Where the next record begins. */
  readonly end: number
}

/** The lines of the wire where nothing can be pushed. */
export const lineFraming = ndjsonFraming('push')
const lines = lineFraming.plain

/** Records for a PushSink. */
export const recordFraming: Framing = {
  wire: lines.wire,
  opening: cursor => lineRecord(lines.opening(cursor)),
  stretch(events, from, to) {
    const ids: string[] = []
    let size = 0
    for (let i = from; i < to; i++) {
      const event = events[i] as LogEvent
      const id = isResource(event) ? printPosition(event) : ''
      ids.push(id)
      size += HEADER_LENGTH + channelOf(event).length + id.length + event.json.length + 1
    }
    const bytes = Buffer.allocUnsafe(size)
    let at = 0
    for (let i = from; i < to; i++) {
      const event = events[i] as LogEvent
      const { json } = event
      at = writeHead(bytes, at, channelOf(event), ids[i - from] as string, json.length + 1)
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
 * Whether the event can be fetched, and so be pushed: an end is a line, and so are transient events, and an event that
 * says how many were skipped.
 */
function isResource({ kind, skipped }: LogEvent): boolean {
  return kind !== 'end' && kind !== 'transient' && skipped === undefined
}

/** Empty if there is only a line. */
function channelOf(event: LogEvent): string {
  return isResource(event) ? event.channel : ''
}

/** The record that begins at `at`. */
export function readRecord(bytes: Buffer, at: number): PushRecord {
  const channelAt = at + HEADER_LENGTH
  const idAt = channelAt + bytes.readUInt8(at)
  const lineAt = idAt + bytes.readUInt8(at + 1)
  const end = lineAt + bytes.readUInt32BE(at + 2)
  const event =
    lineAt === channelAt
      ? undefined
      : { channel: bytes.toString('latin1', channelAt, idAt), id: bytes.toString('latin1', idAt, lineAt) }
  return { event, line: bytes.subarray(lineAt, end), end }
}

function lineRecord(line: Buffer): Buffer {
  const bytes = Buffer.allocUnsafe(HEADER_LENGTH + line.length)
  bytes.set(line, writeHead(bytes, 0, '', '', line.length))
  return bytes
}

/** Returns where the line begins. */
function writeHead(bytes: Buffer, at: number, channel: string, id: string, lineLength: number): number {
  bytes.writeUInt8(channel.length, at)
  bytes.writeUInt8(id.length, at + 1)
  const channelAt = bytes.writeUInt32BE(lineLength, at + 2)
  const idAt = channelAt + bytes.write(channel, channelAt, 'latin1')
  return idAt + bytes.write(id, idAt, 'latin1')
}
