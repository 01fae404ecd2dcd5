// Mercure's frames: server-sent events whose data is only the update's. Updates are selected for each connection when a
// stretch is written, so a stretch records where its updates are.

import { jitter } from '../../backoff.ts'
import type { LogEvent } from '../../broker/event/event.ts'
import { printPosition } from '../../broker/event/position.ts'
import { updateOf } from '../../broker/event/update.ts'
import type { Framing } from '../../broker/fanout/framing.ts'
import { type BodyFraming, bodyFraming } from '../body-framing.ts'

export const WIRE = 'mercure'

/** An update in a stretch: the bytes from `from` up to but not including `to`. */
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

/** The id by which subscribers know an update. */
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
    // The id comes last: some clients apply it as soon as its line arrives. Transient updates have none.
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
  // Blocks without data would be enough to move the cursor, but some clients deliver even these as messages.
  opening: cursor => `event: fanwire:open\ndata: {}\nid: #${cursor}\nretry: ${jitter(2000)}\n\n`,
  stretch,
  gap: (_channel, { from, to }, cursor) =>
    `event: gap\ndata: {"from":"#${printPosition(from)}","to":"#${printPosition(to)}"}\nid: #${cursor}\n\n`,
  passed: (_channel, _at, cursor) => `event: fanwire:passed\ndata: {}\nid: #${cursor}\n\n`,
  heartbeat: ':\n',
  closing({ code, reason, retry }) {
    if (retry !== undefined) return `retry: ${retry}\n: ${code} ${reason}\n`
    return `event: end\ndata: ${JSON.stringify({ close: { code, reason } })}\n\n`
  },
})

const { within: _, ...plain } = frames.plain

/** Stretches are not chunked here: a connection does that after its selection. */
export const mercureFraming: BodyFraming = {
  chunked: { ...frames.chunked, stretch },
  plain: { ...plain, stretch },
}
