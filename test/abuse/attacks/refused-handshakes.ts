// W1: a handshake that is rejected early leaves a socket that is neither read nor closed.

import { setTimeout as sleep } from 'node:timers/promises'
import type { Attack } from '../attack.ts'
import { exchange, paced } from '../raw.ts'
import { handshake } from '../ws.ts'

const REFUSED = [
  handshake('/v1/ws', 'Origin: https://elsewhere.example\r\n'),
  handshake(`/v1/ws?channel=${'a'.repeat(40_000)}`),
  handshake('/v1/ws', '', 'HEAD'),
  handshake().replace('Host: 127.0.0.1\r\n', ''),
]
const RATE = 150
/** How long a client stays after the answer, ms. */
const STAY = 500

export const refusedHandshakes: Attack = {
  name: 'refused-handshakes',
  title:
    'W1: WebSocket handshakes that are refused (foreign Origin, HEAD, no Host, a long URL), limit of 200',
  rate: `${RATE} a second, each client leaves after ${STAY} ms`,
  critical: true,
  needs: { env: { FANWIRE_MAX_CONNECTIONS: '200' } },
  async attack({ port }, signal) {
    let answered = 0
    const handshakes = await paced(RATE, signal, async n => {
      const { text, socket } = await exchange(port, REFUSED[n % REFUSED.length] ?? '')
      if (/^HTTP\/1.1 4/.test(text)) answered++
      await sleep(STAY)
      socket?.destroy()
    })
    return { did: { handshakes, answered } }
  },
}
