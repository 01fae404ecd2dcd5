// TLS handshakes cost the node more than the client.

import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from 'node:tls'
import type { Attack } from '../attack.ts'
import { dial, open, paced } from '../raw.ts'

const RATE = 100

export const tlsHandshakes: Attack = {
  name: 'tls-handshakes',
  title: 'TLS handshakes: full ones, and as many that stop after a byte',
  rate: `${RATE} a second of each`,
  needs: { tls: true },
  async attack({ port }, signal) {
    let finished = 0
    const handshakes = await paced(RATE, signal, async () => {
      const silent = await open(port)
      silent?.write(Buffer.from([0x16]))
      const socket = connect({ socket: dial(port), rejectUnauthorized: false })
      socket.on('error', () => {})
      socket.on('secureConnect', () => {
        finished++
        socket.destroy()
      })
      await sleep(2000)
      socket.destroy()
    })
    return { did: { handshakes, finished } }
  },
}
