// The frames of server-sent events.

import { jitter } from '../../backoff.ts'
import type { LogEvent } from '../../broker/event/event.ts'
import { allocateChunk } from '../../http/chunks.ts'
import { type BodyFraming, bodyFraming } from '../body-framing.ts'
import { encodeGap, encodeOpening, encodePassed } from '../objects.ts'

/**
 * Server-sent events, WHATWG HTML section 9.2.5. The object has no line breaks, so one `data:` line holds it. The `id:`
 * comes last in each block: some clients apply it as soon as its line arrives, and a connection can be cut anywhere.
 * Only events end with a blank line: some clients deliver every block, even one without data.
 */
export const sseFraming: BodyFraming = bodyFraming('sse', {
  cursorNamesAllChannels: true,
  opening: cursor =>
    `event: fanwire:open\ndata: ${encodeOpening(cursor)}\nid: ${cursor}\nretry: ${jitter(2000)}\n\n`,
  stretch(events, from, to, cursorAfter) {
    /** The text before each event's object. */
    const seams: string[] = []
    let end = ''
    let size = 0
    for (let i = from; i < to; i++) {
      const event = events[i] as LogEvent
      const seam = event.type === undefined ? `${end}data: ` : `${end}event: ${event.type}\ndata: `
      seams.push(seam)
      size += seam.length + event.json.length
      end = endOf(event, cursorAfter)
    }
    const { chunk, at: begin } = allocateChunk(size + end.length)
    let at = begin
    for (let i = from; i < to; i++) {
      const { json } = events[i] as LogEvent
      at += chunk.write(seams[i - from] as string, at, 'latin1')
      chunk.set(json, at)
      at += json.length
    }
    chunk.write(end, at, 'latin1')
    return chunk
  },
  gap: (channel, gap, cursor) => `event: gap\ndata: ${encodeGap(channel, gap)}\nid: ${cursor}\n\n`,
  passed: (channel, at, cursor) =>
    `event: fanwire:passed\ndata: ${encodePassed(channel, at)}\nid: ${cursor}\n\n`,
  heartbeat: ':\n',
  closing({ code, reason, retry }) {
    if (retry !== undefined) return `retry: ${retry}\n: ${code} ${reason}\n`
    return `event: end\ndata: ${JSON.stringify({ close: { code, reason } })}\n\n`
  },
})

/** A transient event has no id, so the client keeps its last one. */
function endOf(event: LogEvent, cursorAfter: ((event: LogEvent) => string) | undefined): string {
  if (event.kind === 'transient') return '\n\n'
  return `\nid: ${cursorAfter === undefined ? `${event.epoch}-${event.offset}` : cursorAfter(event)}\n\n`
}
