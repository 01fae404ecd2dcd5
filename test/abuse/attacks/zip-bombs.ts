// Messages and bodies that are small only when compressed.

import { setTimeout as sleep } from 'node:timers/promises'
import { deflateRawSync, gzipSync } from 'node:zlib'
import type { Attack } from '../attack.ts'
import { exchange, paced } from '../raw.ts'
import { COMPRESSED, frame, openWs, TEXT } from '../ws.ts'

const RATE = 20
const SIZE = 64 * 2 ** 20

export const zipBombs: Attack = {
  name: 'zip-bombs',
  title: 'zip bombs: ws messages, and bodies with Content-Encoding, that inflate to 64 MB',
  rate: `${RATE} a second`,
  needs: { env: { FANWIRE_WS_DEFLATE: '1KiB' } },
  async attack({ port }, signal) {
    const zeros = Buffer.alloc(SIZE)
    const message = frame(TEXT | COMPRESSED, deflateRawSync(zeros))
    const body = gzipSync(zeros)
    const publish = Buffer.concat([
      Buffer.from(
        'POST /v1/channels/bomb/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\n' +
          `Content-Encoding: gzip\r\nContent-Length: ${body.length}\r\n\r\n`,
      ),
      body,
    ])
    let taken = 0
    const bombs = await paced(RATE, signal, async n => {
      if (n % 2 === 0) {
        const { text, socket } = await exchange(port, publish)
        if (text.startsWith('HTTP/1.1 201')) taken++
        socket?.destroy()
      } else {
        const socket = await openWs(port, '/v1/ws', 'Sec-WebSocket-Extensions: permessage-deflate\r\n')
        socket?.write(message)
        await sleep(500)
        socket?.destroy()
      }
    })
    return { did: { bombs }, wrong: taken > 0 ? [`${taken} compressed bodies were taken as text`] : [] }
  },
}
