// Tags: names and texts with which a publisher describes an event, so that readers can select by them.

import { isObject } from './json-values.ts'
import { FanwireError, quote } from '../../errors.ts'
import { isTagName, TAG_NAME_RULE } from './names.ts'

/** In the publisher's order; never empty. */
export type Tags = ReadonlyMap<string, string>

const MAX_TAGS = 16
const MAX_VALUE_BYTES = 256

/** The tags in `members`, from an object or a query; undefined if there are none. Raises FW_BAD_TAG. */
export function checkedTags(members: readonly (readonly [string, unknown])[]): Tags | undefined {
  if (members.length === 0) return undefined
  if (members.length > MAX_TAGS) throw badTag(`${members.length} tags; an event may have at most ${MAX_TAGS}`)
  return new Map(members.map(([name, value]) => [checkedTagName(name), checkedValue(name, value)]))
}

/** The tags of a member `tags`. Raises FW_BAD_TAG. */
export function tagsOf(value: unknown): Tags | undefined {
  if (!isObject(value)) {
    throw badTag('tags is an object of texts, such as {"lang":"ko"}')
  }
  return checkedTags(Object.entries(value))
}

/** `name`, if it is the name of a tag. Raises FW_BAD_TAG. */
export function checkedTagName(name: unknown): string {
  if (!isTagName(name)) throw badTag(`the name of a tag is ${TAG_NAME_RULE}, not ${quote(name, 40)}`)
  return name
}

function checkedValue(name: string, value: unknown): string {
  if (typeof value === 'string' && Buffer.byteLength(value) <= MAX_VALUE_BYTES && !/\p{Cs}/u.test(value)) {
    return value
  }
  throw badTag(`the tag ${quote(name, 64)} is not a text of at most ${MAX_VALUE_BYTES} bytes`)
}

function badTag(message: string): FanwireError {
  return new FanwireError('FW_BAD_TAG', message)
}

/** Prints tags as a JSON object in ASCII. */
export function printTags(tags: Tags): string {
  const members = Array.from(tags, ([name, value]) => `"${name}":${asciiString(value)}`)
  return `{${members.join(',')}}`
}

function asciiString(text: string): string {
  return JSON.stringify(text).replace(
    /[^\x20-\x7e]/g,
    char => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

/** Prints tags as one ASCII word without `|`, which engines store next to the data. */
export function packTags(tags: Tags): string {
  return new URLSearchParams([...tags]).toString()
}

export function unpackTags(packed: string): Tags {
  return new Map(new URLSearchParams(packed))
}
