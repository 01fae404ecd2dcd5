// Pusher's messages. Readers share them, except a socket that is excluded from an event.

import { dataOf, type LogEvent } from '../../broker/event/event.ts'
import { attendedIn } from '../../broker/event/names.ts'
import { type Position, printPosition } from '../../broker/event/position.ts'
import { pusherNameOf, pusherUserOf, SOCKET_TAG, TEXT_TAG } from '../../broker/event/pusher.ts'
import type { Framing } from '../../broker/fanout/framing.ts'
import { encodeGap } from '../objects.ts'
import { wsText } from '../ws-frames.ts'
import { kindOf } from './kinds.ts'

export const WIRE = 'pusher'
const NOTHING = Buffer.alloc(0)

/** A message. `data` is JSON, and is sent as a string. `cursor`: for clients that resume. */
export function message(event: string, data: string, channel?: string, cursor?: string): Buffer {
  return wsText(textOf(event, JSON.stringify(data), channel, { cursor }))
}

/** A cache channel has no event, or its last one was erased. */
export function cacheMiss(channel: string): Buffer {
  return wsText(JSON.stringify({ event: 'pusher:cache_miss', channel }))
}

/** An error. `code` is one of Pusher's, or null. */
export function errorMessage(
  code: number | null,
  text: string,
  about: object = {},
  channel?: string,
): Buffer {
  const data = JSON.stringify({ code, message: text, ...about })
  return wsText(textOf('pusher:error', data, channel, {}))
}

interface Extras {
  readonly user?: string | number | undefined
  readonly cursor?: string | undefined
}

/** `data`: JSON. */
function textOf(event: string, data: string, channel: string | undefined, { user, cursor }: Extras): string {
  return (
    `{"event":${JSON.stringify(event)}` +
    (channel === undefined ? '' : `,"channel":${JSON.stringify(channel)}`) +
    `,"data":${data}` +
    (user === undefined ? '' : `,"user_id":${JSON.stringify(user)}`) +
    (cursor === undefined ? '}' : `,"cursor":"${cursor}"}`)
  )
}

/** The sockets that are excluded from events of a stretch, and their version of it. */
interface Exclusions {
  readonly sockets: ReadonlySet<string>
  without(socket: string): Buffer
}

const exclusions = new WeakMap<Buffer, Exclusions>()

/** A stretch without the events from which the socket is excluded. */
export function stretchFor(socket: string, stretch: Buffer): Buffer {
  const known = exclusions.get(stretch)
  return known?.sockets.has(socket) ? known.without(socket) : stretch
}

/** `resumes`: for clients that resume, whose stored events have cursors. */
function framingOf(resumes: boolean): Framing {
  const cursorOf = (event: LogEvent): string | undefined =>
    resumes && event.kind !== 'transient' ? printPosition(event as Position) : undefined
  /** Moves the cursor of a client that resumes. Clients pass no internal events on to their pages. */
  const passed = (channel: string, cursor: string | undefined): Buffer =>
    cursor === undefined ? NOTHING : message('pusher_internal:cursor', '{}', channel, cursor)
  const encode = (event: LogEvent): Buffer => encodeEvent(event, cursorOf(event))
  return {
    wire: WIRE,
    opening: () => NOTHING,
    stretch(all, from, to) {
      const events = all.slice(from, to)
      const bytes = join(events.map(encode))
      const sockets = new Set(events.flatMap(({ tags }) => tags?.get(SOCKET_TAG) ?? []))
      if (sockets.size > 0) {
        const without = (socket: string) =>
          join(
            events.map(event =>
              event.tags?.get(SOCKET_TAG) === socket ? passed(event.channel, cursorOf(event)) : encode(event),
            ),
          )
        exclusions.set(bytes, { sockets, without })
      }
      return bytes
    },
    gap(channel, gap) {
      // Joins and leaves have a log of their own, whose positions are not the channel's.
      const cursor = resumes && attendedIn(channel) === undefined ? printPosition(gap.to) : undefined
      return message('fanwire:gap', encodeGap(channel, gap), nameOf(channel), cursor)
    },
    passed: (channel, at) => passed(channel, resumes ? printPosition(at) : undefined),
    dropped: (channel, _at, { reason }) =>
      message(
        'pusher:subscription_error',
        JSON.stringify({ type: 'AuthError', error: reason, status: 403 }),
        nameOf(channel),
      ),
    heartbeat: message('pusher:ping', '{}'),
    answered: true,
    // The outlet sends it.
    closing: () => NOTHING,
  }
}

/** Joins and leaves of a channel are sent as messages of that channel. */
function nameOf(channel: string): string {
  return attendedIn(channel) ?? channel
}

function join(frames: readonly Buffer[]): Buffer {
  const [only] = frames
  return frames.length === 1 && only !== undefined ? only : Buffer.concat(frames)
}

function encodeEvent(event: LogEvent, cursor: string | undefined): Buffer {
  const { channel, kind, tags } = event
  if (attendedIn(channel) !== undefined) return memberMessage(event)
  if (kind === 'erased') return kindOf(channel).cache ? cacheMiss(channel) : NOTHING
  const data = dataOf(event).toString()
  if (kind === 'end') return message('fanwire:end', data, channel, cursor)
  const text = tags?.has(TEXT_TAG) ? data : JSON.stringify(data)
  return wsText(textOf(pusherNameOf(event), text, channel, { user: pusherUserOf(event), cursor }))
}

/** A member in the log of joins and leaves. */
export interface Member {
  readonly user: string
  readonly info?: unknown
  /** Only if the client sent a number. */
  readonly user_id?: number
}

function memberMessage(event: LogEvent): Buffer {
  const { user, info, user_id: id = user } = JSON.parse(dataOf(event).toString()) as Member
  const channel = nameOf(event.channel)
  if (event.type === 'join')
    return message('pusher_internal:member_added', JSON.stringify({ user_id: id, user_info: info }), channel)
  if (event.type === 'leave')
    return message('pusher_internal:member_removed', JSON.stringify({ user_id: id }), channel)
  return NOTHING
}

export const pusherFraming = framingOf(false)

/** For clients that resume. */
export const pusherCursorFraming = framingOf(true)
