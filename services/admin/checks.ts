// Validates parameters of admin routes.

import { userFault } from '../broker/access/claims.ts'
import { isChannelName } from '../broker/event/names.ts'
import { FanwireError, quote } from '../errors.ts'

/** Raises FW_BAD_PARAMETER. */
export function checkedUser(name: string, value: unknown): string {
  const fault = userFault(value)
  if (fault !== undefined) throw new FanwireError('FW_BAD_PARAMETER', `${name} ${fault}`)
  return value as string
}

/** Raises FW_BAD_PARAMETER. */
export function checkedText(name: string, value: unknown): string {
  if (typeof value === 'string') return value
  throw new FanwireError('FW_BAD_PARAMETER', `${name} is ${value === undefined ? 'missing' : 'not a string'}`)
}

/** A channel's name, which may be one of the node's own. Raises FW_BAD_CHANNEL. */
export function checkedAnyChannel(value: unknown): string {
  const name = checkedText('channel', value)
  if (isChannelName(name.replace(/^fanwire:(?=.)/, ''))) return name
  throw new FanwireError('FW_BAD_CHANNEL', `${quote(name)} is not a valid channel name`)
}

/** RFC 3339, with a zone, since local times could differ between machines. */
const TIME = /^\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d))?$/
/** Tolerated clock skew, ms. */
const LEEWAY_MS = 10_000

/** Smaller numbers are seconds: this is the year 5138 in seconds, and 1973 in ms. */
const FIRST_MS = 1e11

/** Parses a past time, in seconds as in tokens, in ms, or in RFC 3339, to ms since 1970. Raises FW_BAD_PARAMETER. */
export function checkedPast(name: string, value: unknown, now = Date.now()): number {
  const time =
    typeof value === 'number'
      ? value * (value < FIRST_MS ? 1000 : 1)
      : typeof value === 'string' && TIME.test(value)
        ? Date.parse(value)
        : Number.NaN
  if (Number.isNaN(time) || time < 0) {
    throw new FanwireError(
      'FW_BAD_PARAMETER',
      `${name} is not a time: seconds or milliseconds since 1970, or a text such as "2027-01-31T12:00:00Z"`,
    )
  }
  if (time > now + LEEWAY_MS) {
    throw new FanwireError('FW_BAD_PARAMETER', `${name} is in the future`)
  }
  return time
}
