// Checks of clients' messages.

import { withoutMark } from '../../broker/event/json-spans.ts'
import { isObject, parseJson } from '../../broker/event/json-values.ts'
import { quote } from '../../errors.ts'
import { badCommand } from '../commands.ts'

const LONGEST_USER = 128
const MESSAGE = 'the message'

export interface Incoming {
  readonly event: string
  readonly channel: unknown
  readonly data: unknown
}

export type Data = Readonly<Record<string, unknown>>

/** Raises FW_BAD_COMMAND, FW_BAD_ENCODING, FW_BAD_JSON. */
export function parseIncoming(bytes: Buffer, isBinary: boolean): Incoming {
  if (isBinary) throw badCommand('a message must be text')
  const { event, channel, data } = dataIn(parseJson(withoutMark(bytes), MESSAGE))
  if (typeof event !== 'string') throw badCommand('event must be a string')
  return { event, channel, data }
}

/** The data of a message: an object, or its JSON text, which some clients send. Raises FW_BAD_COMMAND, FW_BAD_JSON. */
export function dataIn(data: unknown): Data {
  const value = typeof data === 'string' ? parseJson(data, MESSAGE) : data
  if (isObject(value)) return value
  throw badCommand('data must be an object')
}

/** Raises FW_BAD_COMMAND. */
export function checkedUser(name: string, id: unknown): string | number {
  if (Number.isSafeInteger(id)) return id as number
  if (typeof id === 'string' && id !== '' && id.length <= LONGEST_USER && !/\p{Cs}/u.test(id)) return id
  throw badCommand(`${name} is a string of 1 to ${LONGEST_USER} characters or a number, not ${quote(id, 40)}`)
}
