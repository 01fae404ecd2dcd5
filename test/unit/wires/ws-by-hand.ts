// A WebSocket client that writes raw frames, for frames that no library would send.

import { randomBytes } from 'node:crypto'
import { Raw } from '../http/app.ts'

/** Opens a WebSocket that sends raw frames. `headers`: whole lines. */
export function handshake(of: { readonly port: number }, path = '/v1/ws', headers = ''): Raw {
  return new Raw(of.port).send(
    `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
      `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n${headers}\r\n`,
  )
}

/** A frame of a client (RFC 6455 section 5.2). */
export function frame(first: number, payload: string | Buffer, masked = true): Buffer {
  const data = Buffer.from(payload)
  const length =
    data.length < 126 ? Buffer.from([data.length]) : Buffer.from([126, data.length >> 8, data.length & 255])
  if (!masked) return Buffer.concat([Buffer.from([first]), length, data])
  length[0] = (length[0] ?? 0) | 0x80
  const mask = randomBytes(4)
  const body = data.map((byte, i) => byte ^ (mask[i % 4] ?? 0))
  return Buffer.concat([Buffer.from([first]), length, mask, body])
}

/** The code of the close frame at the end of the received bytes. */
export function codeOf(text: string): number {
  const bytes = Buffer.from(text, 'latin1')
  const at = bytes.lastIndexOf(0x88)
  return bytes.readUInt16BE(at + 2)
}
