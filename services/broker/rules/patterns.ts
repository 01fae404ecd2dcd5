// Patterns of channel names in grants and rules: literal segments between `:`, `*`, and in rules `{user}`. A `/` is an
// ordinary character: it does not end a segment.

import { CHANNEL_CHARACTERS, hasStep } from '../event/names.ts'

/** The segment that must equal the identity's user. */
export const USER_SEGMENT = '{user}'

const LONGEST_PATTERN = 200
/** Characters of a literal segment, for a character class of a regular expression. */
export const CHARACTERS = CHANNEL_CHARACTERS.replace(':', '')
const LITERAL = new RegExp(`^[${CHARACTERS}]+$`)
const WITH_ASTERISK = new RegExp(`^[*${CHARACTERS}]+$`)
const COLON = 0x3a
const ASTERISK = 0x2a

/**
 * Why a pattern is invalid, as the end of a sentence that begins with the pattern; undefined if it is valid.
 *
 * `*` matches one whole segment; as the last segment, it matches one or more. Names may have empty segments (`a::b`),
 * which `*` matches; patterns may not.
 */
export function patternFault(pattern: unknown, { userSegments = false } = {}): string | undefined {
  if (typeof pattern !== 'string') return 'is not a string'
  if (pattern === '') return 'is empty'
  if (pattern.length > LONGEST_PATTERN) return `is longer than ${LONGEST_PATTERN} characters`
  if (hasStep(pattern)) return 'has a dot segment, `.` or `..`, which no channel name may have'
  const segments = pattern.split(':')
  if (segments[0] === 'fanwire') return "begins with `fanwire:`, which is the node's own"
  for (const segment of segments) {
    const fault = segmentFault(segment, userSegments)
    if (fault !== undefined) return fault
  }
  return undefined
}

function segmentFault(segment: string, userSegments: boolean): string | undefined {
  if (segment === '*' || LITERAL.test(segment)) return undefined
  if (segment === '') return 'has an empty segment'
  if (segment === '**') return 'has `**`: a `*` at the end already matches the rest'
  if (segment === USER_SEGMENT)
    return userSegments ? undefined : 'has `{user}`, which is only allowed in rules'
  if (WITH_ASTERISK.test(segment))
    return 'has a `*` within a segment: it has to be a whole one, as in `chat:*`'
  if (/[{}]/.test(segment)) return 'has braces: only `{user}` is allowed, as a whole segment'
  return 'has characters that no channel name has: there are no regular expressions, only segments and `*`'
}

/** Whether a pattern matches a channel. The pattern has no fault and no `{user}`. */
export function matches(pattern: string, channel: string): boolean {
  let at = 0
  const last = pattern.length - 1
  for (let i = 0; i <= last; i++) {
    const code = pattern.charCodeAt(i)
    if (code === ASTERISK) {
      if (i === last) return true
      at = endOfSegment(channel, at)
    } else {
      if (code !== channel.charCodeAt(at)) return false
      at++
    }
  }
  return at === channel.length
}

function endOfSegment(channel: string, from: number): number {
  let at = from
  while (at < channel.length && channel.charCodeAt(at) !== COLON) at++
  return at
}
