// The commands of a client over WebSocket: docs/protocol.md#websocket-commands. Each text message is one command, and is
// answered with its `ref`.

import { isObject, parseJson } from '../../broker/event/json-values.ts'
import { members, withoutMark } from '../../broker/event/json-spans.ts'
import { wsText } from '../ws-frames.ts'
import { badCommand, type Commands, only, SUBSCRIBE_OPTIONS, type Respond } from '../commands.ts'

type Ref = string | number | undefined
type Command = Readonly<Record<string, unknown>>

export class WsCommands {
  readonly #commands: Commands

  constructor(commands: Commands) {
    this.#commands = commands
  }

  /** Called when the client is gone. */
  close(): void {
    this.#commands.close()
  }

  /** Processes one message. Never raises: errors are sent to the client. */
  take(message: Buffer, isBinary: boolean): void {
    const data = withoutMark(message)
    let ref: Ref
    const answer = (body: object) => {
      const message = { ...(ref === undefined ? {} : { ref }), ...body }
      this.#commands.write(wsText(JSON.stringify(message)))
    }
    const parse = () => {
      const command = parseCommand(data, isBinary)
      ref = refOf(command)
      return () => this.#run(command, data, ok => answer({ ok }))
    }
    this.#commands.take(parse, error => answer(error.toJSON()))
  }

  async #run(command: Command, data: Buffer, respond: Respond): Promise<void> {
    if ('subscribe' in command) {
      only(command, 'ref', 'subscribe', ...SUBSCRIBE_OPTIONS)
      await this.#commands.subscribe(command.subscribe, command, respond)
    } else if ('unsubscribe' in command) {
      only(command, 'ref', 'unsubscribe')
      await this.#commands.unsubscribe(command.unsubscribe, respond)
    } else if ('publish' in command) {
      only(command, 'ref', 'publish')
      await this.#publish(data, respond)
    } else if ('auth' in command) {
      only(command, 'ref', 'auth')
      await this.#commands.authenticate(command.auth, respond)
    } else if ('ping' in command) {
      only(command, 'ref', 'ping')
      if (command.ping !== true) throw badCommand('ping is true')
      respond({})
    } else {
      throw badCommand('a command has one of auth, subscribe, unsubscribe, publish, ping')
    }
  }

  async #publish(data: Buffer, respond: Respond): Promise<void> {
    this.#commands.requirePublisher()
    const [raw, second] = [...members(data)].filter(member => member.name === 'publish')
    if (raw === undefined || second !== undefined) throw badCommand('publish may occur once')
    await this.#commands.publish(data.subarray(raw.start, raw.end), respond)
  }
}

function parseCommand(data: Buffer, isBinary: boolean): Command {
  if (isBinary) throw badCommand('a command is a text message')
  const value = parseJson(data, 'the message')
  if (!isObject(value)) throw badCommand('a command is an object such as {"ref":1,"subscribe":"news"}')
  return value
}

function refOf(command: Command): Ref {
  if (!Object.hasOwn(command, 'ref')) return undefined
  const { ref } = command
  if (Number.isFinite(ref) || (typeof ref === 'string' && ref.length <= 128)) return ref as Ref
  throw badCommand('ref is a number or a string of at most 128 characters')
}
