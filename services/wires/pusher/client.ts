// One Pusher client: its messages and their answers.

import { randomInt } from 'node:crypto'
import type { FastifyBaseLogger } from 'fastify'
import type { App } from '../../broker/access/apps.ts'
import { grant, type Grants, type Right } from '../../broker/access/grants.ts'
import { ANONYMOUS, channelTokensOf, withChannelTokens } from '../../broker/access/identity.ts'
import { checkedChannel, isChannelName, presenceOf } from '../../broker/event/names.ts'
import { parsePosition, printPosition } from '../../broker/event/position.ts'
import { Bucket } from '../../broker/limits/buckets.ts'
import type { Lease } from '../../broker/limits/holds.ts'
import { PatienceTimer } from '../../broker/patience.ts'
import { FanwireError, quote } from '../../errors.ts'
import type { Client } from '../../http/clients.ts'
import type { Context } from '../../http/context.ts'
import type { Arrival } from '../arrival.ts'
import { badCommand, Commands } from '../commands.ts'
import { openAheadFor } from '../open-for.ts'
import { type Data, dataIn, type Incoming, parseIncoming } from './checks.ts'
import { draftOf } from './drafts.ts'
import { cacheMiss, errorMessage, message, pusherCursorFraming } from './framing.ts'
import { channelOf, type Kind, kindOf } from './kinds.ts'
import { Members, membersOf, presenceData, type Self, selfOf, signedInOf, withTextId } from './members.ts'
import { CODES, type PusherConnection, type PusherOutlet } from './outlet.ts'
import { requireSigned } from './signatures.ts'

/** The limit of client events of one connection. */
const CLIENT_EVENTS = { burst: 10, perSecond: 10 }
const CLIENT_PREFIX = 'client-'
/** A client that receives nothing for this many heartbeats sends a ping. */
const SILENT_HEARTBEATS = 2
const LEAST_TIMEOUT_S = 30

export interface PusherClientParts extends Arrival {
  readonly app: App
  readonly context: Context
  readonly connection: PusherConnection
  readonly outlet: PusherOutlet
  readonly client: Client | undefined
  readonly lease: Lease | undefined
  readonly logger: FastifyBaseLogger
}

export class PusherClient {
  readonly #parts: PusherClientParts
  readonly #commands: Commands
  readonly #members: Members
  /** The last subscribe or unsubscribe in progress of each presence channel. */
  readonly #orders = new Map<string, Promise<void>>()
  #clientEvents: Bucket | undefined
  #self: Self | undefined
  /** The position of the user's channel at sign-in, with which its subscription begins. */
  #signedInAt: string | undefined
  /** Ends the connection of a client that has not signed in. */
  readonly #signin: PatienceTimer | undefined

  constructor(parts: PusherClientParts) {
    const { app, connection, context, outlet } = parts
    this.#parts = parts
    this.#members = new Members(context.presence)
    connection.watcher = this.#members
    connection.socketId = `${randomInt(2 ** 40)}.${randomInt(2 ** 40)}`
    this.#commands = new Commands({ ...parts, opened: Promise.resolve() })
    const timeout = Math.ceil((SILENT_HEARTBEATS * context.config.heartbeat) / 1000)
    const established = {
      socket_id: connection.socketId,
      activity_timeout: Math.max(LEAST_TIMEOUT_S, timeout),
    }
    connection.write(message('pusher:connection_established', JSON.stringify(established)))
    if (app.signinWithin === undefined) return
    const late = () => outlet.refuse(connection, CODES.unauthorized, 'not signed in in time')
    this.#signin = new PatienceTimer(app.signinWithin, late)
  }

  get app(): App {
    return this.#parts.app
  }

  /** Ends the client, since the app was removed or has changed. */
  end(): void {
    const { connection, outlet } = this.#parts
    outlet.refuse(connection, CODES.noApp, 'the app no longer exists, or its secret has changed')
  }

  /** Called when the client is gone. */
  close(): void {
    this.#signin?.clear()
    this.#commands.close()
    this.#members.close()
  }

  /** Processes one message. Never raises: errors are sent to the client. */
  take(bytes: Buffer, isBinary: boolean): void {
    // Any message counts as an answer to a heartbeat.
    this.#parts.connection.answered()
    let incoming: Incoming | undefined
    const parse = () => {
      const parsed = (incoming = parseIncoming(bytes, isBinary))
      return () => this.#run(parsed)
    }
    this.#commands.take(parse, error => this.#fail(error, incoming))
  }

  async #run({ event, channel, data }: Incoming): Promise<void> {
    if (event === 'pusher:pong') return
    if (event === 'pusher:ping') return this.#commands.write(message('pusher:pong', '{}'))
    if (event === 'pusher:subscribe') return this.#subscribe(dataIn(data))
    if (event === 'pusher:unsubscribe') return this.#unsubscribe(dataIn(data))
    if (event === 'pusher:signin') return this.#signIn(dataIn(data))
    if (event.startsWith(CLIENT_PREFIX)) return this.#publish(event, channel, data)
    throw badCommand(`unknown event ${quote(event, 40)}`)
  }

  // Subscriptions -----------------------------------------------------------------------------------------------

  /** Its errors are reported as pusher:subscription_error; temporary ones end the connection with 4100. */
  async #subscribe(data: Data): Promise<void> {
    const { cursor } = data
    const channel = checkedChannel(data.channel)
    const kind = kindOf(channel)
    if (cursor !== undefined && typeof cursor !== 'string') throw badCommand('cursor must be a string')
    const self = this.#authorize(channel, kind, data)
    if (cursor !== undefined) this.#parts.connection.framing = pusherCursorFraming
    const start = cursor || (kind.cache ? 'last:1' : kind.user === undefined ? undefined : this.#signedInAt)
    const options = start === undefined ? {} : { cursor: start }
    if (self !== undefined) return this.#inOrder(channel, () => this.#join(channel, self, kind, options))
    await this.#begin(channel, kind, options, '{}')
    if (kind.user !== undefined) this.#signedInAt = undefined
  }

  /**
   * The client's identity in a presence channel. Raises FW_UNAUTHORIZED, FW_FORBIDDEN, FW_BAD_COMMAND, FW_TOO_LARGE.
   */
  #authorize(channel: string, kind: Kind, { auth, channel_data: said }: Data): Self | undefined {
    if (kind.user !== undefined && kind.user !== String(this.#self?.id))
      throw new FanwireError(
        'FW_FORBIDDEN',
        'this channel belongs to another user, or the client has not signed in',
      )
    if (!kind.signed) return undefined
    const { app, connection } = this.#parts
    // Without this, what is signed for `private-a:b` would also be signed for `private-a` with the data `b`.
    if (typeof said === 'string' && !said.startsWith('{'))
      throw badCommand('channel_data must be a JSON object')
    const tail = typeof said === 'string' ? `:${said}` : ''
    requireSigned(app, auth, `${connection.socketId}:${channel}${tail}`)
    const self = kind.presence ? this.#selfOf(said) : undefined
    const rights: Right[] = ['subscribe', 'history']
    if (kind.presence) rights.push('presence')
    if (app.clientEvents && kind.clientEvents) rights.push('publish')
    this.#grant(channel, rights)
    this.#signin?.clear()
    return self
  }

  #selfOf(said: unknown): Self {
    const self = typeof said === 'string' ? selfOf(said) : this.#self
    if (self !== undefined) return self
    throw badCommand('a presence channel needs channel_data, or a signed-in user')
  }

  #grant(channel: string, rights: readonly Right[]): void {
    const { client, context } = this.#parts
    if (client === undefined) return
    const grants: Grants = {
      source: 'token',
      list: [{ ...grant('signature', [channel], rights), signature: true }],
      channelToken: { endsAt: undefined, signer: undefined, issuedAt: Math.floor(Date.now() / 1000) },
    }
    context.clients.renew(client, withChannelTokens(client.identity, [grants]))
  }

  /** The client becomes a member before it receives the member list, so it receives every later join. */
  async #join(channel: string, self: Self, kind: Kind, options: Data): Promise<void> {
    if (this.#members.has(channel))
      throw new FanwireError('FW_ALREADY_SUBSCRIBED', `this connection already has the channel ${channel}`)
    await this.#members.enter(channel, self)
    try {
      const list = await membersOf(this.#parts.context, channel)
      await this.#begin(channel, kind, options, presenceData(list))
      await this.#commands.subscribe(presenceOf(channel), { cursor: printPosition(list.cursor) }, () => {})
    } catch (error) {
      if (!this.#reads(channel)) this.#members.left(channel)
      throw error
    }
  }

  /** `data`: the subscription's data for the client. */
  async #begin(channel: string, { cache }: Kind, options: Data, data: string): Promise<void> {
    const { connection } = this.#parts
    let begin = 0
    await this.#commands.subscribe(channel, options, ok => {
      const { cursor } = ok as { cursor: string }
      begin = parsePosition(cursor)?.offset ?? 0
      const resumed = connection.framing === pusherCursorFraming ? cursor : undefined
      connection.write(message('pusher_internal:subscription_succeeded', data, channel, resumed))
    })
    const head = connection.readerOf(channel)?.channel.recent.head
    if (cache && head === begin) this.#commands.write(cacheMiss(channel))
  }

  /** Runs subscribes and unsubscribes of one presence channel one after another. */
  #inOrder(channel: string, act: () => Promise<void>): Promise<void> {
    const { connection } = this.#parts
    const done = (this.#orders.get(channel) ?? Promise.resolve()).then(async () => {
      if (!connection.ended) await act()
    })
    const settled = done.catch(() => {})
    this.#orders.set(channel, settled)
    void settled.then(() => {
      if (this.#orders.get(channel) === settled) this.#orders.delete(channel)
    })
    return done
  }

  #reads(channel: string): boolean {
    return this.#parts.connection.readerOf(channel) !== undefined
  }

  async #unsubscribe({ channel: name }: Data): Promise<void> {
    const channel = checkedChannel(name)
    if (kindOf(channel).presence) return this.#inOrder(channel, () => this.#leave(channel))
    await this.#commands.unsubscribe(channel, () => {})
  }

  async #leave(channel: string): Promise<void> {
    await this.#commands.unsubscribe(channel, () => {})
    if (this.#reads(presenceOf(channel))) await this.#commands.unsubscribe(presenceOf(channel), () => {})
  }

  // Users and client events -------------------------------------------------------------------------------------

  async #signIn({ auth, user_data: said }: Data): Promise<void> {
    const { address, app, client, connection, context, lease } = this.#parts
    if (typeof said !== 'string') throw badCommand('user_data must be a string')
    requireSigned(app, auth, `${connection.socketId}::user::${said}`)
    const self = signedInOf(said)
    const user = String(self.id)
    if (this.#self !== undefined && String(this.#self.id) !== user)
      throw new FanwireError('FW_FORBIDDEN', 'a connection cannot change its user: open another one')
    if (client !== undefined) {
      const issuedAt = Math.floor(Date.now() / 1000)
      const { identity: before } = client
      const grants = before.user === user ? before.grants : channelTokensOf(before)
      const identity = { ...ANONYMOUS, kind: 'token', user, issuedAt, info: self.info, grants } as const
      lease?.renew({ identity, address })
      context.clients.renew(client, identity)
    }
    this.#self = self
    const channel = channelOf(user)
    this.#grant(channel, ['subscribe', 'history'])
    this.#signin?.clear()
    if (!this.#reads(channel)) this.#signedInAt ??= await this.#headOf(channel)
    this.#commands.write(message('pusher:signin_success', JSON.stringify({ user_data: withTextId(said) })))
  }

  /**
   * Undefined if there can be no such channel, or the client may not read from there. Raises FW_TOO_MANY_FOLLOWED,
   * LogUnavailable.
   */
  async #headOf(name: string): Promise<string | undefined> {
    if (!isChannelName(name)) return undefined
    const { client, context, identity } = this.#parts
    const opener = { ...context, identity: client?.identity ?? identity }
    const channel = await openAheadFor(opener, name, 'earliest')
    try {
      return channel && printPosition(await channel.settle('latest'))
    } finally {
      channel?.release()
    }
  }

  async #publish(name: string, channel: unknown, data: unknown): Promise<void> {
    const { app, connection, context, refusal } = this.#parts
    if (refusal !== undefined) throw refusal
    const to = checkedChannel(channel)
    if (!app.clientEvents) throw new FanwireError('FW_FORBIDDEN', 'the app does not allow client events')
    if (!kindOf(to).clientEvents || !this.#reads(to))
      throw new FanwireError(
        'FW_FORBIDDEN',
        'client events need a subscription to a private or presence channel',
      )
    this.#requireRate()
    const user = this.#members.in(to)?.id
    const draft = draftOf({ name, data, socket: connection.socketId, user }, context.config.maxBody)
    await this.#commands.publishDraft(to, draft, () => {})
  }

  #requireRate(): void {
    const bucket = (this.#clientEvents ??= new Bucket())
    const now = performance.now()
    const retry = bucket.wait(CLIENT_EVENTS, 1, now)
    if (retry > 0)
      throw new FanwireError('FW_TOO_MANY_REQUESTS', 'too many client events on this connection', { retry })
    bucket.spend(CLIENT_EVENTS, 1, now)
  }

  // Errors ------------------------------------------------------------------------------------------------------

  #fail(error: FanwireError, incoming: Incoming | undefined): void {
    const { event = '', channel, data } = incoming ?? {}
    const about = { error: error.code, ...(error.retry === undefined ? {} : { retry: error.retry }) }
    if (event === 'pusher:signin')
      return this.#refuse(error.retryable ? CODES.busy : CODES.unauthorized, error)
    if (event === 'pusher:subscribe') {
      // Clients subscribe again only after they have reconnected.
      const passes = error.retryable && SUBSCRIPTION_ERRORS[error.code] === undefined
      return passes ? this.#refuse(CODES.busy, error) : this.#failSubscribe(error, data)
    }
    const isClientEvent = event.startsWith(CLIENT_PREFIX)
    const code = isClientEvent ? CODES.clientEvent : null
    const where = isClientEvent && typeof channel === 'string' ? channel.slice(0, 200) : undefined
    this.#commands.write(errorMessage(code, error.message, about, where))
  }

  #refuse(code: number, { message: text }: FanwireError): void {
    const { connection, outlet } = this.#parts
    outlet.refuse(connection, code, text)
  }

  #failSubscribe({ code, message: text, statusCode }: FanwireError, data: unknown): void {
    const { channel } = typeof data === 'object' && data !== null ? (data as Data) : {}
    const name = typeof channel === 'string' ? channel.slice(0, 300) : ''
    const [type, status] = SUBSCRIPTION_ERRORS[code] ?? ['ServerError', statusCode]
    const about = JSON.stringify({ type, error: text, status, code })
    this.#commands.write(message('pusher:subscription_error', about, name))
  }
}

/** Pusher's error types and statuses, by fanwire's code. */
const SUBSCRIPTION_ERRORS: Readonly<Record<string, readonly [type: string, status: number]>> = {
  FW_UNAUTHORIZED: ['AuthError', 401],
  FW_FORBIDDEN: ['AuthError', 403],
  FW_BAD_COMMAND: ['AuthError', 401],
  FW_BAD_CHANNEL: ['LimitReached', 4009],
  FW_TOO_LARGE: ['LimitReached', 4301],
  FW_TOO_MANY_CHANNELS: ['LimitReached', 4100],
  FW_TOO_MANY_MEMBERS: ['LimitReached', 4100],
  FW_TOO_MANY_REQUESTS: ['LimitReached', 4100],
}
