// Converts Pusher's events to drafts. Their data is a string; if it is JSON, it becomes the event's data unchanged.

import { type Draft, jsonData, textData } from '../../broker/event/event.ts'
import { isTypeName } from '../../broker/event/names.ts'
import { NAME_TAG, SOCKET_TAG, TEXT_TAG, USER_TAG } from '../../broker/event/pusher.ts'
import { FanwireError } from '../../errors.ts'

/** The maximum length of an event's name. */
const LONGEST_NAME = 200
const NO_TEXT = Buffer.from('""')

export interface PusherEvent {
  readonly name: unknown
  readonly data: unknown
  /** The socket that is excluded. */
  readonly socket?: string | undefined
  /** The member that sends it. */
  readonly user?: string | number | undefined
}

/** Raises FW_BAD_TYPE, FW_TOO_LARGE beyond `most` bytes. */
export function draftOf({ name, data, socket, user }: PusherEvent, most: number): Draft {
  const tags = new Map<string, string>()
  const event = checkedName(name)
  const isType = isTypeName(event)
  if (!isType) tags.set(NAME_TAG, event)
  const { json, isText } = dataOf(data)
  if (json.length > most)
    throw new FanwireError('FW_TOO_LARGE', `the data has ${json.length} bytes; at most ${most} may be sent`)
  if (isText) tags.set(TEXT_TAG, '1')
  if (socket !== undefined) tags.set(SOCKET_TAG, socket)
  if (user !== undefined) tags.set(USER_TAG, JSON.stringify(user))
  return { data: json, ...(isType ? { type: event } : {}), ...(tags.size > 0 ? { tags } : {}) }
}

/** Clients send data that is not a string as JSON within the message. */
function dataOf(data: unknown): { json: Buffer; isText: boolean } {
  const text = typeof data === 'string' ? data : JSON.stringify(data ?? null)
  const json = jsonData(Buffer.from(text))
  if (json !== undefined) return { json, isText: false }
  return { json: textData(Buffer.from(text)) ?? NO_TEXT, isText: true }
}

function checkedName(name: unknown): string {
  const plain = typeof name === 'string' && name !== '' && !/\p{Cs}/u.test(name)
  if (plain && name.length <= LONGEST_NAME && Buffer.byteLength(name) <= 256) return name
  throw new FanwireError('FW_BAD_TYPE', `the name of an event is 1 to ${LONGEST_NAME} characters`)
}
