// A parser of Socket.IO's packets (protocol v5) for the library. It differs from the library's own in one point: an
// event's arguments stay the text that the client sent. So data is published as it was sent, and is parsed once.

import { EventEmitter } from 'node:events'
import { isObject } from '../../broker/event/json-values.ts'
import { FanwireError } from '../../errors.ts'

/** A packet as the library knows it. */
interface Packet {
  readonly type: number
  readonly nsp: string
  readonly id?: number
  readonly data?: unknown
}

/** What a client emitted. */
export interface Emitted {
  /** The event's name and arguments: a JSON array, if the client follows the protocol. */
  readonly text: string
  /** The number of the acknowledgement, if the client expects one. */
  readonly id: string | undefined
  /** Whether it has binary attachments. */
  readonly binary: boolean
}

/** The library emits this event, with an `Emitted`, for every event of a client. */
export const EMITTED = 'emitted'

const CONNECT = 0
const DISCONNECT = 1
const EVENT = 2
const ACK = 3
const CONNECT_ERROR = 4
const BINARY_EVENT = 5
const BINARY_ACK = 6

/** Type, attachments, namespace and acknowledgement; JSON follows. */
const PACKET = /^([0-6])(?:([0-9]{1,2})-)?(?:(\/[^,]*)(?:,|$))?([0-9]+)?/
/** The maximum digits of an acknowledgement's number, so that clients represent it exactly. */
const MAX_ID_DIGITS = 15
/** The maximum attachments of one packet. */
const MAX_ATTACHMENTS = 10
/** The maximum packets of one payload: a megabyte can contain very many empty ones. */
const MAX_AT_ONCE = 10_000
/** A client is closed after this many requests to connect to a namespace. */
const MAX_CONNECTS = 16

/** The answer to a request for any namespace except `/`. */
const NO_NAMESPACE = (() => {
  const { error } = new FanwireError('FW_NOT_FOUND', 'there is only the namespace /').toJSON()
  return { message: error.message, data: error }
})()

/** Implements the library's encoder. The node sends no attachments. */
export class Encoder {
  encode({ type, nsp, id, data }: Packet): string[] {
    const isUnknown = nsp !== '/'
    const body = type === CONNECT_ERROR && isUnknown ? NO_NAMESPACE : data
    const json = body === undefined ? '' : JSON.stringify(body)
    return [`${type}${isUnknown ? `${nsp},` : ''}${id ?? ''}${json}`]
  }
}

/** Implements the library's decoder. One per client. */
export class Decoder extends EventEmitter {
  #attachments = 0
  #connects = 0
  #atOnce = 0

  /** Accepts one message. Emits `decoded`. Raises if it is not a packet: the library then closes the connection. */
  add(message: unknown): void {
    if (this.#atOnce++ === 0) setImmediate(() => (this.#atOnce = 0))
    if (this.#atOnce > MAX_AT_ONCE) throw new Error('too many packets at once')
    if (typeof message === 'string') this.#text(message)
    else if (--this.#attachments < 0) throw new Error('an attachment without a packet')
  }

  destroy(): void {
    this.#attachments = 0
  }

  #text(text: string): void {
    const match = PACKET.exec(text)
    if (match === null || this.#attachments > 0) throw new Error('not a packet')
    const [head, digit, attachments, namespace, id] = match
    if (id !== undefined && id.length > MAX_ID_DIGITS)
      throw new Error('the number of the acknowledgement is too large')
    const type = Number(digit)
    const binary = type === BINARY_EVENT || type === BINARY_ACK
    if (binary !== (attachments !== undefined))
      throw new Error('attachments do not match the type of the packet')
    if (attachments !== undefined) this.#attachments = attachmentsOf(attachments)
    const nsp = namespace ?? '/'
    const rest = text.slice(head.length)
    switch (type) {
      case CONNECT:
        if (++this.#connects > MAX_CONNECTS) throw new Error('too many connects')
        return this.#decoded({ type, nsp, data: authOf(rest) })
      case DISCONNECT:
        return this.#decoded({ type, nsp })
      case EVENT:
      case BINARY_EVENT:
        return this.#decoded({
          type: EVENT,
          nsp,
          data: [EMITTED, { text: rest, id, binary } satisfies Emitted],
        })
      case ACK:
      case BINARY_ACK:
        return // The node requests no acknowledgements.
      default:
        throw new Error('clients may not send this type of packet')
    }
  }

  #decoded(packet: Packet): void {
    this.emit('decoded', packet)
  }
}

function attachmentsOf(digits: string): number {
  const count = Number(digits)
  if (count < 1 || count > MAX_ATTACHMENTS) throw new Error('a packet has 1 to 10 attachments')
  return count
}

/** The `auth` with which a client connects: an object, or empty. */
function authOf(json: string): object {
  if (json === '') return {}
  const auth: unknown = JSON.parse(json)
  if (!isObject(auth)) throw new Error('auth must be an object')
  return auth
}
