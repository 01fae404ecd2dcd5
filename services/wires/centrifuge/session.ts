// One client. It connects once; then its commands run as on every wire.

import { randomBytes } from 'node:crypto'
import type { FastifyBaseLogger } from 'fastify'
import { isObject } from '../../broker/event/json-values.ts'
import { withWishes, bareAsker, Disconnected, readWishes } from '../../broker/access/asking.ts'
import { ANONYMOUS, type Identity } from '../../broker/access/identity.ts'
import { followedBy } from '../../broker/access/claims.ts'
import type { Connection } from '../../broker/fanout/connection.ts'
import type { Reader } from '../../broker/fanout/reader.ts'
import type { Lease } from '../../broker/limits/holds.ts'
import { clientErrorOf } from '../../broker/log/client-error.ts'
import { attendedIn, presenceOf } from '../../broker/event/names.ts'
import { VERSION } from '../../config/version.ts'
import { FanwireError } from '../../errors.ts'
import type { Client } from '../../http/clients.ts'
import type { Context } from '../../http/context.ts'
import { TURN } from '../../http/turns.ts'
import { admit } from '../admit.ts'
import type { Arrival } from '../arrival.ts'
import { Commands, type Credentials } from '../commands.ts'
import {
  BAD_COMMAND,
  errorReply,
  INSUFFICIENT_STATE,
  INVALID_TOKEN,
  isOutdated,
  NOT_AVAILABLE,
  REFUSED,
  SERVER_ERROR,
} from './codes.ts'
import type { Dialect } from './dialects.ts'
import { expiryOf } from './expiry.ts'
import type { Command, Reply, Request } from './protocol.ts'
import { Requests } from './requests.ts'
import { followAll, type Followed, type Subscriptions, subscriptionsOf } from './server-side.ts'

/** A client over HTTP sends its commands with these. */
export interface Emulation {
  readonly session: string
  readonly node: string
}

export interface SessionParts {
  readonly arrival: Arrival
  readonly context: Context
  readonly connection: Connection
  /** The client's input. */
  readonly intake: { pause(): void; resume(): void }
  readonly dialect: Dialect
  readonly emulation?: Emulation | undefined
  /** Whether it can't send commands after the first message. */
  readonly oneWay?: boolean
  /** Called when another identity has been accepted. */
  authenticated?(identity: Identity): void
  readonly logger: FastifyBaseLogger
}

/** The client's identity. */
interface Shown {
  readonly identity: Identity
  /** Channels to which its token subscribes it. */
  readonly follows: readonly string[]
}

export class Session {
  readonly #parts: SessionParts
  #state: 'new' | 'connecting' | 'connected' | 'closed' = 'new'
  /** Commands that have not begun. */
  #waiting: Command[] = []
  /** Commands that have begun since turns were last counted. A message with one command is counted as a message. */
  #taken = 0
  #requests: Requests | undefined
  #client: Client | undefined
  #lease: Lease | undefined

  constructor(parts: SessionParts) {
    this.#parts = parts
    parts.connection.gapped = reader => this.#gapped(reader)
  }

  /** Processes one message. Does not raise. */
  take(message: Buffer): void {
    let commands: Command[]
    try {
      commands = this.#parts.dialect.parse(message)
    } catch (error) {
      return this.#end(BAD_COMMAND, error instanceof FanwireError ? error.message : 'bad request')
    }
    this.takeAll(commands)
  }

  /** Processes commands in their order. Does not raise. */
  takeAll(commands: readonly Command[]): void {
    this.#waiting.push(...commands)
    this.room()
  }

  pause(): void {
    this.#parts.intake.pause()
  }

  /** Begins commands that wait, a share in each turn of the event loop, and reads the next message when none waits. */
  room(): void {
    const { intake } = this.#parts
    while (this.#waiting.length > 0 && this.#taken < TURN && this.#mayBegin) {
      if (this.#taken > 0 || this.#waiting.length > 1) this.#count()
      this.#run(this.#waiting.shift() as Command)
    }
    if (this.#waiting.length > 0 || !this.#mayBegin) intake.pause()
    else intake.resume()
  }

  #count(): void {
    if (this.#taken++ > 0) return
    setImmediate(() => {
      this.#taken = 0
      this.room()
    })
  }

  /** If not, `room` is called later. */
  get #mayBegin(): boolean {
    if (this.#isGone) return true
    return this.#state !== 'connecting' && !this.#parts.connection.blocked && this.#requests?.full !== true
  }

  #run(command: Command): void {
    const { connection, oneWay } = this.#parts
    if (this.#isGone) return
    if (command.pong) return connection.answered()
    const { method, id } = command
    if (method === 'send') return this.#end(NOT_AVAILABLE, 'send is not supported')
    if (id === 0 && !oneWay) return this.#end(BAD_COMMAND, 'the command has no id')
    if (method === 'connect') {
      if (this.#state !== 'new') return this.#end(BAD_COMMAND, 'the client is already connected')
      this.#state = 'connecting'
      this.#connect(command).catch((error: unknown) => {
        // The error could not be reported to the client.
        this.#parts.logger.error({ err: error }, 'a connection failed, and is closed')
        connection.cut()
      })
    } else if (this.#state === 'new') this.#end(BAD_COMMAND, 'the first command must be connect')
    else this.#requests?.take(command)
  }

  /** Called when the client is gone. */
  close(): void {
    this.#state = 'closed'
    this.#waiting = []
    this.#requests?.close()
    this.#parts.connection.closed()
    this.#forget()
  }

  /** Ends what the node holds for the client. */
  #forget(): void {
    this.#lease?.end()
    this.#parts.context.clients.remove(this.#client)
    this.#lease = this.#client = undefined
  }

  #end(code: number, reason: string): void {
    this.#parts.connection.end({ code, reason, retry: undefined })
  }

  #write(reply: Reply): void {
    this.#parts.connection.write(this.#parts.dialect.frame(reply))
  }

  // Connecting --------------------------------------------------------------------------------------------------

  async #connect({ id, request }: Command): Promise<void> {
    const { connection, oneWay } = this.#parts
    try {
      await this.#begin(id, request)
    } catch (error) {
      if (this.#state === 'closed') return
      this.#state = 'new'
      this.#waiting = []
      this.#forget()
      if (error instanceof Disconnected) return connection.end(error.close)
      const coded = this.#coded(error)
      const { message } = errorReply(coded)
      if (coded.challenge === 'invalid_token' && !isOutdated(coded)) this.#end(INVALID_TOKEN, message)
      else if (oneWay) this.#end(coded.retryable ? SERVER_ERROR : REFUSED, message)
      else this.#write({ id, error: errorReply(coded) })
    }
    this.room()
  }

  #coded(error: unknown): FanwireError {
    const coded = clientErrorOf(error)
    if (coded !== undefined) return coded
    this.#parts.logger.error({ err: error }, 'a client could not connect')
    return new FanwireError('FW_INTERNAL', 'the node failed to do this; its log says more')
  }

  async #begin(id: number, request: Request): Promise<void> {
    const { context, connection, oneWay, logger } = this.#parts
    const { address } = this.#parts.arrival
    context.limits.request(this.#parts.arrival)
    const { identity: shown, follows } = await this.#identify(request.token)
    if (this.#isGone) return
    const wanted = oneWay ? subsOf(request) : {}
    const channels = [...new Set([...follows, ...Object.keys(wanted)])]
    if (oneWay && channels.length === 0)
      throw new FanwireError(
        'FW_BAD_COMMAND',
        'name channels in subs: a one-way transport cannot subscribe later',
      )
    context.limits.holds.check({ identity: shown, address }, channels.length)
    const subscriptions = subscriptionsOf(context, channels, subsOf(request))
    const identity = await this.#asked(shown, subscriptions)
    if (this.#isGone) return
    this.#parts.authenticated?.(identity)
    context.presence.attend(connection, identity)
    const arrival = { ...this.#parts.arrival, identity }
    this.#lease = admit(context, connection, arrival, channels.length)
    if (this.#isGone) return
    connection.fixed = channels.length > 0 ? new Set(channels) : undefined
    this.#client = context.clients.add(connection, arrival, this.#lease)
    const followed = await followAll(context, identity, subscriptions, {
      begin: followed => this.#begun(id, identity, followed),
      connection,
    })
    if (!followed || this.#isGone) return
    const commands = new Commands({
      ...arrival,
      context,
      connection,
      outlet: this,
      client: this.#client,
      lease: this.#lease,
      identify: async given => (await this.#identify('token' in given ? given.token : undefined)).identity,
      authenticated: identity => this.#parts.authenticated?.(identity),
      opened: Promise.resolve(),
      logger,
    })
    this.#requests = new Requests({
      context,
      connection,
      commands,
      lease: this.#lease,
      identity: () => this.#client?.identity ?? identity,
      write: reply => this.#write(reply),
    })
    this.#state = 'connected'
  }

  /** The identity, with the application's grants for the first channels. */
  async #asked(identity: Identity, { channels, starts }: Subscriptions): Promise<Identity> {
    const { context, connection, arrival } = this.#parts
    if (context.access.asking === undefined || channels.length === 0) return identity
    const asker = () => arrival.asker ?? bareAsker('', connection.framing.wire)
    return withWishes(context.access, identity, readWishes(channels, starts), asker)
  }

  get #isGone(): boolean {
    return this.#state === 'closed' || this.#parts.connection.ended
  }

  /** Notifies the client that it is connected, before any push. */
  #begun(id: number, identity: Identity, subs: Readonly<Record<string, Followed>>): void {
    const { context, emulation, oneWay, dialect } = this.#parts
    const { answered } = dialect.framing
    const connect = {
      client: this.#client?.id ?? randomBytes(12).toString('base64url'),
      version: `fanwire ${VERSION}`,
      ...expiryOf(identity),
      ...(Object.keys(subs).length === 0 ? {} : { subs }),
      ping: Math.ceil(context.config.heartbeat / 1000),
      ...(answered ? { pong: true } : {}),
      ...emulation,
    }
    this.#write(oneWay ? { connect } : { id, connect })
  }

  /** The owner of a token. On a node without token keys every client is anonymous. */
  async #identify(token: unknown): Promise<Shown> {
    const { context, arrival } = this.#parts
    const { identity } = arrival
    if (token === undefined || token === '') return { identity, follows: [] }
    if (typeof token !== 'string') throw new FanwireError('FW_BAD_COMMAND', 'token is a string')
    if (!context.access.takesTokens) return { identity: ANONYMOUS, follows: [] }
    const accepted = await context.access.token(token, { lists: true })
    const follows = followedBy(accepted.claims)
    return { identity: accepted.identity, follows: 'ok' in follows ? [] : follows }
  }

  // Gaps --------------------------------------------------------------------------------------------------------

  /**
   * Ends the subscription: the client resubscribes from its position. If the server subscribed it, the connection ends:
   * the client reconnects with its position.
   */
  #gapped(reader: Reader): boolean {
    const { connection } = this.#parts
    const { name } = reader.channel
    // Joins and leaves have no recovery.
    if (attendedIn(name) !== undefined) return true
    const isFixed = connection.fixed?.has(name)
    for (const each of [reader, connection.readerOf(presenceOf(name))]) {
      if (each === undefined) continue
      connection.leave(each)
      this.#lease?.remove()
    }
    if (isFixed) {
      this.#end(INSUFFICIENT_STATE, 'insufficient state')
      return true
    }
    const gap = { from: reader, to: reader }
    connection.write(connection.framing.gap(name, gap, ''))
    return true
  }
}

/** The channels of a connect request, each with the position where the client left off. Raises FW_BAD_COMMAND. */
function subsOf({ subs = {} }: Request): Readonly<Record<string, Request>> {
  if (isObject(subs) && Object.values(subs as object).every(isObject)) return subs as Record<string, Request>
  throw new FanwireError('FW_BAD_COMMAND', 'subs must be an object of objects')
}

export type { Credentials }
