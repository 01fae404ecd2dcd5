// The grammar of channel names, event types and idempotency keys, and the error texts for it.

import { FanwireError } from '../../errors.ts'

/** Characters of channel names, for a character class of a regular expression. None needs an escape in JSON. */
export const CHANNEL_CHARACTERS = String.raw`A-Za-z0-9_.:~@\/#$=,;!+&()'?-`
/** A segment `.` or `..` is a dot segment: a URL with such a name resolves to another one (RFC 3986 section 5.2.4). */
const STEP = /(?:^|\/)\.\.?(?:\/|$)/
const CHANNEL = new RegExp(`^(?!fanwire:)[${CHANNEL_CHARACTERS}]{1,200}$`)
const TYPE = /^(?!fanwire:)[A-Za-z0-9_.:~@-]{1,64}$/
const TAG = /^[A-Za-z0-9_.:~@-]{1,64}$/
const RESERVED_TYPES = new Set(['gap', 'error', 'open', 'close', 'end'])
const IDEMPOTENCY_KEY = /^[\x21-\x7e]{1,128}$/

/** The node's own channels that clients may read: a channel's joins and leaves, and the log of lives. */
const READABLE_OWN = /^fanwire:(?:presence:(.+)|lives:(?:\d|1[0-5]))$/

const PRESENCE = 'fanwire:presence:'

/** The channel that carries the joins and leaves of a channel. */
export function presenceOf(channel: string): string {
  return PRESENCE + channel
}

/** The channel whose joins and leaves this channel carries; undefined if it carries none. */
export function attendedIn(channel: string): string | undefined {
  return channel.startsWith(PRESENCE) ? channel.slice(PRESENCE.length) : undefined
}

export function isChannelName(name: unknown): name is string {
  return typeof name === 'string' && CHANNEL.test(name) && !hasStep(name)
}

/** Whether a text has a dot segment. */
export function hasStep(text: string): boolean {
  return text.includes('.') && STEP.test(text)
}

export function isTypeName(name: unknown): name is string {
  return typeof name === 'string' && TYPE.test(name) && !RESERVED_TYPES.has(name)
}

/** Tags may have the names of types, and also the reserved ones, since wires never use tags as event names. */
export function isTagName(name: unknown): name is string {
  return typeof name === 'string' && TAG.test(name)
}

function isIdempotencyKey(key: unknown): key is string {
  return typeof key === 'string' && IDEMPOTENCY_KEY.test(key)
}

export const TAG_NAME_RULE = '1 to 64 of A-Z a-z 0-9 _ . : ~ @ -'
const CHANNEL_RULE =
  "1 to 200 of A-Z a-z 0-9 _ . : ~ @ - / # $ = , ; ! + & ( ) ' ?, percent-encoded once in a URL, not beginning with " +
  'fanwire:, and without a segment . or .. between slashes'
const TYPE_RULE = '1 to 64 of A-Z a-z 0-9 _ . : ~ @ -, not gap, error, open, close, end or fanwire:…'

/** V8 copies a shorter text anyway; a longer one that was cut out of another text keeps that whole text in memory. */
const SHORTEST_SLICE = 13

/**
 * A text for memory that outlives a request. Names come from URLs and headers of up to 16 KB, all of which a mere slice
 * would keep.
 */
export function ownCopy(text: string): string {
  return text.length < SHORTEST_SLICE ? text : Buffer.from(text).toString()
}

/** `name`, if it is a channel name. Raises FW_BAD_CHANNEL. */
export function checkedChannel(name: unknown): string {
  if (!isChannelName(name)) throw new FanwireError('FW_BAD_CHANNEL', `a channel name is ${CHANNEL_RULE}`)
  return name
}

/** `name`, if clients can read that channel: theirs, or one of the node's that reports on those. Raises FW_BAD_CHANNEL. */
export function checkedReadable(name: unknown): string {
  const [own, about] = (typeof name === 'string' ? READABLE_OWN.exec(name) : null) ?? []
  if (own !== undefined && (about === undefined || isChannelName(about))) return own
  return checkedChannel(name)
}

/** `type`, if it is an event type. Raises FW_BAD_TYPE. */
export function checkedType(type: unknown): string {
  if (!isTypeName(type)) throw new FanwireError('FW_BAD_TYPE', `an event type is ${TYPE_RULE}`)
  return type
}

/** `key`, if it is an idempotency key. Raises FW_BAD_IDEMPOTENCY_KEY. */
export function checkedIdempotencyKey(key: unknown): string {
  if (!isIdempotencyKey(key)) {
    throw new FanwireError(
      'FW_BAD_IDEMPOTENCY_KEY',
      'an idempotency key is 1 to 128 visible ASCII characters',
    )
  }
  return key
}
