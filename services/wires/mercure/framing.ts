// The frames of Mercure: server-sent events whose data is the update's alone. What each connection may have of a stretch is
// chosen when it is written, so a stretch keeps where its updates are.

import { jitter } from '../../backoff.ts'
import type { LogEvent } from '../../broker/event/event.ts'
import { printPosition } from '../../broker/event/position.ts'
import { updateOf } from '../../broker/event/update.ts'
import type { Framing } from '../../broker/fanout/framing.ts'
import { type BodyFraming, bodyFraming } from '../body-framing.ts'

export const WIRE = 'mercure'

/** An update in a stretch: `bytes[from]` up to, not including, `bytes[to]`. */
export interface Piece {
  readonly event: LogEvent
  readonly from: number
  readonly to: number
}

const pieces = new WeakMap<Buffer, readonly Piece[]>()

/** The updates of a stretch; undefined for other frames. */
export function piecesOf(bytes: Buffer): readonly Piece[] | undefined {
  return pieces.get(bytes)
}

/** As subscribers know an update. */
export function idOf(event: LogEvent): string {
  return updateOf(event).id ?? `#${printPosition(event)}`
}

function block(event: LogEvent): string {
  const { text, retry, type } = updateOf(event)
  const name = type ?? event.type
  const lines = text.split(/\r\n|\r|\n/).map(line => `data: ${line}\n`)
  return (
    (name === undefined ? '' : `event: ${name}\n`) +
    (retry === undefined ? '' : `retry: ${retry}\n`) +
    lines.join('') +
    // The id comes last: some clients take it as soon as its line has come. What is not kept has none.
    (event.kind === 'transient' ? '\n' : `id: ${idOf(event)}\n\n`)
  )
}

const stretch: Framing['stretch'] = (events, from, to) => {
  const blocks = events.slice(from, to).map(event => ({ event, bytes: Buffer.from(block(event)) }))
  const all = Buffer.concat(blocks.map(({ bytes }) => bytes))
  let at = 0
  const found = blocks.map(({ event, bytes }) => ({ event, from: at, to: (at += bytes.length) }))
  pieces.set(all, found)
  return all
}

const frames = bodyFraming(WIRE, {
  // No block ends here: some clients deliver every block, also one without data.
  opening: () => `:\nretry: ${jitter(2000)}\n`,
  stretch,
  gap: (_channel, { from, to }, cursor) =>
    `event: gap\ndata: {"from":"#${printPosition(from)}","to":"#${printPosition(to)}"}\nid: #${cursor}\n\n`,
  passed: () => '',
  heartbeat: ':\n',
  closing({ code, reason, retry }) {
    if (retry !== undefined) return `retry: ${retry}\n: ${code} ${reason}\n`
    return `event: end\ndata: ${JSON.stringify({ close: { code, reason } })}\n\n`
  },
})

const { within: _, ...plain } = frames.plain

/** Stretches are no chunks yet. */
export const mercureFraming: BodyFraming = {
  chunked: { ...frames.chunked, stretch },
  plain: { ...plain, stretch },
}
