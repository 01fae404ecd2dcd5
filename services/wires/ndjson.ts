// NDJSON: one JSON object per line.

import type { LogEvent } from '../broker/event/event.ts'
import { allocateChunk } from '../http/chunks.ts'
import { type BodyFrames, type BodyFraming, bodyFraming } from './body-framing.ts'
import { encodeGap, encodeOpening, encodePassed } from './objects.ts'

const NEWLINE = 0x0a

/** NDJSON as the framing of the wire with that name. */
export function ndjsonFraming(wire: string): BodyFraming {
  return bodyFraming(wire, lines)
}

const lines: BodyFrames = {
  opening: cursor => `${encodeOpening(cursor)}\n`,
  stretch(events, from, to) {
    let size = 0
    for (let i = from; i < to; i++) size += (events[i] as LogEvent).json.length + 1
    const { chunk, at: begin } = allocateChunk(size)
    let at = begin
    for (let i = from; i < to; i++) {
      const { json } = events[i] as LogEvent
      chunk.set(json, at)
      at += json.length
      chunk[at++] = NEWLINE
    }
    return chunk
  },
  gap: (channel, gap) => `{"gap":${encodeGap(channel, gap)}}\n`,
  passed: (channel, at) => `{"passed":${encodePassed(channel, at)}}\n`,
  heartbeat: '\n',
  closing: ({ code, reason, retry }) => `${JSON.stringify({ close: { code, reason, retry } })}\n`,
}
