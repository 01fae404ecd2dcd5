// The content and signature of webhook messages, in fanwire's form or in Pusher's.

import { createHmac, hash } from 'node:crypto'
import { APP_EVENTS } from '../broker/access/apps.ts'
import { dataOf, type LogEvent } from '../broker/event/event.ts'
import { parsePosition, printPosition } from '../broker/event/position.ts'
import { pusherNameOf, pusherUserOf, SOCKET_TAG } from '../broker/event/pusher.ts'
import type { Hub } from '../broker/fanout/hub.ts'
import { LIVES } from '../broker/lives/channels.ts'
import type { Webhook, WebhookOfApp } from '../broker/rules/rules.ts'
import { signedHeaders } from './signature.ts'

export interface Message {
  readonly id: string
  readonly json: string
}

/** The format of one webhook. */
export interface Form {
  /** The message for an event; undefined if the format has none. Raises LogUnavailable. */
  messageOf(event: LogEvent): Promise<Message | undefined>
  /** The message for a gap: events may be lost, so the application has to look up the current state. */
  gap(channel: string, from: string, to: string): Message
  bodyOf(batch: readonly Message[]): string
  headersOf(batch: readonly Message[], body: string): Record<string, string>
}

export function formOf({ app, secrets }: Webhook, hub: Hub): Form {
  return app === undefined ? plainForm(secrets) : pusherForm(app, hub)
}

function shardOf(channel: string): string {
  return channel.slice(LIVES.length)
}

const idOf = (channel: string, position: string) => `${shardOf(channel)}:${position}`

function plainForm(secrets: readonly string[]): Form {
  return {
    async messageOf(event) {
      const id = idOf(event.channel, printPosition(event))
      const head = `{"type":${JSON.stringify(event.type ?? '')},"id":"${id}","time":${event.time}`
      return { id, json: `${head},"data":${dataOf(event)}}` }
    },
    gap(channel, from, to) {
      const id = idOf(channel, to)
      const data = JSON.stringify({ from: idOf(channel, from), to: id })
      return { id, json: `{"type":"gap","id":"${id}","time":${Date.now()},"data":${data}}` }
    },
    bodyOf: batch => `{"events":[${batch.map(({ json }) => json)}]}`,
    headersOf(batch, body) {
      // The id is the same for every attempt.
      const id = `msg_${hash('sha256', batch.map(each => each.id).join(), 'base64url').slice(0, 24)}`
      return signedHeaders(secrets, id, body)
    },
  }
}

/** The data of an event in the log of lives. */
interface Life {
  readonly channel: string
  readonly user?: string
  /** The text that Pusher's client sent, if it differs from the user's. */
  readonly user_id?: unknown
  /** The position of an event that a client published. */
  readonly event?: string
}

const NAMES = new Map<string, string>(Object.entries(APP_EVENTS).map(([name, kind]) => [kind, name]))

function pusherForm({ key, secret }: WebhookOfApp, hub: Hub): Form {
  return {
    async messageOf(event) {
      const name = NAMES.get(event.type ?? '')
      const life = JSON.parse(dataOf(event).toString()) as Life
      const { channel, user } = life
      const about =
        name === 'client_event'
          ? await clientEvent(hub, life)
          : { name, channel, ...(user === undefined ? {} : { user_id: life.user_id ?? user }) }
      return about && { id: idOf(event.channel, printPosition(event)), json: JSON.stringify(about) }
    },
    gap(channel, from, to) {
      const about = { name: 'gap', from: idOf(channel, from), to: idOf(channel, to) }
      return { id: about.to, json: JSON.stringify(about) }
    },
    bodyOf: batch => `{"time_ms":${Date.now()},"events":[${batch.map(({ json }) => json)}]}`,
    headersOf: (_batch, body) => ({
      'x-pusher-key': key,
      'x-pusher-signature': createHmac('sha256', secret).update(body).digest('hex'),
    }),
  }
}

/** A client event; undefined if it is not one of Pusher's, or no longer readable. */
async function clientEvent(hub: Hub, { channel, event: at = '' }: Life): Promise<object | undefined> {
  const position = parsePosition(at)
  if (position === undefined) return undefined
  const before = { epoch: position.epoch, offset: position.offset - 1 }
  const page = await hub.glancing([channel], async ([opened]) =>
    opened?.page(before, { events: 1, bytes: Number.MAX_SAFE_INTEGER }),
  )
  const [event] = page?.events ?? []
  if (event === undefined || printPosition(event) !== at) return undefined
  const name = pusherNameOf(event)
  if (!name.startsWith('client-')) return undefined
  const user = pusherUserOf(event)
  return {
    name: 'client_event',
    channel,
    event: name,
    data: JSON.parse(dataOf(event).toString()) as unknown,
    socket_id: event.tags?.get(SOCKET_TAG),
    ...(user === undefined ? {} : { user_id: user }),
  }
}
