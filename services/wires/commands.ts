// The commands of a long-lived client: authenticate, subscribe, unsubscribe, publish
// (docs/protocol.md#websocket-commands). Their encoding belongs to the wire.

import type { FastifyBaseLogger } from 'fastify'
import { isObject } from '../broker/event/json-values.ts'
import { FanwireError } from '../errors.ts'
import type { Channel } from '../broker/fanout/channel.ts'
import { type Connection, UNTIL } from '../broker/fanout/connection.ts'
import type { Plan } from '../broker/fanout/plan.ts'
import type { Reader } from '../broker/fanout/reader.ts'
import type { Selection } from '../broker/fanout/selection.ts'
import type { Lease } from '../broker/limits/holds.ts'
import type { ConnectionBuckets } from '../broker/limits/limited.ts'
import type { Draft } from '../broker/event/event.ts'
import type { Published, Publishing } from '../broker/publisher.ts'
import type { Grants } from '../broker/access/grants.ts'
import { channelTokensOf, type Identity, isStranger, withChannelTokens } from '../broker/access/identity.ts'
import {
  type Asker,
  answersFor,
  bareAsker,
  Disconnected,
  missing,
  readWishes,
  type Wish,
} from '../broker/access/asking.ts'
import type { Client } from '../http/clients.ts'
import type { Context } from '../http/context.ts'
import { clientErrorOf } from '../broker/log/client-error.ts'
import { ENTRY_MEMBERS, parseEntry } from '../broker/event/publish-entry.ts'
import { checkedReadable } from '../broker/event/names.ts'
import { parseStart, type Position, printPosition, type Start } from '../broker/event/position.ts'
import type { Arrival } from './arrival.ts'
import { givenFor, openAheadFor, openOneFor, type Opener, requireReadable } from './open-for.ts'
import { commandPlan } from './plan-query.ts'
import { CURSOR_RULE } from './read-query.ts'
import { commandSelection } from './select-query.ts'

/** How many commands of one connection may be in progress before the node stops reading from it. */
const MAX_UNDER_WAY = 64
const PUBLISH_MEMBERS = new Set([...ENTRY_MEMBERS].filter(name => name !== 'channels'))

/** The members of a subscribe command besides its channel. */
export const SUBSCRIBE_OPTIONS = [
  'cursor',
  'token',
  'types',
  'filter',
  'every',
  'newest',
  'until',
  'speed',
] as const
type SubscribeOptions = Readonly<Record<string, unknown>>

/** Writes the answer to a successful command. Called before the command delivers anything. */
export type Respond = (ok: object) => void

export interface CommandParts extends Arrival {
  readonly context: Context
  readonly connection: Connection
  readonly outlet: { pause(): void; room?(): void }
  readonly client: Client | undefined
  /** Its lease on the limits. */
  readonly lease: Lease | undefined
  /** The owner of credentials, if the wire accepts unusual ones. Raises CredentialsRefused, FW_NOT_READY. */
  identify?(given: Credentials): Promise<Identity>
  /** Called when another identity has been accepted. */
  authenticated?(identity: Identity): void
  /** Settles once the connection's first channels are open, or have failed to open. */
  readonly opened: Promise<void>
  readonly logger: FastifyBaseLogger
}

/** Rights about which the application is asked. */
interface Asked {
  /** The client's user. */
  readonly user: string
  readonly wishes: readonly Wish[]
  readonly grants: Promise<Grants[]>
}

/** How a client wants to read a channel. */
interface Reading {
  readonly start: Start
  readonly selection: Selection | undefined
  readonly plan: Plan | undefined
  readonly place: Place
}

/** Finds where a reader begins. Raises LogUnavailable, and the wire's errors. */
type Place = (channel: Channel, start: Start) => Promise<Position>

const settle: Place = (channel, start) => channel.settle(start)

/** The commands of one connection. */
export class Commands {
  readonly #parts: CommandParts
  readonly #buckets: ConnectionBuckets = {}
  #turn: Promise<void>
  /** The verification of channels' tokens, before which their subscribes have no turn. Most connections have none. */
  #verifying: Map<string, Promise<void>> | undefined
  /** Settles when the last event on which a hook decided is published. */
  #published: Promise<void> | undefined
  #underWay = 0
  /** The number of channels that are being opened ahead of their turn. */
  #ahead = 0
  #closed = false

  constructor(parts: CommandParts) {
    this.#parts = parts
    this.#turn = parts.opened
  }

  /** Called when the client is gone. */
  close(): void {
    this.#closed = true
  }

  /** Whether so many commands are in progress that no other should begin. */
  get full(): boolean {
    return this.#underWay >= MAX_UNDER_WAY
  }

  /** The client's current identity. */
  get #identity(): Identity {
    const { client, identity } = this.#parts
    return client?.identity ?? identity
  }

  /** Runs changes of the connection's readers one after another, in the order of the commands. */
  #inTurn<T>(change: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(change)
    this.#turn = done.then(ignore, ignore)
    return done
  }

  /** Runs the function that `parse` returns. Never raises: `fail` reports the errors of both. */
  take(parse: () => () => Promise<void>, fail: (error: FanwireError) => void): void {
    const { connection, outlet } = this.#parts
    // Stops reading from a client that does not read its answers.
    this.#underWay++
    if (this.full || connection.blocked) outlet.pause()
    this.#run(parse, fail)
      .then(() => {
        if (--this.#underWay < MAX_UNDER_WAY / 2 && !connection.blocked) outlet.room?.()
      })
      .catch((error: unknown) => {
        // The error could not be reported to the client.
        this.#parts.logger.error({ err: error }, 'a connection failed, and is closed')
        connection.cut()
      })
  }

  async #run(parse: () => () => Promise<void>, fail: (error: FanwireError) => void): Promise<void> {
    // The connection's position is sent before anything else.
    await this.#parts.opened
    if (this.#closed || this.#parts.connection.ended) return
    try {
      await this.#counted(parse)()
    } catch (error) {
      fail(this.#tellable(error))
      if (error instanceof Disconnected) this.#parts.connection.end(error.close)
    }
  }

  /** Parses a command and counts it, even if it is invalid. */
  #counted<T>(parse: () => T): T {
    try {
      return parse()
    } finally {
      this.#parts.context.limits.request(this.#party)
    }
  }

  get #party(): Publishing {
    return { identity: this.#identity, address: this.#parts.address, connection: this.#buckets }
  }

  /**
   * Authenticates with a token, a fresh token, or a key. Rejected credentials change nothing. Raises FW_BAD_COMMAND,
   * FW_UNAUTHORIZED, FW_NOT_READY, FW_FORBIDDEN if they belong to another user, FW_TOO_MANY_REQUESTS.
   */
  async authenticate(auth: unknown, respond: Respond): Promise<void> {
    const given = credentialsOf(auth)
    await this.#inTurn(async () => {
      const { connection, context } = this.#parts
      const { access, clients, presence } = context
      const { identify = access.credentials.bind(access) } = this.#parts
      const shown = await identify(given)
      if (this.#closed) return
      // Channel tokens stay valid.
      const identity = withChannelTokens(shown, channelTokensOf(this.#identity))
      const { user, kind } = this.#identity
      if (!isStranger(this.#identity) && (user !== identity.user || kind !== identity.kind)) {
        throw new FanwireError('FW_FORBIDDEN', 'a connection cannot change its user: open another one', {
          challenge: 'insufficient_scope',
        })
      }
      this.#parts.lease?.renew({ ...this.#party, identity })
      presence.attend(connection, identity)
      clients.renew(this.#parts.client, identity)
      this.#parts.authenticated?.(identity)
      respond({ user: identity.user, ...expiryOf(identity) })
    })
  }

  /**
   * Subscribes to a channel. Raises FW_BAD_CHANNEL, FW_BAD_CURSOR, FW_BAD_FILTER, FW_BAD_TYPE, FW_BAD_PARAMETER,
   * FW_TOO_MANY_FILTERS, FW_ALREADY_SUBSCRIBED, FW_TOO_MANY_CHANNELS, and the errors of `openOneFor`.
   */
  async subscribe(
    channel: unknown,
    options: SubscribeOptions,
    respond: Respond,
    place = settle,
  ): Promise<void> {
    const { cursor, token } = options
    const name = checkedReadable(channel)
    const selection = commandSelection(options)
    const plan = commandPlan(options, selection)
    const start =
      cursor === undefined ? 'latest' : typeof cursor === 'string' ? parseStart(cursor) : undefined
    if (start === undefined) {
      throw new FanwireError('FW_BAD_CURSOR', `the cursor of one channel is ${CURSOR_RULE}`)
    }
    if (token !== undefined) {
      const taken = this.#takeChannelToken(token, name, cursor === undefined, respond)
      this.#remember(name, taken.then(ignore, ignore))
      if (await taken) return
    }
    const asked = this.#ask(readWishes([name], [start]))
    const release = this.#openAhead(name, start)
    try {
      await this.#inTurn(async () => {
        if (asked !== undefined) {
          this.#requireNew(name)
          await this.#grant(asked)
        }
        await this.#join(name, { start, selection, plan, place }, respond)
      })
    } finally {
      release()
    }
  }

  #remember(name: string, verified: Promise<void>): void {
    const verifying = (this.#verifying ??= new Map())
    verifying.set(name, verified)
    void verified.then(() => {
      if (verifying.get(name) === verified) verifying.delete(name)
    })
  }

  /** Returns true if the token is for a channel that the client already reads, which then continues. */
  async #takeChannelToken(
    token: unknown,
    name: string,
    mayRenew: boolean,
    respond: Respond,
  ): Promise<boolean> {
    if (typeof token !== 'string') throw badCommand('token is a string')
    const { access, clients } = this.#parts.context
    return this.#inTurn(async () => {
      if (!mayRenew) this.#requireNew(name)
      clients.renew(this.#parts.client, await access.withChannelToken(this.#identity, token))
      const reader = this.#parts.connection.readerOf(name)
      if (reader !== undefined) respond({ channel: name, cursor: printPosition(reader) })
      return reader !== undefined
    })
  }

  /**
   * Asks the application for the remaining rights of a command, if rules leave them to it. Raises FW_FORBIDDEN,
   * FW_HOOK_FAILED.
   */
  async askFor(...wishes: Wish[]): Promise<void> {
    const asked = this.#ask(wishes)
    if (asked !== undefined) await this.#grant(asked)
  }

  /** Calls the hook before the command's turn, so that many calls run in parallel. Undefined if no hook is needed. */
  #ask(wanted: Iterable<Wish>): Asked | undefined {
    const { access } = this.#parts.context
    const identity = this.#identity
    const wishes = [...wanted]
    if (access.asking === undefined || missing(access, identity, wishes).size === 0) return undefined
    const grants = answersFor(access, identity, wishes, () => this.#asker)
    // The error is reported in the command's turn.
    grants.catch(() => {})
    return { user: identity.user, wishes, grants }
  }

  /** Adds the application's grants. Asks again if the client's identity has changed. */
  async #grant({ user, wishes, grants }: Asked): Promise<void> {
    const found = await grants
    if (this.#identity.user !== user) return this.askFor(...wishes)
    this.#parts.context.clients.renew(this.#parts.client, withChannelTokens(this.#identity, found))
  }

  get #asker(): Asker {
    const { asker, client, connection } = this.#parts
    return asker ?? bareAsker(client?.id ?? '', connection.framing.wire)
  }

  #requireNew(name: string): void {
    if (this.#parts.connection.readerOf(name) === undefined) return
    throw new FanwireError('FW_ALREADY_SUBSCRIBED', `this connection already has the channel ${name}`)
  }

  get #opener(): Opener {
    const { hub, access } = this.#parts.context
    return { hub, access, identity: this.#identity }
  }

  /**
   * Begins to open a channel ahead of its turn, so that many are opened together. Returns a function that releases it.
   */
  #openAhead(name: string, start: Start): () => void {
    const { context, connection } = this.#parts
    if (connection.readers.length + this.#ahead >= context.config.maxChannels) return () => {}
    this.#ahead++
    // If it fails, it fails again in its turn, and is reported then.
    const done = openAheadFor(this.#opener, name, start).catch(() => undefined)
    return () => {
      this.#ahead--
      void done.then(channel => channel?.release())
    }
  }

  async #join(name: string, { start, selection, plan, place }: Reading, respond: Respond): Promise<void> {
    const { context, connection } = this.#parts
    this.#requireNew(name)
    const most = context.config.maxChannels
    if (connection.readers.length >= most) {
      throw new FanwireError('FW_TOO_MANY_CHANNELS', `a connection may have at most ${most} channels`)
    }
    this.#parts.lease?.add()
    let joined = false
    const opened = await openOneFor(this.#opener, name, start).catch(error => {
      this.#parts.lease?.remove()
      throw error
    })
    try {
      const at = await place(opened, start)
      if (this.#closed) return
      // The rules may have changed since the check.
      const wanted = { channels: [name], starts: [start], selections: [selection] }
      requireReadable(this.#opener, wanted)
      const [given] = givenFor(this.#opener, wanted)
      opened.requireRoomFor(given?.selection)
      connection.endsWithChannels = false
      respond({ channel: name, cursor: printPosition(at) })
      const ended = (reader: Reader) => this.#ended(reader)
      // When the client connected, perhaps no channel had presence.
      if (connection.watcher === undefined) context.presence.attend(connection, this.#identity)
      connection.join(opened, at, given?.selection, given?.grant, plan && { ...plan, ended })
      joined = true
    } finally {
      opened.release()
      if (!joined) this.#parts.lease?.remove()
    }
  }

  /** Called when a channel's plan is complete: the connection continues without the channel. */
  #ended(reader: Reader): void {
    const { connection, lease } = this.#parts
    const { name } = reader.channel
    connection.leave(reader)
    lease?.remove()
    const frame = connection.framing.dropped?.(name, reader, UNTIL)
    if (frame !== undefined) connection.write(frame)
  }

  /** Unsubscribes from a channel. Raises FW_BAD_CHANNEL, FW_NOT_SUBSCRIBED. */
  async unsubscribe(channel: unknown, respond: Respond): Promise<void> {
    const name = checkedReadable(channel)
    const verifying = this.#verifying?.get(name)
    if (verifying !== undefined) await verifying
    await this.#inTurn(async () => this.#leave(name, respond))
  }

  #leave(name: string, respond: Respond): void {
    const reader = this.#parts.connection.readerOf(name)
    if (reader === undefined) {
      throw new FanwireError('FW_NOT_SUBSCRIBED', `this connection does not have the channel ${name}`)
    }
    this.#parts.connection.leave(reader)
    this.#parts.lease?.remove()
    respond({ channel: name, cursor: printPosition(reader) })
  }

  /** Raises FW_UNAUTHORIZED, FW_FORBIDDEN_ORIGIN if the client may not publish at all. */
  requirePublisher(): Identity {
    const { refusal, context } = this.#parts
    if (refusal !== undefined) throw refusal
    context.access.requirePublisher(this.#identity, 'authenticate first')
    return this.#identity
  }

  /** Publishes an entry, a JSON object. Raises the errors of `requirePublisher`, `parseEntry` and `append`. */
  async publish(raw: Buffer, respond: Respond): Promise<void> {
    this.requirePublisher()
    const { channels, draft } = parseEntry(raw, this.#parts.context.config, PUBLISH_MEMBERS)
    await this.publishDraft(channels[0] as string, draft, respond)
  }

  /** Publishes a parsed entry. */
  async publishDraft(channel: string, draft: Draft, respond: Respond): Promise<void> {
    this.requirePublisher()
    const { position, time, replayed } = await this.#publishInOrder(channel, draft)
    const id = position === undefined ? {} : { id: printPosition(position) }
    respond({ channel, ...id, time, ...(replayed ? { replayed } : {}) })
  }

  /** Keeps the order of the commands, however long the application takes for each. */
  async #publishInOrder(channel: string, draft: Draft): Promise<Published> {
    const { publisher } = this.#parts.context
    const by = this.#party
    if (publisher.hookOf(by.identity, channel) === undefined) return publisher.publish(channel, draft, by)
    const published = publisher.publish(channel, draft, { ...by, asker: this.#asker }, this.#published)
    this.#published = published.then(ignore, ignore)
    return published
  }

  /** Writes the wire's own frames. */
  write(bytes: Buffer): void {
    this.#parts.connection.write(bytes)
  }

  #tellable(error: unknown): FanwireError {
    const coded = clientErrorOf(error)
    if (coded !== undefined) return coded
    this.#parts.logger.error({ err: error }, 'a command failed')
    return new FanwireError('FW_INTERNAL', 'the node failed to do this; its log says more')
  }
}

function ignore(): void {}

export type Credentials = { readonly token: string } | { readonly key: string }

/** A client's credentials. Raises FW_BAD_COMMAND unless it is `{"token":"…"}` or `{"key":"…"}`. */
export function credentialsOf(auth: unknown): Credentials {
  if (isObject(auth)) {
    only(auth, 'token', 'key')
    const { token, key } = auth as { token?: unknown; key?: unknown }
    if (typeof token === 'string' && key === undefined) return { token }
    if (typeof key === 'string' && token === undefined) return { key }
  }
  throw badCommand('auth is {"token":"…"} or {"key":"…"}')
}

/** When a fresh token is due, ms since 1970. */
function expiryOf({ expiresAt }: Identity): { readonly expires?: number } {
  return expiresAt === undefined ? {} : { expires: expiresAt * 1000 }
}

/** Raises FW_BAD_COMMAND if the command has other members. */
export function only(command: object, ...names: string[]): void {
  const other = Object.keys(command).find(name => !names.includes(name))
  if (other !== undefined) throw badCommand(`unknown member ${JSON.stringify(other.slice(0, 40))}`)
}

export function badCommand(message: string): FanwireError {
  return new FanwireError('FW_BAD_COMMAND', message)
}
