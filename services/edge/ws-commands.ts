// What a client may say over a WebSocket: DESIGN.md section 4.3. One command a text message; each is answered,
// with its `ref`.

import { isUtf8 } from 'node:buffer'
import type { FastifyBaseLogger } from 'fastify'
import { FanwireError, logUnavailable } from '../errors.ts'
import type { Connection } from '../fanout/connection.ts'
import { wsText } from '../fanout/frames.ts'
import type { Context } from '../http/context.ts'
import { checkedChannel, ENTRY_MEMBERS, parseEntry } from '../log/entry.ts'
import { members } from '../log/json.ts'
import { LogUnavailable } from '../log/log.ts'
import { parseStart, printPosition } from '../log/position.ts'

/** Commands of one connection under way before the node stops reading from it. */
const MAX_UNDER_WAY = 64
const PUBLISH_MEMBERS = new Set([...ENTRY_MEMBERS].filter(name => name !== 'channels'))

type Ref = string | number | undefined
type Command = Readonly<Record<string, unknown>>

interface Pausable {
  pause(): void
  room?(): void
}

export class Commands {
  readonly #context: Context
  readonly #connection: Connection
  readonly #socket: Pausable
  readonly #mayPublish: boolean
  readonly #logger: FastifyBaseLogger
  readonly #opened: Promise<void>
  #turn: Promise<void>
  #underWay = 0
  #closed = false

  /** `opened`: the connection's first channels are open, or never will be. */
  constructor(
    context: Context,
    connection: Connection,
    socket: Pausable,
    mayPublish: boolean,
    opened: Promise<void>,
    logger: FastifyBaseLogger,
  ) {
    this.#context = context
    this.#connection = connection
    this.#socket = socket
    this.#mayPublish = mayPublish
    this.#opened = opened
    this.#turn = opened
    this.#logger = logger
  }

  /** The client is gone. */
  close(): void {
    this.#closed = true
  }

  /** Runs what changes the connection's readers one after another, in the order of the messages. */
  #inTurn(change: () => Promise<void>): Promise<void> {
    const done = this.#turn.then(change)
    this.#turn = done.catch(() => {})
    return done
  }

  /** One message. Never raises: whatever is wrong is answered. */
  take(data: Buffer, isBinary: boolean): void {
    // A client that does not read its answers is not read either.
    if (++this.#underWay >= MAX_UNDER_WAY || this.#connection.blockedSince !== 0) this.#socket.pause()
    void this.#answer(data, isBinary).then(() => {
      if (--this.#underWay < MAX_UNDER_WAY / 2 && this.#connection.blockedSince === 0) this.#socket.room?.()
    })
  }

  async #answer(data: Buffer, isBinary: boolean): Promise<void> {
    // Where the connection stands is said before anything else.
    await this.#opened
    if (this.#closed || this.#connection.ended) return
    let ref: Ref
    try {
      const command = parseCommand(data, isBinary)
      ref = refOf(command)
      const tell = (ok: object) => this.#write({ ...(ref === undefined ? {} : { ref }), ok })
      await this.#run(command, data, tell)
    } catch (error) {
      this.#write({ ...(ref === undefined ? {} : { ref }), ...this.#tellable(error).toJSON() })
    }
  }

  async #run(command: Command, data: Buffer, tell: (ok: object) => void): Promise<void> {
    if ('subscribe' in command) {
      only(command, 'subscribe', 'cursor')
      const channel = checkedChannel(command.subscribe)
      await this.#inTurn(() => this.#subscribe(channel, command.cursor, tell))
    } else if ('unsubscribe' in command) {
      only(command, 'unsubscribe')
      const channel = checkedChannel(command.unsubscribe)
      await this.#inTurn(async () => this.#unsubscribe(channel, tell))
    } else if ('publish' in command) {
      only(command, 'publish')
      await this.#publish(data, tell)
    } else if ('ping' in command) {
      only(command, 'ping')
      if (command.ping !== true) throw badCommand('ping is true')
      tell({})
    } else {
      throw badCommand('a command has one of subscribe, unsubscribe, publish, ping')
    }
  }

  async #subscribe(name: string, cursor: unknown, tell: (ok: object) => void): Promise<void> {
    const { hub, config } = this.#context
    const start =
      cursor === undefined ? 'latest' : typeof cursor === 'string' ? parseStart(cursor) : undefined
    if (start === undefined) {
      throw new FanwireError(
        'FW_BAD_CURSOR',
        'the cursor of one channel is <epoch>-<offset>, earliest or latest',
      )
    }
    if (this.#reader(name) !== undefined) {
      throw new FanwireError('FW_ALREADY_SUBSCRIBED', `this connection already has the channel ${name}`)
    }
    if (this.#connection.readers.length >= config.maxChannels) {
      throw new FanwireError('FW_TOO_MANY_CHANNELS', `a connection may have ${config.maxChannels} channels`)
    }
    const channel = await hub.open(name)
    try {
      const at = await channel.resolve(start)
      if (this.#closed) return
      tell({ channel: name, cursor: printPosition(at) })
      this.#connection.join(channel, at)
    } finally {
      channel.release()
    }
  }

  #unsubscribe(name: string, tell: (ok: object) => void): void {
    const reader = this.#reader(name)
    if (reader === undefined) {
      throw new FanwireError('FW_NOT_SUBSCRIBED', `this connection does not have the channel ${name}`)
    }
    this.#connection.leave(reader)
    tell({ channel: name, cursor: printPosition(reader) })
  }

  async #publish(data: Buffer, tell: (ok: object) => void): Promise<void> {
    if (!this.#mayPublish) {
      throw new FanwireError(
        'FW_UNAUTHORIZED',
        'publishing needs a key: Authorization: Bearer … when connecting',
      )
    }
    const { config } = this.#context
    const [raw, second] = [...members(data)].filter(member => member.name === 'publish')
    if (raw === undefined || second !== undefined) throw badCommand('publish is there once')
    const entry = parseEntry(data.subarray(raw.start, raw.end), config, PUBLISH_MEMBERS)
    const channel = entry.channels[0] as string
    const [receipt] = await this.#context.append(channel, [entry.draft])
    if (receipt === undefined) throw new LogUnavailable('the log gave no receipt')
    const { position, time, replayed } = receipt
    tell({ channel, id: printPosition(position), time, ...(replayed ? { replayed } : {}) })
  }

  #reader(name: string) {
    return this.#connection.readers.find(reader => reader.channel.name === name)
  }

  #write(message: object): void {
    this.#connection.write(wsText(JSON.stringify(message)))
  }

  #tellable(error: unknown): FanwireError {
    if (error instanceof FanwireError) return error
    if (error instanceof LogUnavailable) return logUnavailable(error)
    this.#logger.error({ err: error }, 'a WebSocket command failed')
    return new FanwireError('FW_INTERNAL', 'the node failed to do this; its log says more')
  }
}

function parseCommand(data: Buffer, isBinary: boolean): Command {
  if (isBinary) throw badCommand('a command is a text message')
  if (!isUtf8(data)) throw new FanwireError('FW_BAD_ENCODING', 'the message is not valid UTF-8')
  let value: unknown
  try {
    value = JSON.parse(data.toString('utf8'))
  } catch (cause) {
    throw new FanwireError('FW_BAD_JSON', 'the message is not valid JSON', { cause })
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw badCommand('a command is an object such as {"ref":1,"subscribe":"news"}')
  }
  return value as Command
}

function refOf(command: Command): Ref {
  if (!Object.hasOwn(command, 'ref')) return undefined
  const { ref } = command
  if (Number.isFinite(ref) || (typeof ref === 'string' && ref.length <= 128)) return ref as Ref
  throw badCommand('ref is a number or a string of at most 128 characters')
}

/** Raises FW_BAD_COMMAND where the command has another member than these and `ref`. */
function only(command: Command, ...names: string[]): void {
  const other = Object.keys(command).find(name => name !== 'ref' && !names.includes(name))
  if (other !== undefined) throw badCommand(`unknown member ${JSON.stringify(other.slice(0, 40))}`)
}

function badCommand(message: string): FanwireError {
  return new FanwireError('FW_BAD_COMMAND', message)
}
