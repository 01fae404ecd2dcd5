// Like S2: few connections hold many readers.

import type { Attack } from '../attack.ts'
import { getting, openHttp2 } from '../http2.ts'
import { ending } from '../raw.ts'

const SESSIONS = 50
const STREAMS = 1000

export const http2Streams: Attack = {
  name: 'http2-streams',
  title: `S2: ${STREAMS.toLocaleString('en')} long polls on each of ${SESSIONS} HTTP/2 sessions`,
  rate: 'all at once',
  needs: { h2c: true },
  async attack({ h2cPort }, signal) {
    let sessions = 0
    const polls = Array.from({ length: STREAMS }, (_, i) =>
      getting(2 * i + 1, '/v1/long-poll?channel=held&wait=55'),
    )
    for (let i = 0; i < SESSIONS && !signal.aborted; i++) {
      const socket = await openHttp2(h2cPort)
      if (socket === undefined) continue
      socket.write(Buffer.concat(polls))
      sessions++
    }
    await ending(signal)
    return { did: { sessions, polls: sessions * STREAMS } }
  },
}
