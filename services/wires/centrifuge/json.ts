// The protocol in JSON: one command or reply per line.

import { isUtf8 } from 'node:buffer'
import { isObject } from '../../broker/event/json-values.ts'
import { dataOf as dataOfEvent, unbroken } from '../../broker/event/event.ts'
import { memberOf, withoutMark } from '../../broker/event/json-spans.ts'
import { printTags } from '../../broker/event/tags.ts'
import { badRequest } from './codes.ts'
import type { Encoding } from './encoding.ts'
import { type Command, type Data, MAX_COMMANDS, METHODS, Payload } from './protocol.ts'
import { tagsOf } from './pushes.ts'

const LINE_FEED = 0x0a

/** The commands of one message. Raises FW_BAD_COMMAND. */
export function parseJson(message: Buffer): Command[] {
  if (!isUtf8(message)) throw badRequest('the message is not valid UTF-8')
  const commands: Command[] = []
  for (const line of linesOf(withoutMark(message))) {
    if (commands.length === MAX_COMMANDS)
      throw badRequest(`a message may have at most ${MAX_COMMANDS} commands`)
    commands.push(commandOf(line))
  }
  if (commands.length === 0) throw badRequest('the message has no command')
  return commands
}

/** The connect request of a one-way transport, which is optional. Raises FW_BAD_COMMAND. */
export function parseConnect(message: Buffer): Command[] {
  const request = message.length === 0 ? {} : parseObject(withoutMark(message))
  return [{ id: 0, method: 'connect', request, pong: false }]
}

/** Raises FW_BAD_COMMAND. */
export function parseObject(json: Buffer): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(json.toString())
  } catch {
    throw badRequest('expected one JSON object')
  }
  if (!isObject(value)) throw badRequest('expected a JSON object')
  return value
}

function* linesOf(message: Buffer): Generator<Buffer> {
  for (let at = 0; at < message.length;) {
    const next = message.indexOf(LINE_FEED, at)
    const end = next === -1 ? message.length : next
    if (end > at) yield message.subarray(at, end)
    at = end + 1
  }
}

function commandOf(line: Buffer): Command {
  const value = parseObject(line)
  const { id = 0 } = value
  if (!Number.isInteger(id) || (id as number) < 0 || (id as number) > 0xffffffff)
    throw badRequest('id must be a whole number of 32 bits')
  const method = METHODS.find(name => isObject(value[name]))
  return {
    id: id as number,
    method,
    request: method === undefined ? {} : (value[method] as Record<string, unknown>),
    data: method === 'publish' ? dataOf(line) : undefined,
    pong: Object.keys(value).length === 0,
  }
}

/** The data of a publish, unchanged from the line. */
function dataOf(line: Buffer): Data | undefined {
  const publish = memberOf(line, 'publish')
  const data = publish && memberOf(publish, 'data')
  return data && { data: unbroken(Buffer.from(data)) }
}

/** A value that may contain `Payload`, as JSON text. Undefined members are omitted. */
export function printJson(value: unknown): string {
  if (value instanceof Payload) return value.json.toString()
  if (Array.isArray(value)) return `[${value.map(printJson).join()}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const printed = Object.entries(value)
    .filter(([, member]) => member !== undefined)
    .map(([name, member]) => `${JSON.stringify(name)}:${printJson(member)}`)
  return `{${printed.join()}}`
}

const ascii = (text: string) => Buffer.from(text, 'latin1')

function jsonEncoding(oneWay: boolean): Encoding {
  const [open, close] = oneWay ? ['{', '}'] : ['{"push":{', '}}']
  return {
    push: push => Buffer.from(oneWay ? printJson(push) : printJson({ push })),
    publication(event) {
      const tags = tagsOf(event)
      const offset = event.kind === 'transient' ? '' : `,"offset":${event.offset}`
      return [
        ascii(`${open}"channel":"${event.channel}","pub":{"data":`),
        dataOfEvent(event),
        ascii(`${offset}${tags === undefined ? '' : `,"tags":${printTags(tags)}`}}${close}`),
      ]
    },
    reply: reply => Buffer.from(printJson(reply)),
    parse: oneWay ? parseConnect : parseJson,
    ping: ascii('{}'),
  }
}

export const JSON_REPLIES = jsonEncoding(false)
export const JSON_PUSHES = jsonEncoding(true)
