// The head that a conditional publish requires, in the publisher's notation.

import { FanwireError } from '../../errors.ts'
import type { IfHead } from './event.ts'
import { parsePosition } from './position.ts'

/** A position, or `none`. Raises FW_BAD_EVENT. */
export function checkedIfHead(value: unknown): IfHead {
  const ifHead = value === 'none' ? value : typeof value === 'string' ? parsePosition(value) : undefined
  if (ifHead !== undefined) return ifHead
  throw new FanwireError(
    'FW_BAD_EVENT',
    'ifHead is a position, <epoch>-<offset>, or "none" for a first event',
  )
}

/** The head that `If-Match` and `If-None-Match` (RFC 9110 section 13.1) require. Raises FW_BAD_PARAMETER. */
export function ifHeadOf(ifMatch: string | undefined, ifNoneMatch: string | undefined): IfHead | undefined {
  if (ifNoneMatch !== undefined) {
    if (ifNoneMatch.trim() === '*' && ifMatch === undefined) return 'none'
    throw new FanwireError('FW_BAD_PARAMETER', 'publishing accepts If-None-Match: * only, without If-Match')
  }
  if (ifMatch === undefined) return undefined
  const position = parsePosition(/^\s*"([^"]*)"\s*$/.exec(ifMatch)?.[1] ?? '')
  if (position !== undefined) return position
  throw new FanwireError('FW_BAD_PARAMETER', 'If-Match is one position in quotes: "<epoch>-<offset>"')
}
