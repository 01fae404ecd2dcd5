// Converts events to pushes: a publication, a join, a leave, the end of a subscription, or nothing.

import { dataOf, type LogEvent } from '../../broker/event/event.ts'
import type { Tags } from '../../broker/event/tags.ts'
import { attendedIn } from '../../broker/event/names.ts'
import { UNSUBSCRIBED } from './codes.ts'
import { Payload, type Reply } from './protocol.ts'

/** Tags for an event's type and encoding, and for one that was erased, besides the publisher's own. */
const TYPE_TAG = 'fanwire:type'
const ENCODING_TAG = 'fanwire:encoding'
const ERASED_TAG = 'fanwire:erased'

export interface ClientInfo {
  readonly user: string
  readonly client: string
  readonly conn_info?: Payload | undefined
}

/** Members are users, so the user's name replaces the client's id. */
export function infoOf({ user, info }: { readonly user: string; readonly info?: unknown }): ClientInfo {
  const shown = info === undefined ? {} : { conn_info: new Payload(Buffer.from(JSON.stringify(info))) }
  return { user, client: user, ...shown }
}

export function tagsOf({ tags, type, encoding, kind }: LogEvent): Tags | undefined {
  const isErased = kind === 'erased'
  if (type === undefined && encoding === undefined && !isErased) return tags
  const all = new Map(tags)
  if (type !== undefined) all.set(TYPE_TAG, type)
  if (encoding !== undefined) all.set(ENCODING_TAG, encoding)
  if (isErased) all.set(ERASED_TAG, 'true')
  return all
}

export function publicationOf(event: LogEvent): Reply {
  const tags = tagsOf(event)
  return {
    data: new Payload(dataOf(event), event.encoding),
    ...(event.kind === 'transient' ? {} : { offset: event.offset }),
    ...(tags === undefined ? {} : { tags: Object.fromEntries(tags) }),
  }
}

/** The push for an event that is not a publication; undefined if clients receive nothing. */
export function otherPushOf(event: LogEvent): Reply | undefined {
  const channel = attendedIn(event.channel)
  if (channel === undefined) {
    return { channel: event.channel, unsubscribe: { code: UNSUBSCRIBED.byServer, reason: 'end' } }
  }
  if (event.type !== 'join' && event.type !== 'leave') return undefined
  const member = JSON.parse(dataOf(event).toString()) as { user: string; info?: unknown }
  return { channel, [event.type]: { info: infoOf(member) } }
}

/** Whether clients receive the event as a publication. */
export function isPublication({ kind, channel }: LogEvent): boolean {
  return kind !== 'end' && attendedIn(channel) === undefined
}
