// JSON objects beside events, which all wires share.

import { type Gap, printPosition } from '../broker/event/position.ts'

/** A gap in a channel. */
export function encodeGap(channel: string, gap: Gap): string {
  return `{"channel":"${channel}","from":"${printPosition(gap.from)}","to":"${printPosition(gap.to)}"}`
}

/** Where a reader begins. */
export function encodeOpening(cursor: string): string {
  return `{"open":{"cursor":"${cursor}"}}`
}
