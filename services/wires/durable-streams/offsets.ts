// Offsets: positions as strings that sort in the same order.

import { FanwireError } from '../../errors.ts'
import { type Position, parsePosition } from '../../broker/event/position.ts'

const OFFSET = /^([a-z0-9]{1,16})_([0-9]{16})$/

/** Where a read begins. */
export type Begin = Position | 'earliest' | 'latest'

export function printOffset({ epoch, offset }: Position): string {
  return `${epoch}_${String(offset).padStart(16, '0')}`
}

/** `-1` is the beginning, `now` the tail. Raises FW_BAD_CURSOR. */
export function checkedOffset(text: string): Begin {
  if (text === '-1') return 'earliest'
  if (text === 'now') return 'latest'
  const [, epoch, offset] = OFFSET.exec(text) ?? []
  const position = epoch === undefined ? undefined : parsePosition(`${epoch}-${Number(offset)}`)
  if (position === undefined) {
    throw new FanwireError('FW_BAD_CURSOR', 'offset is -1, now, or a value of Stream-Next-Offset')
  }
  return position
}
