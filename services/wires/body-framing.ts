// Wires whose frames are the body of an HTTP response: chunked for HTTP/1.1, plain for the others. A stretch is encoded
// once for both.

import { type CloseReason, type Framing, reconnects } from '../broker/fanout/framing.ts'
import type { Gap, Position } from '../broker/event/position.ts'
import { chunkOf, dataOf, LAST_CHUNK } from '../http/chunks.ts'

/** The two forms of the body. */
export interface BodyFraming {
  /**
   * For HTTP/1.1: each frame, and each stretch, is one chunk. The last chunk is only sent to a client that must not
   * reconnect.
   */
  readonly chunked: Framing
  /** For HTTP/2, which has frames itself, and HTTP/1.0, where the body ends with the connection. */
  readonly plain: Framing
}

export interface BodyFrames {
  readonly cursorNamesAllChannels?: true
  opening(cursor: string): string
  /** Frames a stretch as one chunk. */
  readonly stretch: Framing['stretch']
  gap(channel: string, gap: Gap, cursor: string): string
  passed(channel: string, at: Position, cursor: string): string
  readonly heartbeat: string
  closing(reason: CloseReason): string
}

export function bodyFraming(wire: string, frames: BodyFrames): BodyFraming {
  const { cursorNamesAllChannels } = frames
  const shared = { wire, ...(cursorNamesAllChannels && { cursorNamesAllChannels }) }
  const chunked: Framing = {
    ...shared,
    opening: cursor => chunkOf(frames.opening(cursor)),
    stretch: frames.stretch,
    gap: (channel, gap, cursor) => chunkOf(frames.gap(channel, gap, cursor)),
    passed: (channel, at, cursor) => chunkOf(frames.passed(channel, at, cursor)),
    heartbeat: chunkOf(frames.heartbeat),
    closing(reason) {
      const chunk = chunkOf(frames.closing(reason))
      return reconnects(reason.code) ? chunk : Buffer.concat([chunk, LAST_CHUNK])
    },
  }
  const plain: Framing = {
    ...shared,
    within: { framing: chunked, view: dataOf },
    opening: cursor => Buffer.from(frames.opening(cursor)),
    stretch: (events, from, to, cursorAfter) => dataOf(frames.stretch(events, from, to, cursorAfter)),
    gap: (channel, gap, cursor) => Buffer.from(frames.gap(channel, gap, cursor)),
    passed: (channel, at, cursor) => Buffer.from(frames.passed(channel, at, cursor)),
    heartbeat: Buffer.from(frames.heartbeat),
    closing: reason => Buffer.from(frames.closing(reason)),
  }
  return { chunked, plain }
}
