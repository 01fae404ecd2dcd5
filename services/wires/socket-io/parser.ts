// Socket.IO's packets (protocol v5), for the library to be used with: as its own parser does it, save that an event's
// arguments stay the text that the client sent. So data is published as it was sent, and nothing is parsed twice.

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
  /** The event's name and arguments: a JSON array, if the client keeps to the protocol. */
  readonly text: string
  /** Names the acknowledgement that the client waits for, if it does. */
  readonly id: string | undefined
  /** Binary attachments come with it. */
  readonly binary: boolean
}

/** The one event that the library emits for whatever a client emits, with an `Emitted`. */
export const EMITTED = 'emitted'

const CONNECT = 0
const DISCONNECT = 1
const EVENT = 2
const ACK = 3
const CONNECT_ERROR = 4
const BINARY_EVENT = 5
const BINARY_ACK = 6

/** Type, attachments, namespace, acknowledgement; the rest is JSON. */
const PACKET = /^([0-6])(?:([0-9]{1,2})-)?(?:(\/[^,]*)(?:,|$))?([0-9]+)?/
/** Digits of an acknowledgement's number: as many as a client can count exactly. */
const MAX_ID_DIGITS = 15
/** Attachments of one packet. */
const MAX_ATTACHMENTS = 10
/** Packets of one payload: a megabyte can hold very many that say nothing. */
const MAX_AT_ONCE = 10_000
/** Namespaces that one client is refused before it is closed. */
const MAX_REFUSED = 16

/** What a client is told that asks for another namespace than `/`. */
const NO_NAMESPACE = (() => {
  const { error } = new FanwireError('FW_NOT_FOUND', 'there is only the namespace /').toJSON()
  return { message: error.message, data: error }
})()

/** The library's face of an encoder. Nothing that the node sends has attachments. */
export class Encoder {
  encode({ type, nsp, id, data }: Packet): string[] {
    const elsewhere = nsp !== '/'
    const told = type === CONNECT_ERROR && elsewhere ? NO_NAMESPACE : data
    const json = told === undefined ? '' : JSON.stringify(told)
    return [`${type}${elsewhere ? `${nsp},` : ''}${id ?? ''}${json}`]
  }
}

/** The library's face of a decoder. One a client. */
export class Decoder extends EventEmitter {
  #attachments = 0
  #refused = 0
  #atOnce = 0

  /** One message. Emits `decoded`. What is no packet raises, and the library closes the connection. */
  add(message: unknown): void {
    if (this.#atOnce++ === 0) setImmediate(() => (this.#atOnce = 0))
    if (this.#atOnce > MAX_AT_ONCE) throw new Error('too many packets at once')
    if (typeof message === 'string') this.#text(message)
    else if (--this.#attachments < 0) throw new Error('an attachment to nothing')
  }

  destroy(): void {
    this.#attachments = 0
  }

  #text(text: string): void {
    const match = PACKET.exec(text)
    if (match === null || this.#attachments > 0) throw new Error('not a packet')
    const [head, digit, attachments, namespace, id] = match
    if (id !== undefined && id.length > MAX_ID_DIGITS) throw new Error('an acknowledgement beyond counting')
    const type = Number(digit)
    const binary = type === BINARY_EVENT || type === BINARY_ACK
    if (binary !== (attachments !== undefined)) throw new Error('attachments do not go with the type')
    if (attachments !== undefined) this.#attachments = attachmentsOf(attachments)
    const nsp = namespace ?? '/'
    const rest = text.slice(head.length)
    switch (type) {
      case CONNECT:
        if (nsp !== '/' && ++this.#refused > MAX_REFUSED) throw new Error('too many namespaces')
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
        return // The node asks for none.
      default:
        throw new Error('a client does not send this')
    }
  }

  #decoded(packet: Packet): void {
    this.emit('decoded', packet)
  }
}

function attachmentsOf(digits: string): number {
  const count = Number(digits)
  if (count < 1 || count > MAX_ATTACHMENTS) throw new Error('too many attachments, or none')
  return count
}

/** What a client says of itself when it connects: an object, or nothing. */
function authOf(json: string): object {
  if (json === '') return {}
  const auth: unknown = JSON.parse(json)
  if (!isObject(auth)) throw new Error('auth is an object')
  return auth
}
