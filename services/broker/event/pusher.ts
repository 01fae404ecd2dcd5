// The tags in which events keep members of Pusher's protocol.

import type { LogEvent } from './event.ts'

/** The event's name, if it is not a valid type name. */
export const NAME_TAG = 'pusher.event'
/** Set if the data was not JSON: the data is then the text. */
export const TEXT_TAG = 'pusher.text'
/** The socket that does not receive the event. */
export const SOCKET_TAG = 'pusher.socket'
/** The id of the member of a presence channel that sent the event, as JSON. */
export const USER_TAG = 'pusher.user'

/** Names that the protocol reserves. */
const RESERVED = /^pusher(?:_internal)?:/
const NAMELESS = 'message'

/** The name of an event for clients of Pusher. */
export function pusherNameOf({ type, tags }: Pick<LogEvent, 'type' | 'tags'>): string {
  const name = tags?.get(NAME_TAG) ?? type ?? NAMELESS
  return RESERVED.test(name) ? NAMELESS : name
}

/** The id of the member that sent the event; undefined if none did. */
export function pusherUserOf({ tags }: Pick<LogEvent, 'tags'>): string | number | undefined {
  const tag = tags?.get(USER_TAG)
  if (tag === undefined) return undefined
  // Any publisher may set tags.
  try {
    const id: unknown = JSON.parse(tag)
    return typeof id === 'number' ? id : String(id)
  } catch {
    return tag
  }
}
