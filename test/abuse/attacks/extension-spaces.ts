// S3: regular expressions whose time is quadratic in the length of what a handshake sends.

import type { Attack } from '../attack.ts'
import { exchange, paced } from '../raw.ts'
import { handshake } from '../ws.ts'

const RATE = 5
const RATE_TEXT = `${RATE} a second`
const LENGTH = 60_000
const LENGTH_TEXT = LENGTH.toLocaleString('en')

/** Sends handshakes, and disconnects after the answer to each. */
async function repeat(port: number, signal: AbortSignal, bytes: string) {
  const handshakes = await paced(RATE, signal, async () => {
    const { socket } = await exchange(port, bytes)
    socket?.destroy()
  })
  return { did: { handshakes } }
}

export const extensionSpaces: Attack = {
  name: 'extension-spaces',
  title: `S3: handshakes that offer an extension with ${LENGTH_TEXT} spaces`,
  rate: RATE_TEXT,
  critical: true,
  async attack({ port }, signal) {
    const offer = `Sec-WebSocket-Extensions: permessage-deflate; a${' '.repeat(LENGTH)}b\r\n`
    return await repeat(port, signal, handshake('/v1/ws', offer))
  },
}

export const longPaths: Attack = {
  name: 'long-paths',
  title: `S3: handshakes for a path of ${LENGTH_TEXT} characters and a slash`,
  rate: RATE_TEXT,
  critical: true,
  async attack({ port }, signal) {
    return await repeat(port, signal, handshake(`/${'a'.repeat(LENGTH)}/`))
  },
}
