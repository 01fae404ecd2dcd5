// Many clients of a node with little memory.

import type { Attack } from '../attack.ts'
import { ending, getting, open, paced } from '../raw.ts'
import { openWs } from '../ws.ts'

const CLIENTS = 5000
const HEAP = 64

export const smallHeap: Attack = {
  name: 'small-heap',
  title: `${CLIENTS.toLocaleString('en')} ws and sse clients of a node with a heap of ${HEAP} MB`,
  rate: '625 connections a second',
  needs: { heap: HEAP },
  async attack({ port }, signal) {
    let opened = 0
    await paced(
      625,
      signal,
      async n => {
        const socket = n % 2 === 0 ? await openWs(port, '/v1/ws?channel=quiet') : await open(port)
        if (n % 2 === 1) socket?.write(getting('/v1/sse?channel=quiet'))
        if (socket !== undefined) opened++
      },
      CLIENTS,
    )
    await ending(signal)
    return { did: { opened } }
  },
}
