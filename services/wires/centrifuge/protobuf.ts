// The protocol in Protobuf: successive commands and replies, each preceded by its length.

import { binaryData, dataOf, jsonData, type LogEvent } from '../../broker/event/event.ts'
import { badRequest } from './codes.ts'
import type { Encoding } from './encoding.ts'
import { type Command, type Data, MAX_COMMANDS, METHODS, Payload, type Reply } from './protocol.ts'
import { delimited, header, Malformed, read, varint, write } from './protobuf-format.ts'
import { tagsOf } from './pushes.ts'

/** Raises FW_BAD_COMMAND. */
function parse(message: Buffer): Command[] {
  const commands: Command[] = []
  wellFormed(() => {
    for (const bytes of delimited(message)) {
      if (commands.length === MAX_COMMANDS)
        throw badRequest(`a message may have at most ${MAX_COMMANDS} commands`)
      commands.push(commandOf(bytes))
    }
  })
  if (commands.length === 0) throw badRequest('the message has no command')
  return commands
}

/** Commands of a client over HTTP, and their session. Raises FW_BAD_COMMAND. */
export function parseEmulation(body: Buffer): Record<string, unknown> {
  return wellFormed(() => read('EmulationRequest', body))
}

/** Raises FW_BAD_COMMAND. */
function wellFormed<T>(reading: () => T): T {
  try {
    return reading()
  } catch (error) {
    if (!(error instanceof Malformed)) throw error
    throw badRequest(`the message is not valid Protobuf: ${error.message}`)
  }
}

function commandOf(bytes: Buffer): Command {
  const { id = 0, ...members } = read('Command', bytes)
  const method = METHODS.find(name => members[name] !== undefined)
  const request = method === undefined ? {} : (members[method] as Record<string, unknown>)
  const { data } = request
  return {
    id: Number(id),
    method,
    request,
    data: method === 'publish' && data instanceof Buffer ? dataOfBytes(data) : undefined,
    pong: bytes.length === 0,
  }
}

/** Bytes as JSON data if they are valid JSON, otherwise as binary data. */
export function dataOfBytes(bytes: Buffer): Data {
  const json = bytes.length === 0 ? undefined : jsonData(Buffer.from(bytes))
  return json === undefined
    ? { data: binaryData(bytes), encoding: 'base64', sent: bytes.length }
    : { data: json }
}

/** Data as it was published: JSON text or bytes. */
function bytesOf(json: Buffer, encoding: 'base64' | undefined): Buffer {
  return encoding === undefined ? json : Buffer.from(json.toString('latin1', 1, json.length - 1), 'base64')
}

/** Replaces `Payload` by bytes, for the format. */
function plain(value: unknown): unknown {
  if (value instanceof Payload) return bytesOf(value.json, value.encoding)
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, plain(member)]))
}

function reply(reply: Reply): Buffer {
  const bytes = write('Reply', plain(reply) as Reply)
  return Buffer.concat([varint(bytes.length), bytes])
}

/** A reply that contains a push with a publication. Its data is not copied. */
function publication(event: LogEvent): Buffer[] {
  const data = bytesOf(dataOf(event), event.encoding)
  const tags = tagsOf(event)
  const rest = write('Publication', {
    ...(event.kind === 'transient' ? {} : { offset: event.offset }),
    ...(tags === undefined ? {} : { tags: Object.fromEntries(tags) }),
  })
  const dataHead = header(4, data.length)
  const pubLength = dataHead.length + data.length + rest.length
  const pubHead = header(4, pubLength)
  const channel = write('Push', { channel: event.channel })
  const pushLength = channel.length + pubHead.length + pubLength
  const pushHead = header(4, pushLength)
  return [varint(pushHead.length + pushLength), pushHead, channel, pubHead, dataHead, data, rest]
}

export const PROTOBUF: Encoding = {
  push: push => reply({ push }),
  publication,
  reply,
  parse,
  // An empty reply.
  ping: Buffer.of(0),
}
