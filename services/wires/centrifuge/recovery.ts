// Finds where a subscription begins: where the client left off, if no later event is missing, otherwise at the head.

import type { Channel } from '../../broker/fanout/channel.ts'
import { parsePosition, type Position, type Start } from '../../broker/event/position.ts'
import { badRequest, offsetGone } from './codes.ts'
import type { Request } from './protocol.ts'

/** Flag of a subscription: fail if it can't be fully recovered. */
const REJECT_UNRECOVERED = 2

export interface Wanted {
  readonly recover: boolean
  /** Where it left off; `latest` for the head, or if the position is not one of this log. */
  readonly start: Start
  readonly strict: boolean
}

export interface Placed {
  readonly at: Position
  readonly recovered: boolean
}

/** Raises FW_BAD_COMMAND. */
export function wantedOf({ recover = false, epoch = '', offset = 0, flag = 0 }: Request): Wanted {
  if (typeof recover !== 'boolean') throw badRequest('recover must be true or false')
  if (typeof epoch !== 'string') throw badRequest('epoch must be a string')
  if (!Number.isSafeInteger(offset)) throw badRequest('offset must be a whole number')
  if (!Number.isSafeInteger(flag)) throw badRequest('flag must be a whole number')
  const start = recover ? startOf(epoch, offset as number) : 'latest'
  return { recover, start, strict: (Number(flag) & REJECT_UNRECOVERED) !== 0 }
}

/** Without an epoch only the beginning can be recovered. */
export function startOf(epoch: string, offset: number): Start {
  if (epoch === '' && offset === 0) return 'earliest'
  return parsePosition(`${epoch}-${offset}`) ?? 'latest'
}

/** Raises FW_OFFSET_GONE if the client requires full recovery, LogUnavailable. */
export async function place(channel: Channel, { recover, start, strict }: Wanted): Promise<Placed> {
  const found = start === 'latest' ? undefined : await continueFrom(channel, start)
  if (found !== undefined) return { at: found, recovered: true }
  if (recover && strict) throw offsetGone()
  return { at: await channel.settle('latest'), recovered: false }
}

/** The position after which the client continues; undefined if a later event is missing. */
async function continueFrom(channel: Channel, start: Start): Promise<Position | undefined> {
  const at = await channel.settle(start)
  if (start === 'earliest' && at.offset > 0) return undefined
  const { gap, start: from } = await channel.page(at, { events: 1, bytes: 1 })
  return gap === undefined ? from : undefined
}
