// S1: a parser that continues after its first error.

import { setTimeout as sleep } from 'node:timers/promises'
import { deflateRawSync } from 'node:zlib'
import type { Attack } from '../attack.ts'
import { again } from '../raw.ts'
import { CLOSE, COMPRESSED, frame, openWs, TEXT } from '../ws.ts'

const SPACES = frame(TEXT | COMPRESSED, deflateRawSync(Buffer.alloc(1_000_000, ' ')))
const WRONG_CODE = frame(CLOSE, Buffer.from([0, 1]))
const MORE = frame(TEXT, 'ab')
const CLIENTS = 4
const STAY = 100

export const deflateAfterError: Attack = {
  name: 'deflate-after-error',
  title: 'S1: a compressed message of 1 MB, a wrong close frame 1 ms later, and text 1 ms after that',
  rate: `${CLIENTS} clients, a connection every ${STAY} ms each`,
  critical: true,
  needs: { env: { FANWIRE_WS_DEFLATE: '1KiB' } },
  async attack({ port }, signal) {
    let connections = 0
    await again(CLIENTS, signal, async () => {
      const socket = await openWs(port, '/v1/ws', 'Sec-WebSocket-Extensions: permessage-deflate\r\n')
      if (socket === undefined) return
      connections++
      for (const bytes of [SPACES, WRONG_CODE, MORE]) {
        socket.write(bytes)
        await sleep(1)
      }
      await sleep(STAY)
      socket.destroy()
    })
    return { did: { connections } }
  },
}
