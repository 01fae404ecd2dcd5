// W2: a malformed frame on an HTTP/2 session with an open stream.

import { setTimeout as sleep } from 'node:timers/promises'
import type { Attack } from '../attack.ts'
import { frame, getting, openHttp2 } from '../http2.ts'
import { paced } from '../raw.ts'

const MALFORMED = [
  // An HPACK index beyond the table.
  frame('headers', 5, 3, Buffer.from([0xff, 0xff, 0xff, 0x7f])),
  // Larger than the node's SETTINGS_MAX_FRAME_SIZE.
  frame('data', 0, 1, Buffer.alloc(20_000)),
  frame('ping', 0, 0, Buffer.alloc(7)),
]
const RATE = 10
/** Every second client leaves after this, ms; the others stay. */
const STAY = 500

export const malformedFrames: Attack = {
  name: 'malformed-frames',
  title: 'W2: HTTP/2 clients that follow a channel and then send a malformed frame, limit of 200',
  rate: `${RATE} a second; one half leaves after ${STAY} ms, the other stays`,
  critical: true,
  needs: { h2c: true, env: { FANWIRE_MAX_CONNECTIONS: '200' } },
  async attack({ h2cPort, channel }, signal) {
    const sessions = await paced(RATE, signal, async n => {
      const socket = await openHttp2(h2cPort)
      if (socket === undefined) return
      socket.write(getting(1, `/v1/stream?channel=${channel}`))
      await sleep(50)
      socket.write(MALFORMED[n % MALFORMED.length] ?? '')
      if (n % 2 === 1) return
      await sleep(STAY)
      socket.destroy()
    })
    return { did: { sessions } }
  },
}
