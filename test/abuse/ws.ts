// A misbehaving WebSocket client.

import type { Socket } from 'node:net'
import { exchange } from './raw.ts'

export const TEXT = 0x81
export const CLOSE = 0x88
/** The bit that marks a message as compressed. */
export const COMPRESSED = 0x40

export function handshake(path = '/v1/ws', headers = '', method = 'GET'): string {
  return (
    `${method} ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
    `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n${headers}\r\n`
  )
}

/** A frame of a client (RFC 6455 section 5.2). Its mask is zero, so that the payload stays unchanged. */
export function frame(first: number, payload: string | Buffer): Buffer {
  const data = Buffer.from(payload)
  const head = Buffer.alloc(data.length < 126 ? 6 : data.length < 65_536 ? 8 : 14)
  head[0] = first
  if (data.length < 126) head[1] = 0x80 | data.length
  else if (data.length < 65_536) {
    head[1] = 0x80 | 126
    head.writeUInt16BE(data.length, 2)
  } else {
    head[1] = 0x80 | 127
    head.writeBigUInt64BE(BigInt(data.length), 2)
  }
  return Buffer.concat([head, data])
}

/** Consecutive text frames. */
export function texts(...payloads: readonly string[]): Buffer {
  return Buffer.concat(payloads.map(payload => frame(TEXT, payload)))
}

/** Opens a WebSocket. Undefined if the node refuses it. */
export async function openWs(port: number, path = '/v1/ws', headers = ''): Promise<Socket | undefined> {
  const { text, socket } = await exchange(port, handshake(path, headers))
  if (text.startsWith('HTTP/1.1 101')) return socket
  socket?.destroy()
  return undefined
}
