// Reads the file of the apps of Pusher's protocol: each has a key, which clients send, and a secret, with which servers
// sign.

import { isObject } from '../event/json-values.ts'
import { quote } from '../../errors.ts'
import { BadFileError, readJson } from '../files/bad-file.ts'
import type { LifeKind } from '../rules/life-kinds.ts'
import type { Webhook } from '../rules/rules.ts'
import { urlOf } from '../../urls.ts'
import { grant } from './grants.ts'
import { ANONYMOUS, type Identity } from './identity.ts'

/** Pusher's webhook events, and their names in the log of lives. */
export const APP_EVENTS = {
  channel_occupied: 'channel.occupied',
  channel_vacated: 'channel.vacated',
  member_added: 'presence.joined',
  member_removed: 'presence.left',
  client_event: 'client.published',
} as const satisfies Record<string, LifeKind>

type AppEvent = keyof typeof APP_EVENTS

export interface App {
  readonly id: string
  /** The public key. */
  readonly key: string
  /** The secret that signs. Never disclosed. */
  readonly secret: string
  /** Whether clients may publish `client-…` events if the channel's rule allows it. */
  readonly clientEvents: boolean
  /** The time in which a client has to sign in or subscribe with a signature, ms; undefined if it need not. */
  readonly signinWithin: number | undefined
  readonly webhooks: readonly Webhook[]
  /** The identity of the app's servers. */
  readonly identity: Identity
}

const ID = /^[A-Za-z0-9_.-]{1,64}$/
const EVENTS = Object.keys(APP_EVENTS) as AppEvent[]
const PATTERN_ALL = ['*']

/** Parses the file. Raises a `BadFileError` that names entry and member. */
export function parseApps(text: string): App[] {
  const list = readJson(text)
  if (!Array.isArray(list) || list.length === 0) throw new BadFileError('the file is not a list of apps')
  const apps = list.map((entry, index) => readApp(`[${index}]`, entry))
  for (const member of ['id', 'key'] as const) {
    const twice = apps.findIndex((app, i) => apps.some((other, j) => j < i && other[member] === app[member]))
    if (twice !== -1) throw new BadFileError(`[${twice}].${member}: another app has the same`)
  }
  return apps
}

function readApp(at: string, value: unknown): App {
  const members = ['id', 'key', 'secret', 'client_events', 'signin_within', 'webhooks']
  const entry = readObject(at, value, members)
  const id = typeof entry.id === 'number' ? String(entry.id) : readText(`${at}.id`, entry.id)
  const key = readText(`${at}.key`, entry.key)
  for (const [name, text] of Object.entries({ id, key })) {
    if (!ID.test(text)) throw new BadFileError(`${at}.${name}: is not 1 to 64 letters, digits or _ . -`)
  }
  const secret = readText(`${at}.secret`, entry.secret)
  const { client_events: clientEvents = false, signin_within: within, webhooks = [] } = entry
  if (typeof clientEvents !== 'boolean') throw new BadFileError(`${at}.client_events: is not true or false`)
  if (within !== undefined && !(Number.isInteger(within) && Number(within) > 0 && Number(within) <= 3600))
    throw new BadFileError(`${at}.signin_within: is not 1 to 3600, seconds`)
  if (!Array.isArray(webhooks)) throw new BadFileError(`${at}.webhooks: is not a list`)
  return {
    id,
    key,
    secret,
    clientEvents,
    signinWithin: within === undefined ? undefined : Number(within) * 1000,
    webhooks: webhooks.map((hook, i) =>
      readWebhook(`${at}.webhooks[${i}]`, hook, { id: `${id} ${i}`, key, secret }),
    ),
    identity: identityOf(id),
  }
}

function readWebhook(at: string, value: unknown, app: { id: string; key: string; secret: string }): Webhook {
  const {
    url,
    event_types: types = EVENTS,
    filter = {},
    batch = true,
  } = readObject(at, value, ['url', 'event_types', 'filter', 'batch'])
  const target = readText(`${at}.url`, url)
  if (urlOf(target) === undefined || !/^https?:/.test(target))
    throw new BadFileError(`${at}.url: ${quote(target)} is not a URL of http or https`)
  const known = (type: unknown): type is AppEvent => EVENTS.includes(type as AppEvent)
  if (!Array.isArray(types) || !types.every(known))
    throw new BadFileError(`${at}.event_types: is not a list of ${EVENTS.join(', ')}`)
  if (typeof batch !== 'boolean') throw new BadFileError(`${at}.batch: is not true or false`)
  const ends = readObject(`${at}.filter`, filter, ['channel_name_starts_with', 'channel_name_ends_with'])
  const optional = (name: string) =>
    ends[name] === undefined ? '' : readText(`${at}.filter.${name}`, ends[name])
  return {
    url: target,
    secrets: [],
    events: types.map(type => APP_EVENTS[type]),
    channels: undefined,
    batch: { events: batch ? 100 : 1, within: 0 },
    app: {
      ...app,
      startsWith: optional('channel_name_starts_with'),
      endsWith: optional('channel_name_ends_with'),
    },
  }
}

function readObject(at: string, value: unknown, members: readonly string[]): Record<string, unknown> {
  if (!isObject(value)) throw new BadFileError(`${at}: is not an object`)
  const unknown = Object.keys(value).find(member => !members.includes(member))
  if (unknown !== undefined)
    throw new BadFileError(`${at}.${unknown}: unknown member; there are ${members.join(', ')}`)
  return value
}

function readText(at: string, value: unknown): string {
  if (typeof value !== 'string' || value === '') throw new BadFileError(`${at}: is not a text`)
  return value
}

/** The identity of an app's servers. It has all rights on all channels. */
function identityOf(id: string): Identity {
  const rights = ['publish', 'subscribe', 'history', 'presence'] as const
  return {
    ...ANONYMOUS,
    kind: 'key',
    key: `pusher:${id}`,
    grants: [{ source: 'key', list: [grant(`app ${id}`, PATTERN_ALL, rights)] }],
  }
}
