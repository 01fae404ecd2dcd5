// JSON objects other than events, which all wires share.

import type { CloseReason } from '../broker/fanout/framing.ts'
import { type Gap, type Position, printPosition } from '../broker/event/position.ts'

/** A gap in a channel. */
export function encodeGap(channel: string, gap: Gap): string {
  return `{"channel":"${channel}","from":"${printPosition(gap.from)}","to":"${printPosition(gap.to)}"}`
}

/** Reports that the client's selection has no events of a channel up to this position. */
export function encodePassed(channel: string, at: Position): string {
  return `{"channel":"${channel}","cursor":"${printPosition(at)}"}`
}

/** A channel that the connection lost; it continues with its others. */
export function encodeDropped(channel: string, at: Position, { code, reason }: CloseReason): string {
  return JSON.stringify({ channel, cursor: printPosition(at), code, reason })
}

/** Where a reader begins. */
export function encodeOpening(cursor: string): string {
  return `{"open":{"cursor":"${cursor}"}}`
}
