// The packets of Socket.IO: protocol v5, in Engine.IO's v4, over either transport.

import type { LogEvent } from '../../broker/event/event.ts'
import type { Gap, Position } from '../../broker/event/position.ts'
import type { CloseReason, Framing } from '../../broker/fanout/framing.ts'
import { encodeDropped, encodeGap, encodePassed } from '../objects.ts'
import { TEXT, wsHeaderSize, wsText, writeWsHeader } from '../ws-frames.ts'

/** The library does handshakes and heartbeats. */
export interface PacketFraming extends Framing {
  /** A packet of Socket.IO, whole and without attachments. */
  packet(text: string): Buffer
}

/** Separates the packets of one poll. It does not occur in JSON text. */
export const PACKET_SEPARATOR = '\x1e'
/** An Engine.IO message. */
const MESSAGE = '4'
/** Event names that Socket.IO's libraries reserve and reject. */
const LIBRARY_EVENTS: ReadonlySet<string> = new Set([
  'connect',
  'connect_error',
  'disconnect',
  'disconnecting',
  'newListener',
  'removeListener',
])

/** The text before an event's object; a `]` follows it. */
function packetHead(type: string | undefined): string {
  return `42["${type === undefined || LIBRARY_EVENTS.has(type) ? 'message' : type}",`
}

function gapPacket(channel: string, gap: Gap): string {
  return `2["gap",${encodeGap(channel, gap)}]`
}

function passedPacket(channel: string, at: Position): string {
  return `2["fanwire:passed",${encodePassed(channel, at)}]`
}

function droppedPacket(channel: string, at: Position, reason: CloseReason): string {
  return `2["fanwire:unsubscribed",${encodeDropped(channel, at, reason)}]`
}

/** Informs developers: Socket.IO's clients reconnect on their own schedule. */
function closePacket({ code, reason, retry }: CloseReason): string {
  return `2["close",${JSON.stringify({ code, reason, retry })}]`
}

/** Over WebSocket: one text message for each event. Valid only while no extension is negotiated. */
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
  passed: (channel, at) => wsText(MESSAGE + passedPacket(channel, at)),
  dropped: (channel, at, reason) => wsText(MESSAGE + droppedPacket(channel, at, reason)),
  heartbeat: Buffer.alloc(0),
  closing: reason => wsText(MESSAGE + closePacket(reason)),
}

/** Over polling: packets with separators between them. */
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
  passed: (channel, at) => Buffer.from(MESSAGE + passedPacket(channel, at)),
  dropped: (channel, at, reason) => Buffer.from(MESSAGE + droppedPacket(channel, at, reason)),
  heartbeat: Buffer.alloc(0),
  closing: reason => Buffer.from(MESSAGE + closePacket(reason)),
}
