// One entry of a bulk publish, one line of NDJSON or one publish command: its channels, its data, and its optional
// members.

import { isUtf8 } from 'node:buffer'
import { isObject } from './json-values.ts'
import { FanwireError, quote } from '../../errors.ts'
import { binaryData, type Draft, unbroken } from './event.ts'
import { checkedIfHead } from './if-head.ts'
import { members } from './json-spans.ts'
import { checkedChannel, checkedIdempotencyKey, checkedType } from './names.ts'
import { tagsOf } from './tags.ts'

/** A draft and its channels. */
export interface Entry {
  /** At least one, without duplicates. */
  readonly channels: readonly string[]
  /** Whether it had `channels` instead of `channel`: then the response is a list. */
  readonly several: boolean
  readonly draft: Draft
}

export interface EntryLimits {
  /** The maximum bytes of an event's data. */
  readonly maxBody: number
  /** The maximum channels of an entry. */
  readonly maxChannels: number
}

/** Members that an entry of a bulk publish may have. */
export const ENTRY_MEMBERS: ReadonlySet<string> = new Set([
  'channel',
  'channels',
  'data',
  'type',
  'tags',
  'idempotencyKey',
  'priority',
  'ifHead',
  'transient',
  'encoding',
])

/**
 * Parses an entry. Its data is a slice of `raw`, in which line breaks between tokens become spaces. Raises FanwireError:
 * FW_BAD_ENCODING, FW_BAD_JSON and those of `entryOf`.
 */
export function parseEntry(raw: Buffer, limits: EntryLimits, takes = ENTRY_MEMBERS): Entry {
  if (!isUtf8(raw)) throw new FanwireError('FW_BAD_ENCODING', 'not valid UTF-8')
  let value: unknown
  try {
    value = JSON.parse(raw.toString('utf8'))
  } catch (cause) {
    throw new FanwireError('FW_BAD_JSON', 'not valid JSON', { cause })
  }
  return entryOf(value, raw, limits, takes)
}

/**
 * Like `parseEntry`, for parsed JSON: `value` is the result of JSON.parse for `raw`, which is UTF-8. `takes` has the
 * allowed members. Each may occur once, since JSON.parse would silently drop a duplicate.
 * Raises FanwireError: FW_BAD_EVENT, FW_BAD_CHANNEL, FW_TOO_MANY_CHANNELS, FW_BAD_TYPE, FW_BAD_TAG,
 * FW_BAD_IDEMPOTENCY_KEY, FW_TOO_LARGE.
 */
export function entryOf(value: unknown, raw: Buffer, limits: EntryLimits, takes = ENTRY_MEMBERS): Entry {
  if (!isObject(value)) {
    throw badEvent('expected an object such as {"channel":"news","data":{}}')
  }
  const data = dataOf(raw, takes)
  // Safe to read by name: every member is one of `takes`, so none is __proto__, and there are no duplicates.
  const { channel, channels, type, tags, idempotencyKey, priority, ifHead, transient, encoding } = value
  if (ifHead !== undefined && channels !== undefined) throw badEvent('ifHead needs a single channel')
  const bytes = encoding === undefined ? undefined : bytesOf(encoding, (value as { data: unknown }).data)
  const { length } = bytes ?? data
  if (length > limits.maxBody) {
    throw new FanwireError(
      'FW_TOO_LARGE',
      `the data has ${length} bytes; at most ${limits.maxBody} may be sent`,
    )
  }
  return {
    channels: channelsOf(channel, channels, limits.maxChannels),
    several: channels !== undefined,
    draft: {
      data: bytes === undefined ? unbroken(data) : binaryData(bytes),
      ...(bytes === undefined ? {} : { encoding: 'base64', sent: bytes.length }),
      ...(type === undefined ? {} : { type: checkedType(type) }),
      ...(tags === undefined ? {} : { tags: tagsOf(tags) }),
      ...(idempotencyKey === undefined ? {} : { idempotencyKey: checkedIdempotencyKey(idempotencyKey) }),
      ...(checkedPriority(priority) === 'low' ? { priority: 'low' } : {}),
      ...(ifHead === undefined ? {} : { ifHead: checkedIfHead(ifHead) }),
      ...(isTrue('transient', transient) ? { transient: true } : {}),
    },
  }
}

/** The member `data`, as JSON. */
function dataOf(raw: Buffer, takes: ReadonlySet<string>): Buffer {
  const seen: string[] = []
  let data: Buffer | undefined
  for (const { name, start, end } of members(raw)) {
    if (!takes.has(name))
      throw badEvent(`unknown member ${quote(name, 40)}; known are ${[...takes].join(', ')}`)
    if (seen.includes(name)) throw badEvent(`the member ${name} occurs twice`)
    seen.push(name)
    if (name === 'data') data = raw.subarray(start, end)
  }
  if (data === undefined) throw badEvent('the member data is missing')
  return data
}

/** The bytes that base64 data encodes. */
function bytesOf(encoding: unknown, data: unknown): Buffer {
  if (encoding !== 'base64') throw badEvent('encoding is "base64", or is left out')
  const bytes = Buffer.from(String(data), 'base64')
  if (bytes.toString('base64') === data) return bytes
  throw badEvent('the data is not a base64 string (RFC 4648 section 4)')
}

function channelsOf(channel: unknown, channels: unknown, most: number): string[] {
  if (channels === undefined) {
    if (channel === undefined) throw badEvent('the member channel, or channels, is missing')
    return [checkedChannel(channel)]
  }
  if (channel !== undefined) throw badEvent('either channel or channels, not both')
  if (!Array.isArray(channels)) throw badEvent('channels is a list of channel names')
  if (channels.length === 0) throw badEvent('channels is empty')
  if (channels.length > most) {
    throw new FanwireError(
      'FW_TOO_MANY_CHANNELS',
      `${channels.length} channels; one entry may have at most ${most}`,
    )
  }
  const names = channels.map(checkedChannel)
  if (new Set(names).size < names.length) throw badEvent('channels has the same channel twice')
  return names
}

function isTrue(name: string, value: unknown): boolean {
  if (value === undefined || typeof value === 'boolean') return value === true
  throw badEvent(`${name} is true or false`)
}

function checkedPriority(priority: unknown): 'high' | 'low' {
  if (priority === undefined) return 'high'
  if (priority === 'high' || priority === 'low') return priority
  throw badEvent('priority is "high" or "low"')
}

function badEvent(message: string): FanwireError {
  return new FanwireError('FW_BAD_EVENT', message)
}
