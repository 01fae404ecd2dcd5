// Commands and replies of the protocol, in any encoding (centrifugal/protocol, client.proto).

import type { Draft } from '../../broker/event/event.ts'

export const METHODS = [
  'connect',
  'subscribe',
  'unsubscribe',
  'publish',
  'presence',
  'presence_stats',
  'history',
  'ping',
  'send',
  'rpc',
  'refresh',
  'sub_refresh',
] as const

export type Method = (typeof METHODS)[number]
export type Request = Readonly<Record<string, unknown>>

export interface Command {
  /** 0 if it has none. */
  readonly id: number
  /** Undefined if the method is unknown. */
  readonly method: Method | undefined
  readonly request: Request
  /** The data of a publish, as it was sent. */
  readonly data?: Data | undefined
  /** Whether this is the answer to a ping. */
  readonly pong: boolean
}

/** The data of an event. */
export type Data = Pick<Draft, 'data' | 'encoding' | 'sent'>

/** Data in a reply, sent unchanged. */
export class Payload {
  readonly json: Buffer
  readonly encoding: 'base64' | undefined

  constructor(json: Buffer, encoding?: 'base64') {
    this.json = json
    this.encoding = encoding
  }
}

/** Members as in client.proto: strings, numbers, booleans, `Payload`, and lists and objects of those. */
export type Reply = Readonly<Record<string, unknown>>

/** The maximum commands of one message. */
export const MAX_COMMANDS = 1000
