// The commands of a connected client.

import type { Right } from '../../broker/access/grants.ts'
import type { Identity } from '../../broker/access/identity.ts'
import type { Channel } from '../../broker/fanout/channel.ts'
import type { Connection } from '../../broker/fanout/connection.ts'
import type { Reader } from '../../broker/fanout/reader.ts'
import type { Lease } from '../../broker/limits/holds.ts'
import { checkedChannel, presenceOf as presenceChannelOf } from '../../broker/event/names.ts'
import { type Position, printStart } from '../../broker/event/position.ts'
import { VERSION } from '../../config/version.ts'
import { FanwireError } from '../../errors.ts'
import type { Context } from '../../http/context.ts'
import type { Commands } from '../commands.ts'
import { openOneFor } from '../open-for.ts'
import { badRequest, errorReply, notSupported, requireSize } from './codes.ts'
import { expiryOf, subscriptionExpiryOf } from './expiry.ts'
import { attendedChannel, historyOf, presenceOf, presenceStatsOf } from './history.ts'
import type { Command, Method, Reply, Request } from './protocol.ts'
import { place, type Placed, wantedOf } from './recovery.ts'
import { resultOf } from './server-side.ts'

export interface RequestParts {
  readonly context: Context
  readonly connection: Connection
  readonly commands: Commands
  readonly lease: Lease | undefined
  /** The client's current identity. */
  identity(): Identity
  write(reply: Reply): void
}

type Answer = (result: Reply) => void
type Run = (command: Command, answer: Answer) => Promise<void>

/** The channel of joins and leaves that belongs to a channel. */
interface JoinLeave {
  readonly channel: Channel
  readonly at: Position
}

export class Requests {
  readonly #parts: RequestParts
  readonly #methods: Readonly<Partial<Record<Method, Run>>> = {
    subscribe: ({ request }, answer) => this.#subscribe(request, answer),
    unsubscribe: ({ request }, answer) => this.#unsubscribe(request, answer),
    publish: (command, answer) => this.#publish(command, answer),
    presence: async ({ request }, answer) => answer(await this.#ask('presence', presenceOf, request)),
    presence_stats: async ({ request }, answer) =>
      answer(await this.#ask('presence', presenceStatsOf, request)),
    history: async ({ request }, answer) => answer(await this.#ask('history', historyOf, request)),
    ping: async (_command, answer) => answer({}),
    refresh: ({ request }, answer) => this.#refresh(request, answer),
    sub_refresh: ({ request }, answer) => this.#refreshSubscription(request, answer),
  }

  constructor(parts: RequestParts) {
    this.#parts = parts
  }

  /** Whether so many commands are in progress that no other should begin. */
  get full(): boolean {
    return this.#parts.commands.full
  }

  close(): void {
    this.#parts.commands.close()
  }

  /** Does not raise: errors are sent to the client. */
  take(command: Command): void {
    const { id, method } = command
    const { commands, write } = this.#parts
    const parse = () => {
      if (method === undefined) throw new FanwireError('FW_NOT_FOUND', 'unknown command')
      const run = this.#methods[method]
      if (run === undefined) throw notSupported(`${method} is not supported`)
      return () => run(command, result => write({ id, [method]: result }))
    }
    commands.take(parse, error => write({ id, error: errorReply(error) }))
  }

  async #ask(
    right: Right,
    question: (context: Context, identity: Identity, request: Request) => Promise<Reply>,
    request: Request,
  ): Promise<Reply> {
    await this.#parts.commands.askFor([right, checkedChannel(request.channel)])
    return question(this.#parts.context, this.#parts.identity(), request)
  }

  // Subscriptions -----------------------------------------------------------------------------------------------

  async #subscribe(request: Request, answer: Answer): Promise<void> {
    const { context, connection, commands, identity, lease } = this.#parts
    const name = checkedChannel(request.channel)
    if ((request.type ?? 0) !== 0) throw notSupported('only stream subscriptions are supported')
    const wanted = wantedOf(request)
    const token = this.#tokenOf(request)
    this.#leaveEnded(name)
    let placed: Placed | undefined
    let joinLeave: JoinLeave | undefined
    let joined = false
    const options = {
      cursor: printStart(wanted.start),
      ...(token === undefined ? {} : { token }),
      ...(request.tf === undefined || request.tf === null ? {} : { filter: request.tf }),
    }
    const respond = () => {
      if (placed === undefined) return
      const mayResume = context.access.may(identity(), 'history', name).allowed
      const result = resultOf(placed, wanted.recover)
      const expiry = subscriptionExpiryOf(identity(), name)
      answer({ ...result, ...(mayResume ? {} : { recoverable: false }), ...expiry })
    }
    try {
      await commands.subscribe(name, options, respond, async channel => {
        if (request.join_leave === true) joinLeave = await this.#openJoinLeave(name)
        placed = await place(channel, wanted)
        return placed.at
      })
      if (joinLeave !== undefined && connection.readerOf(name) !== undefined) {
        connection.join(joinLeave.channel, joinLeave.at)
        joined = true
      }
    } finally {
      joinLeave?.channel.release()
      if (joinLeave !== undefined && !joined) lease?.remove()
    }
  }

  /** Undefined if tokens are not used. */
  #tokenOf({ token }: Request): string | undefined {
    if (token === undefined || token === '' || !this.#parts.context.access.takesTokens) return undefined
    if (typeof token !== 'string') throw badRequest('token must be a string')
    return token
  }

  /** Leaves a channel that has ended. The client already knows that. */
  #leaveEnded(name: string): void {
    const reader = this.#parts.connection.readerOf(name)
    if (reader?.ended) this.#leave(reader)
  }

  /**
   * Opens the log of joins and leaves, before the client itself joins, and counts it. The caller releases it. Raises
   * FW_TOO_MANY_REQUESTS, LogUnavailable.
   */
  async #openJoinLeave(name: string): Promise<JoinLeave | undefined> {
    const { context, connection, identity, lease } = this.#parts
    const { hub, access } = context
    attendedChannel(context, identity(), name)
    if (connection.readerOf(presenceChannelOf(name)) !== undefined) return undefined
    const channel = await openOneFor({ hub, access, identity: identity() }, presenceChannelOf(name), 'latest')
    try {
      const at = await channel.settle('latest')
      lease?.add()
      return { channel, at }
    } catch (error) {
      channel.release()
      throw error
    }
  }

  async #unsubscribe(request: Request, answer: Answer): Promise<void> {
    const name = checkedChannel(request.channel)
    const done = () => {
      const joinLeave = this.#parts.connection.readerOf(presenceChannelOf(name))
      if (joinLeave !== undefined) this.#leave(joinLeave)
      answer({})
    }
    await this.#parts.commands.unsubscribe(name, done).catch(error => {
      // Unsubscribing twice succeeds.
      if (!(error instanceof FanwireError) || error.code !== 'FW_NOT_SUBSCRIBED') throw error
      done()
    })
  }

  #leave(reader: Reader): void {
    this.#parts.connection.leave(reader)
    this.#parts.lease?.remove()
  }

  // Tokens ------------------------------------------------------------------------------------------------------

  async #refresh({ token }: Request, answer: Answer): Promise<void> {
    const { commands, identity } = this.#parts
    await commands.authenticate({ token }, () =>
      answer({ version: `fanwire ${VERSION}`, ...expiryOf(identity()) }),
    )
  }

  async #refreshSubscription(request: Request, answer: Answer): Promise<void> {
    const { commands, identity } = this.#parts
    const name = checkedChannel(request.channel)
    if ((request.type ?? 0) !== 0) throw notSupported('only stream subscriptions are supported')
    if (this.#parts.connection.readerOf(name) === undefined)
      throw new FanwireError('FW_NOT_SUBSCRIBED', `this connection does not have the channel ${name}`)
    const token = this.#tokenOf(request)
    if (token === undefined) return answer({})
    await commands.subscribe(name, { token }, () => answer({ ...subscriptionExpiryOf(identity(), name) }))
  }

  // Publishing --------------------------------------------------------------------------------------------------

  async #publish({ request, data }: Command, answer: Answer): Promise<void> {
    const { commands, context } = this.#parts
    commands.requirePublisher()
    if ((request.type ?? 0) !== 0 || (request.key ?? '') !== '')
      throw notSupported('only publications to streams are supported')
    const channel = checkedChannel(request.channel)
    if (data === undefined) throw badRequest('data is missing')
    requireSize(data, context.config.maxBody)
    await commands.publishDraft(channel, data, () => answer({}))
  }
}
