// A misbehaving HTTP/2 client: writes frames by hand (RFC 9113).

import type { Socket } from 'node:net'
import { open } from './raw.ts'

const FRAME = { data: 0, headers: 1, reset: 3, settings: 4, ping: 6 } as const
const END_STREAM = 1
const END_HEADERS = 4

export function frame(type: keyof typeof FRAME, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9)
  head.writeUIntBE(payload.length, 0, 3)
  head[3] = FRAME[type]
  head[4] = flags
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, payload])
}

/** A client's connection preface. */
const PREFACE = Buffer.concat([
  Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  frame('settings', 0, 0, Buffer.alloc(0)),
])

/** A GET, as one HEADERS frame: indexed `:method` and `:scheme`, the path and authority as literals (RFC 7541). */
export function getting(stream: number, path: string): Buffer {
  const literal = (index: number, text: string) => {
    if (text.length > 126) throw new RangeError('too long for one byte of length')
    return Buffer.concat([Buffer.from([index, text.length]), Buffer.from(text)])
  }
  const block = Buffer.concat([Buffer.from([0x82, 0x86]), literal(0x04, path), literal(0x01, '127.0.0.1')])
  return frame('headers', END_HEADERS | END_STREAM, stream, block)
}

export function resetting(stream: number): Buffer {
  return frame('reset', 0, stream, Buffer.from([0, 0, 0, 8]))
}

/** Opens a session. Undefined if that fails. */
export async function openHttp2(port: number): Promise<Socket | undefined> {
  const socket = await open(port)
  socket?.write(PREFACE)
  return socket
}
