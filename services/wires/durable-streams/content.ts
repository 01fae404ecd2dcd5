// Converts the bytes of a stream to events, and events to bytes.

import {
  binaryData,
  dataOf,
  type Draft,
  jsonData,
  type LogEvent,
  textData,
} from '../../broker/event/event.ts'
import { elements, trimmed } from '../../broker/event/json-spans.ts'
import { FanwireError } from '../../errors.ts'

/** The maximum number of messages of an append: the log appends them together, and meanwhile nothing else. */
export const MAX_MESSAGES = 10_000

const OPEN_ARRAY = 0x5b
const QUOTE = 0x22

/** A media type, then its parameters. */
const TYPE = /^([!#$%&'*+.^_`|~\w-]+\/[!#$%&'*+.^_`|~\w-]+)\s*((?:;.*)?)$/su

/** Raises FW_BAD_REQUEST. */
export function checkedContentType(text: string): string {
  const [, type, parameters = ''] = TYPE.exec(text.trim()) ?? []
  if (type === undefined || /[^\x20-\x7e]/.test(text) || text.length > 256) {
    throw new FanwireError('FW_BAD_REQUEST', 'Content-Type is not a valid media type')
  }
  return type.toLowerCase() + parameters
}

/** The media type without its parameters. */
export function baseOf(contentType: string): string {
  return contentType.split(';', 1)[0]?.trim().toLowerCase() ?? ''
}

export function isJson(contentType: string): boolean {
  return baseOf(contentType) === 'application/json'
}

/** Whether server-sent events can carry the bytes without base64. */
export function isText(contentType: string): boolean {
  return isJson(contentType) || baseOf(contentType).startsWith('text/')
}

/**
 * For JSON, an event for each element of the array, or for the one value; otherwise one event. Raises FW_BAD_JSON, and
 * FW_TOO_LARGE for more than MAX_MESSAGES elements.
 */
export function draftsOf(contentType: string, body: Buffer): Draft[] {
  if (body.length === 0) return []
  if (!isJson(contentType)) {
    const data = isText(contentType) ? textData(body) : undefined
    const sent = body.length
    return [data === undefined ? { data: binaryData(body), encoding: 'base64', sent } : { data, sent }]
  }
  const json = jsonData(body)
  if (json === undefined) throw new FanwireError('FW_BAD_JSON', 'the body is not valid JSON')
  const value = trimmed(json)
  return value[0] === OPEN_ARRAY ? messagesOf(value) : [{ data: value }]
}

function messagesOf(array: Buffer): Draft[] {
  const drafts: Draft[] = []
  for (const data of elements(array)) {
    if (drafts.length === MAX_MESSAGES)
      throw new FanwireError('FW_TOO_LARGE', `an append may have at most ${MAX_MESSAGES} messages`)
    drafts.push({ data })
  }
  return drafts
}

/** The bytes of an event, which any wire may have published. */
export function bytesOf(event: LogEvent): Buffer {
  const data = dataOf(event)
  if (data[0] !== QUOTE) return data
  const text = JSON.parse(data.toString()) as string
  return event.encoding === 'base64' ? Buffer.from(text, 'base64') : Buffer.from(text)
}

const COMMA = Buffer.from(',')

/** The body of a response. */
export function bodyOf(contentType: string, events: readonly LogEvent[]): Buffer {
  if (!isJson(contentType)) return Buffer.concat(events.map(bytesOf))
  const pieces: Uint8Array[] = [Buffer.from('[')]
  events.forEach((event, i) => {
    if (i > 0) pieces.push(COMMA)
    pieces.push(dataOf(event))
  })
  return Buffer.concat([...pieces, Buffer.from(']')])
}

/** The data lines of a server-sent event. */
export function linesOf(contentType: string, events: readonly LogEvent[]): string {
  const body = bodyOf(contentType, events)
  const lines = isText(contentType) ? body.toString().split(/\r\n|\n|\r/) : [body.toString('base64')]
  return lines.map(dataLine).join('')
}

/** Clients remove one space after the colon, so a line that begins with a space gets another one. */
function dataLine(line: string): string {
  return line.startsWith(' ') ? `data: ${line}\n` : `data:${line}\n`
}
