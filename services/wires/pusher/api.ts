// Pusher's API for servers: /apps/{id}/…, signed with the app's secret.

import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { withoutMark } from '../../broker/event/json-spans.ts'
import { isObject, parseJson } from '../../broker/event/json-values.ts'
import type { App } from '../../broker/access/apps.ts'
import { channelsRead, readersIn } from '../../broker/control/questions.ts'
import { checkedChannel } from '../../broker/event/names.ts'
import { FanwireError } from '../../errors.ts'
import { addressOf } from '../../http/address.ts'
import { sendToAll } from '../../http/audit.ts'
import { takeBodies, wholeBody } from '../../http/body.ts'
import type { Context } from '../../http/context.ts'
import { operation } from '../../http/operation.ts'
import { Type } from '../../http/schema.ts'
import { draftOf } from './drafts.ts'
import { isOfUser, kindOf } from './kinds.ts'
import { membersOf } from './members.ts'
import { requireSignedBody, requireSignedRequest, type SignedRequest } from './signatures.ts'

/** The maximum events of a batch. */
const MOST_EVENTS = 10
/** The maximum bytes of an event in a body, besides its data. */
const EVENT_ROOM_BYTES = 64 * 1024
/** The maximum members of one answer. */
const MOST_USERS = 10_000

const TEXT = (description: string) => Type.String({ description })
const APP = { id: TEXT("the app's id") }
const QUERY = Type.Object({
  auth_key: TEXT("the app's key"),
  auth_timestamp: TEXT('seconds since 1970'),
  auth_version: Type.Literal('1.0'),
  auth_signature: TEXT('HMAC-SHA256 of method, path and query'),
  '<name>': Type.Optional(Type.Array(Type.String(), { description: 'body_md5, info, filter_by_prefix' })),
})

const describe = (summary: string, tag: 'read' | 'publish' | 'admin', more: object = {}) =>
  operation({
    summary: `Pusher: ${summary}`,
    tag,
    path: Type.Object({ ...APP, ...more }),
    query: QUERY,
    answers: { 200: { description: 'as Pusher says' } },
  })
const CHANNEL = { channel: TEXT('a channel') }

interface Params {
  readonly id: string
  readonly channel: string
  readonly user: string
}

/** An event as the server sent it. */
type Entry = Readonly<Record<string, unknown>>

/** An event, and the channels that it goes to. */
interface Event {
  readonly names: readonly string[]
  readonly entry: Entry
}

declare module 'fastify' {
  interface FastifyRequest {
    /** The Pusher app that signed the request. */
    pusherApp: App | undefined
  }
}

export async function api(app: FastifyInstance): Promise<void> {
  const calls = new Calls(app.fanwire)
  takeBodies(app)
  app.decorateRequest('pusherApp', undefined)
  app.addHook('preValidation', async request => {
    request.pusherApp = calls.authorize(request)
  })
  // Pusher's libraries read the status from the body.
  app.addHook('onSend', async (_request, reply, payload) =>
    reply.statusCode >= 400 && typeof payload === 'string' && payload.endsWith('}')
      ? `${payload.slice(0, -1)},"code":${reply.statusCode}}`
      : payload,
  )
  const route = (
    method: 'GET' | 'POST',
    path: string,
    schema: object,
    run: (app: App, request: FastifyRequest) => Promise<object>,
  ) =>
    app.route({
      method,
      url: `/apps/:id/${path}`,
      schema,
      config: { anonymous: true },
      handler: async (request: FastifyRequest, reply: FastifyReply) => {
        const { pusherApp } = request
        if (pusherApp === undefined) throw unknownApp()
        return reply.header('cache-control', 'no-store').send(await run(pusherApp, request))
      },
    })
  route('POST', 'events', describe('an event', 'publish'), (app, request) => calls.event(app, request))
  route('POST', 'batch_events', describe('several events', 'publish'), (app, request) =>
    calls.batch(app, request),
  )
  route('GET', 'channels', describe('channels that have readers', 'read'), (_app, request) =>
    calls.channels(request),
  )
  route('GET', 'channels/:channel', describe('a channel', 'read', CHANNEL), (app, request) =>
    calls.channel(app, channelOf(request)),
  )
  route('GET', 'channels/:channel/users', describe('members', 'read', CHANNEL), (app, request) =>
    calls.users(app, channelOf(request)),
  )
  const user = describe('ends the connections of a user', 'admin', { user: TEXT('the signed-in user') })
  route('POST', 'users/:user/terminate_connections', user, (_app, request) => calls.terminate(request))
}

function unknownApp(): FanwireError {
  return new FanwireError('FW_NOT_FOUND', 'there is no app with this id')
}

function channelOf({ params }: FastifyRequest): string {
  return checkedChannel((params as Params).channel)
}

function signedOf({ method, raw, query }: FastifyRequest): SignedRequest {
  return { method, url: raw.url ?? '', query: query as SignedRequest['query'] }
}

class Calls {
  readonly #context: Context

  constructor(context: Context) {
    this.#context = context
  }

  /** Runs before the body is read. Raises FW_NOT_FOUND, FW_UNAUTHORIZED. */
  authorize(request: FastifyRequest): App {
    const { id } = request.params as Params
    const app = this.#context.access.apps?.find(each => each.id === id)
    if (app === undefined) throw unknownApp()
    requireSignedRequest(app, signedOf(request))
    request.identity = app.identity
    this.#context.limits.request({ identity: app.identity })
    return app
  }

  /** Raises FW_BAD_EVENT, FW_TOO_MANY_CHANNELS, and what `#publish` raises. */
  async event(app: App, request: FastifyRequest): Promise<object> {
    const entry = await this.#bodyOf(request, 1)
    const { channel, channels = [channel], info } = entry
    const most = this.#context.config.maxChannels
    if (!Array.isArray(channels) || channels.length === 0)
      throw badEvent('channels must be a list of channels')
    if (channels.length > most)
      throw new FanwireError('FW_TOO_MANY_CHANNELS', `one event may go to at most ${most} channels`)
    const names = [...new Set(channels.map(checkedChannel))]
    await this.#publish(app, request, [{ names, entry }])
    return this.#infoOf(names, info)
  }

  async batch(app: App, request: FastifyRequest): Promise<object> {
    const { batch } = await this.#bodyOf(request, MOST_EVENTS)
    if (!Array.isArray(batch) || batch.length === 0) throw badEvent('batch must be a list of events')
    if (batch.length > MOST_EVENTS) throw badEvent(`a batch may have at most ${MOST_EVENTS} events`)
    const entries = batch.map(entryIn)
    const events = entries.map(entry => ({ names: [checkedChannel(entry.channel)], entry }))
    await this.#publish(app, request, events)
    if (!entries.some(({ info }) => info !== undefined)) return {}
    const infos = entries.map(async ({ channel, info }) => {
      const { channels } = await this.#infoOf([String(channel)], info)
      return channels?.[String(channel)] ?? {}
    })
    return { batch: await Promise.all(infos) }
  }

  /** Publishes in order. All events are checked before any is published. Raises the errors of the publisher. */
  async #publish(app: App, request: FastifyRequest, events: readonly Event[]): Promise<void> {
    const { publisher, config } = this.#context
    const by = { identity: app.identity, address: addressOf(request) }
    const checked = events.map(({ names, entry: { name, data, socket_id: socket } }) => {
      if (data === undefined) throw badEvent('the event has no data')
      if (socket !== undefined && !(typeof socket === 'string' && /^\d+\.\d+$/.test(socket)))
        throw badEvent('socket_id must be two numbers separated by a point')
      const draft = draftOf({ name, data, socket }, config.maxBody)
      for (const to of names) publisher.require(app.identity, to, draft.data.length)
      return { names, draft }
    })
    for (const { names, draft } of checked) for (const to of names) await publisher.publish(to, draft, by)
  }

  async #infoOf(names: readonly string[], info: unknown): Promise<{ channels?: Record<string, object> }> {
    if (typeof info !== 'string') return {}
    const all = await Promise.all(names.map(async name => [name, await this.#look(name)] as const))
    return { channels: Object.fromEntries(all) }
  }

  /** Raises LogUnavailable. */
  async channels({ query }: FastifyRequest): Promise<object> {
    const { filter_by_prefix: prefix = '', info = '' } = query as Record<string, string>
    const { questions } = this.#context
    const found: [string, object][] = []
    for await (const [channel, count] of channelsRead(questions)) {
      if (!channel.startsWith(prefix) || isOfUser(channel)) continue
      const users = info.includes('user_count') ? await this.#userCount(channel) : {}
      found.push([channel, { occupied: true, subscription_count: count, ...users }])
    }
    return { channels: Object.fromEntries(found) }
  }

  async channel(app: App, channel: string): Promise<object> {
    this.#require(app, channel)
    return this.#look(channel)
  }

  /** Reads a channel's state over all nodes. Raises LogUnavailable. */
  async #look(channel: string): Promise<object> {
    const { questions } = this.#context
    const { entries } = await questions.ask('channels', { match: channel })
    const count = readersIn(entries)
    return { occupied: count > 0, subscription_count: count, ...(await this.#userCount(channel)) }
  }

  async #userCount(channel: string): Promise<{ user_count?: number }> {
    if (!kindOf(channel).presence) return {}
    const { presence } = this.#context
    await presence.settled(channel)
    return { user_count: (await presence.count(channel)).users }
  }

  /** Raises FW_BAD_PARAMETER, LogUnavailable. */
  async users(app: App, channel: string): Promise<object> {
    this.#require(app, channel)
    if (!kindOf(channel).presence)
      throw new FanwireError('FW_BAD_PARAMETER', 'only presence channels have users')
    await this.#context.presence.settled(channel)
    const { members } = await membersOf(this.#context, channel, MOST_USERS)
    return { users: members.map(({ user, user_id: id = user }) => ({ id })) }
  }

  async terminate(request: FastifyRequest): Promise<object> {
    const { user } = request.params as Params
    await sendToAll(request, 'disconnect', { user })
    return {}
  }

  /** Raises FW_FORBIDDEN. */
  #require({ identity }: App, channel: string): void {
    this.#context.access.require(identity, 'presence', channel)
  }

  /** Raises FW_UNAUTHORIZED, FW_BAD_JSON, FW_BAD_EVENT, FW_TOO_LARGE. */
  async #bodyOf(request: FastifyRequest, events: number): Promise<Entry> {
    const most = events * (2 * this.#context.config.maxBody + EVENT_ROOM_BYTES)
    const body = await wholeBody(request, most, `the body may have at most ${most} bytes`)
    requireSignedBody(signedOf(request), body)
    return entryIn(parseJson(withoutMark(body).toString(), 'the body'))
  }
}

/** Raises FW_BAD_EVENT. */
function entryIn(value: unknown): Entry {
  if (isObject(value)) return value
  throw badEvent('an event must be an object')
}

function badEvent(message: string): FanwireError {
  return new FanwireError('FW_BAD_EVENT', message)
}
