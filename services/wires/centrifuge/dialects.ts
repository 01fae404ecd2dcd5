// How replies and pushes are sent: an encoding and a carrier. A stretch is encoded once for all clients of a dialect.

import type { LogEvent } from '../../broker/event/event.ts'
import { madeOnce } from '../../broker/event/made-once.ts'
import { attendedIn } from '../../broker/event/names.ts'
import { concatRetained } from '../../broker/event/slabs.ts'
import type { CloseReason, Framing } from '../../broker/fanout/framing.ts'
import { allocateChunk, dataOf as dataOfChunk, LAST_CHUNK } from '../../http/chunks.ts'
import { BINARY, TEXT, wsHeaderSize, writeWsHeader } from '../ws-frames.ts'
import { clientReconnects, disconnectOf, UNSUBSCRIBED, unsubscribeOf } from './codes.ts'
import type { Encoding } from './encoding.ts'
import { JSON_PUSHES, JSON_REPLIES } from './json.ts'
import { PROTOBUF } from './protobuf.ts'
import type { Command, Reply } from './protocol.ts'
import { isPublication, otherPushOf } from './pushes.ts'

/** Encloses replies for a transport. */
export interface Carrier {
  readonly before: Uint8Array
  readonly between: Uint8Array
  readonly after: Uint8Array
  /** Bytes with room for `size` bytes from `at` on. */
  allocate(size: number): { readonly bytes: Buffer; readonly at: number }
}

/** The encoding and framing of a session. */
export interface Dialect {
  readonly framing: Framing
  /** A reply or a push as one frame. */
  frame(reply: Reply): Buffer
  /** Raises FW_BAD_COMMAND. */
  parse(message: Buffer): Command[]
}

const NOTHING = Buffer.alloc(0)

function join({ before, between, after, allocate }: Carrier, replies: readonly Uint8Array[]): Buffer {
  if (replies.length === 0) return NOTHING
  const all = replies.flatMap((reply, i) => [i === 0 ? before : between, reply])
  all.push(after)
  const { bytes, at: begin } = allocate(all.reduce((sum, { length }) => sum + length, 0))
  let at = begin
  for (const piece of all) {
    bytes.set(piece, at)
    at += piece.length
  }
  return bytes
}

interface DialectOptions {
  /** The end is sent as a push; over WebSocket it is in the close frame. */
  readonly pushesEnd: boolean
  /** Set if clients answer pings. */
  readonly answered?: true
}

/** The maximum bytes of encoded events that each encoding caches. */
const MAX_KEPT_BYTES = 4 * 1024 * 1024

/** An encoding whose events are encoded once for all its dialects. */
export interface SharedEncoding extends Encoding {
  /** The push of an event; empty if clients receive nothing. */
  event(event: LogEvent): Uint8Array
}

export function shared(encoding: Encoding): SharedEncoding {
  const event = madeOnce(MAX_KEPT_BYTES, (event): Uint8Array => {
    if (isPublication(event)) return concatRetained(encoding.publication(event))
    const other = otherPushOf(event)
    return other === undefined ? NOTHING : concatRetained([encoding.push(other)])
  })
  return { ...encoding, event }
}

export function dialectOf(
  encoding: SharedEncoding,
  carrier: Carrier,
  { pushesEnd, answered }: DialectOptions,
): Dialect {
  const one = (bytes: Uint8Array) => join(carrier, [bytes])
  const push = (reply: Reply) => one(encoding.push(reply))
  const framing: Framing = {
    wire: 'centrifuge',
    opening: () => NOTHING,
    stretch(events, from, to) {
      const pushes = events.slice(from, to).map(encoding.event)
      return join(
        carrier,
        pushes.filter(({ length }) => length > 0),
      )
    },
    // Clients then resubscribe, and learn that the missed publications could not be recovered.
    gap: channel =>
      push({ channel, unsubscribe: { code: UNSUBSCRIBED.insufficient, reason: 'insufficient state' } }),
    // Clients know their position by the offsets of publications.
    passed: () => NOTHING,
    dropped: (channel, _at, reason) =>
      attendedIn(channel) === undefined ? push({ channel, unsubscribe: unsubscribeOf(reason) }) : NOTHING,
    mayHaveNone: true,
    heartbeat: one(encoding.ping),
    ...(answered && { answered }),
    closing: reason => (pushesEnd ? push({ disconnect: disconnectOf(reason) }) : NOTHING),
  }
  return { framing, frame: reply => one(encoding.reply(reply)), parse: message => encoding.parse(message) }
}

// Carriers ----------------------------------------------------------------------------------------------------

export function inMessages(opcode: number, between: string): Carrier {
  return {
    before: NOTHING,
    between: Buffer.from(between),
    after: NOTHING,
    allocate(size) {
      const bytes = Buffer.allocUnsafe(wsHeaderSize(size) + size)
      return { bytes, at: writeWsHeader(bytes, 0, opcode, size) }
    },
  }
}

/** The two forms of a response's body: chunked for HTTP/1.1, otherwise plain. */
export interface BodyDialect {
  readonly chunked: Dialect
  readonly plain: Dialect
}

function inBody(encoding: SharedEncoding, before: string, between: string, after: string): BodyDialect {
  const around = { before: Buffer.from(before), between: Buffer.from(between), after: Buffer.from(after) }
  const { framing, ...chunked } = dialectOf(
    encoding,
    {
      ...around,
      allocate(size) {
        const { chunk, at } = allocateChunk(size)
        return { bytes: chunk, at }
      },
    },
    { pushesEnd: true },
  )
  const closing = (reason: CloseReason) => {
    const last = framing.closing(reason)
    return clientReconnects(disconnectOf(reason)) ? last : Buffer.concat([last, LAST_CHUNK])
  }
  const inChunks: Framing = { ...framing, closing }
  const plain = dialectOf(
    encoding,
    { ...around, allocate: size => ({ bytes: Buffer.allocUnsafe(size), at: 0 }) },
    { pushesEnd: true },
  )
  return {
    chunked: { ...chunked, framing: inChunks },
    plain: {
      ...plain,
      framing: {
        ...plain.framing,
        within: { framing: inChunks, view: chunk => (chunk.length === 0 ? chunk : dataOfChunk(chunk)) },
      },
    },
  }
}

const REPLIES = shared(JSON_REPLIES)
const PUSHES = shared(JSON_PUSHES)
const BYTES = shared(PROTOBUF)

export const jsonInMessages = dialectOf(REPLIES, inMessages(TEXT, '\n'), {
  pushesEnd: false,
  answered: true,
})
export const pushesInMessages = dialectOf(PUSHES, inMessages(TEXT, '\n'), { pushesEnd: false })
export const jsonInLines = inBody(REPLIES, '', '\n', '\n')
export const pushesInLines = inBody(PUSHES, '', '\n', '\n')
export const jsonInSse = inBody(REPLIES, 'data: ', '\n\ndata: ', '\n\n')
export const pushesInSse = inBody(PUSHES, 'data: ', '\n\ndata: ', '\n\n')
export const protobufInMessages = dialectOf(BYTES, inMessages(BINARY, ''), {
  pushesEnd: false,
  answered: true,
})
export const protobufInBody = inBody(BYTES, '', '', '')
