// The bytes of the streaming wires. A stretch is encoded once per wire and shared by every reader that stands
// at its beginning, whatever its version of HTTP, so nothing here depends on a connection (save the `id:` lines of SSE
// with several channels).

import type { LogEvent } from '../event/event.ts'
import { type Gap, printPosition } from '../event/position.ts'
import { allocateChunk, chunkOf, dataOf, LAST_CHUNK } from './chunks.ts'

/** Why the node ends a connection, in the words of RFC 6455 section 7.4 and docs/protocol.md#close-codes. */
export interface Farewell {
  /** 1001, 1012, 1013 and 4000-4499: reconnect with your cursor; 1008, 1009 and 4500-4999: don't. */
  readonly code: number
  /** At most 123 bytes (RFC 6455 section 5.5). */
  readonly reason: string
  /** Wait this long before reconnecting, ms. */
  readonly retry: number
}

/** Whether a client that is told this code comes back with its cursor. */
export function comesBack(code: number): boolean {
  return code === 1001 || code === 1012 || code === 1013 || (code >= 4000 && code < 4500)
}

/** How one wire frames events. Every method gives whole frames that may follow each other in any order. */
export interface Framing {
  /** The wire's name, as in its path. */
  readonly wire: string
  /** Where each stretch is a view of another framing's: that framing, and how to take the view. */
  readonly within?: { readonly framing: Framing; view(stretch: Buffer): Buffer }
  /** Where the reader stands before the first event. */
  opening(cursor: string): Buffer
  /**
   * `events[from]` up to, not including, `events[to]`. `cursorAfter` prints the connection's cursor behind an
   * event where that is more than the event's id.
   */
  stretch(
    events: readonly LogEvent[],
    from: number,
    to: number,
    cursorAfter?: (event: LogEvent) => string,
  ): Buffer
  /** A gap; `cursor` is the connection's cursor behind it. */
  gap(channel: string, gap: Gap, cursor: string): Buffer
  /** Says that the connection lives; empty where the wire's library says so. */
  readonly heartbeat: Buffer
  /** Clients answer heartbeats by themselves; one that does not is gone. */
  readonly answered?: true
  /** The last bytes, where the wire has any of its own. */
  closing(farewell: Farewell): Buffer
}

/** The opcode of a text message. */
export const TEXT = 0x1
const PING = 0x9

/** A gap as every wire tells it. */
export function encodeGap(channel: string, gap: Gap): string {
  return `{"channel":"${channel}","from":"${printPosition(gap.from)}","to":"${printPosition(gap.to)}"}`
}

function openObject(cursor: string): string {
  return `{"open":{"cursor":"${cursor}"}}`
}

/** A wire whose frames are the body of an HTTP response. */
export interface BodyFraming {
  /** For HTTP/1.1: every frame, and every stretch of them, is one chunk. The last one follows only a goodbye for good. */
  readonly chunked: Framing
  /** For HTTP/2, which has frames itself, and HTTP/1.0, where the body ends with the connection. */
  readonly plain: Framing
}

interface BodyFrames {
  opening(cursor: string): string
  /** As one chunk. */
  readonly stretch: Framing['stretch']
  gap(channel: string, gap: Gap, cursor: string): string
  readonly heartbeat: string
  closing(farewell: Farewell): string
}

function bodyFraming(wire: string, frames: BodyFrames): BodyFraming {
  const chunked: Framing = {
    wire,
    opening: cursor => chunkOf(frames.opening(cursor)),
    stretch: frames.stretch,
    gap: (channel, gap, cursor) => chunkOf(frames.gap(channel, gap, cursor)),
    heartbeat: chunkOf(frames.heartbeat),
    closing(farewell) {
      const chunk = chunkOf(frames.closing(farewell))
      return comesBack(farewell.code) ? chunk : Buffer.concat([chunk, LAST_CHUNK])
    },
  }
  const plain: Framing = {
    wire,
    within: { framing: chunked, view: dataOf },
    opening: cursor => Buffer.from(frames.opening(cursor)),
    stretch: (events, from, to, cursorAfter) => dataOf(frames.stretch(events, from, to, cursorAfter)),
    gap: (channel, gap, cursor) => Buffer.from(frames.gap(channel, gap, cursor)),
    heartbeat: Buffer.from(frames.heartbeat),
    closing: farewell => Buffer.from(frames.closing(farewell)),
  }
  return { chunked, plain }
}

/**
 * Server-sent events, WHATWG HTML section 9.2.5. The object has no line breaks, so one `data:` line holds it. The `id:`
 * comes last in each block: some clients take it as soon as its line has come, and a connection can be cut anywhere.
 * What is no event has no blank line: some clients hand out every block, also one without data.
 */
export const sseFraming: BodyFraming = bodyFraming('sse', {
  opening: cursor =>
    `event: fanwire:open\ndata: ${openObject(cursor)}\nid: ${cursor}\nretry: ${jitter(2000)}\n\n`,
  stretch(events, from, to, cursorAfter) {
    /** What stands between an event's object and the next. */
    const seams: string[] = []
    let end = ''
    let size = 0
    for (let i = from; i < to; i++) {
      const event = events[i] as LogEvent
      const id = cursorAfter === undefined ? `${event.epoch}-${event.offset}` : cursorAfter(event)
      const seam = event.type === undefined ? `${end}data: ` : `${end}event: ${event.type}\ndata: `
      seams.push(seam)
      size += seam.length + event.json.length
      end = `\nid: ${id}\n\n`
    }
    const { chunk, at: begin } = allocateChunk(size + end.length)
    let at = begin
    for (let i = from; i < to; i++) {
      const { json } = events[i] as LogEvent
      at += chunk.write(seams[i - from] as string, at, 'latin1')
      chunk.set(json, at)
      at += json.length
    }
    chunk.write(end, at, 'latin1')
    return chunk
  },
  gap: (channel, gap, cursor) => `event: gap\ndata: ${encodeGap(channel, gap)}\nid: ${cursor}\n\n`,
  heartbeat: ':\n',
  closing: ({ code, reason, retry }) => `retry: ${retry}\n: ${code} ${reason}\n`,
})

const lines: BodyFrames = {
  opening: cursor => `${openObject(cursor)}\n`,
  stretch(events, from, to) {
    let size = 0
    for (let i = from; i < to; i++) size += (events[i] as LogEvent).json.length + 1
    const { chunk, at: begin } = allocateChunk(size)
    let at = begin
    for (let i = from; i < to; i++) {
      const { json } = events[i] as LogEvent
      chunk.set(json, at)
      at += json.length
      chunk[at++] = 0x0a
    }
    return chunk
  },
  gap: (channel, gap) => `{"gap":${encodeGap(channel, gap)}}\n`,
  heartbeat: '\n',
  closing: ({ code, reason, retry }) => `${JSON.stringify({ close: { code, reason, retry } })}\n`,
}

/** HTTP streaming: NDJSON, one object a line. */
export const streamFraming: BodyFraming = bodyFraming('stream', lines)

/** HTTP/2 push where nothing can be pushed: lines as of `stream`. */
export const pushFraming: BodyFraming = bodyFraming('push', lines)

/** WebSocket: one text message an object, none of them compressed. */
export const wsFraming: Framing = {
  wire: 'ws',
  opening: cursor => wsText(openObject(cursor)),
  stretch(events, from, to) {
    let size = 0
    for (let i = from; i < to; i++) {
      const { length } = (events[i] as LogEvent).json
      size += wsHeaderSize(length) + length
    }
    const bytes = Buffer.allocUnsafe(size)
    let at = 0
    for (let i = from; i < to; i++) {
      const { json } = events[i] as LogEvent
      at = writeWsHeader(bytes, at, TEXT, json.length)
      bytes.set(json, at)
      at += json.length
    }
    return bytes
  },
  gap: (channel, gap) => wsFrame(TEXT, Buffer.from(`{"gap":${encodeGap(channel, gap)}}`)),
  heartbeat: wsFrame(PING, Buffer.alloc(0)),
  answered: true,
  // The close frame belongs to the closing handshake, which the WebSocket library does.
  closing: () => Buffer.alloc(0),
}

/** Socket.IO, protocol v5, in Engine.IO's v4. Handshakes and heartbeats are the library's. */
export interface PacketFraming extends Framing {
  /** A packet of Socket.IO, whole and without attachments. */
  packet(text: string): Buffer
}

/** Between the packets of one poll: no JSON text holds it. */
export const PACKET_SEPARATOR = '\x1e'
/** An Engine.IO message. */
const MESSAGE = '4'
/** Events that Socket.IO's libraries keep for themselves, and refuse from the other side. */
const LIBRARY_EVENTS: ReadonlySet<string> = new Set([
  'connect',
  'connect_error',
  'disconnect',
  'disconnecting',
  'newListener',
  'removeListener',
])

/** What stands before an event's object; a `]` stands behind it. */
function packetHead(type: string | undefined): string {
  return `42["${type === undefined || LIBRARY_EVENTS.has(type) ? 'message' : type}",`
}

function gapPacket(channel: string, gap: Gap): string {
  return `2["gap",${encodeGap(channel, gap)}]`
}

/** For the people: Socket.IO's clients come back by themselves, when they like. */
function closePacket({ code, reason, retry }: Farewell): string {
  return `2["close",${JSON.stringify({ code, reason, retry })}]`
}

/** Socket.IO over WebSocket: one text message an event. Only valid while no extension is negotiated. */
export const socketIoFraming: PacketFraming = {
  wire: 'socket.io',
  opening: () => Buffer.alloc(0),
  packet: text => wsText(MESSAGE + text),
  stretch(events, from, to) {
    const heads: string[] = []
    let size = 0
    for (let i = from; i < to; i++) {
      const event = events[i] as LogEvent
      const head = packetHead(event.type)
      const length = head.length + event.json.length + 1
      heads.push(head)
      size += wsHeaderSize(length) + length
    }
    const bytes = Buffer.allocUnsafe(size)
    let at = 0
    for (let i = from; i < to; i++) {
      const { json } = events[i] as LogEvent
      const head = heads[i - from] as string
      at = writeWsHeader(bytes, at, TEXT, head.length + json.length + 1)
      at += bytes.write(head, at, 'latin1')
      bytes.set(json, at)
      at += json.length
      bytes[at++] = 0x5d
    }
    return bytes
  },
  gap: (channel, gap) => wsText(MESSAGE + gapPacket(channel, gap)),
  heartbeat: Buffer.alloc(0),
  closing: farewell => wsText(MESSAGE + closePacket(farewell)),
}

/** Socket.IO over polling: packets, with separators between them but none around. */
export const socketIoPollFraming: PacketFraming = {
  wire: 'socket.io',
  opening: () => Buffer.alloc(0),
  packet: text => Buffer.from(MESSAGE + text),
  stretch: (events, from, to) =>
    Buffer.from(
      events
        .slice(from, to)
        .map(({ type, json }) => `${packetHead(type)}${json.toString()}]`)
        .join(PACKET_SEPARATOR),
    ),
  gap: (channel, gap) => Buffer.from(MESSAGE + gapPacket(channel, gap)),
  heartbeat: Buffer.alloc(0),
  closing: farewell => Buffer.from(MESSAGE + closePacket(farewell)),
}

/** A text message. */
export function wsText(text: string): Buffer {
  return wsFrame(TEXT, Buffer.from(text))
}

/** An unmasked, unfragmented frame as a server sends it: RFC 6455 section 5.2. */
export function wsFrame(opcode: number, payload: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(wsHeaderSize(payload.length) + payload.length)
  bytes.set(payload, writeWsHeader(bytes, 0, opcode, payload.length))
  return bytes
}

function wsHeaderSize(length: number): number {
  return length < 126 ? 2 : length < 65536 ? 4 : 10
}

function writeWsHeader(bytes: Buffer, at: number, opcode: number, length: number): number {
  bytes[at] = 0x80 | opcode
  if (length < 126) {
    bytes[at + 1] = length
    return at + 2
  }
  if (length < 65536) {
    bytes[at + 1] = 126
    return bytes.writeUInt16BE(length, at + 2)
  }
  bytes[at + 1] = 127
  return bytes.writeBigUInt64BE(BigInt(length), at + 2)
}

/** `ms` give or take half of it, so that many clients don't come back at once. */
export function jitter(ms: number): number {
  return Math.round(ms * (0.5 + Math.random()))
}
