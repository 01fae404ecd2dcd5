// The frames of the ws wire without compression.

import type { LogEvent } from '../../broker/event/event.ts'
import type { Framing } from '../../broker/fanout/framing.ts'
import { encodeDropped, encodeGap, encodeOpening, encodePassed } from '../objects.ts'
import { PING, TEXT, wsFrame, wsHeaderSize, wsText, writeWsHeader } from '../ws-frames.ts'

/** One text message for each object. */
export const wsFraming: Framing = {
  wire: 'ws',
  opening: cursor => wsText(encodeOpening(cursor)),
  stretch(events, from, to) {
    let size = 0
    for (let i = from; i < to; i++) {
      const { length } = (events[i] as LogEvent).json
      size += wsHeaderSize(length) + length
    }
    const bytes = Buffer.allocUnsafe(size)
    let at = 0
    for (let i = from; i < to; i++) {
      const { json } = events[i] as LogEvent
      at = writeWsHeader(bytes, at, TEXT, json.length)
      bytes.set(json, at)
      at += json.length
    }
    return bytes
  },
  gap: (channel, gap) => wsFrame(TEXT, Buffer.from(`{"gap":${encodeGap(channel, gap)}}`)),
  passed: (channel, at) => wsText(`{"passed":${encodePassed(channel, at)}}`),
  dropped: (channel, at, reason) => wsText(`{"unsubscribed":${encodeDropped(channel, at, reason)}}`),
  heartbeat: wsFrame(PING, Buffer.alloc(0)),
  answered: true,
  // The WebSocket library sends the close frame.
  closing: () => Buffer.alloc(0),
}
