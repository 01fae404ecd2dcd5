// W6: reads of unknown channels must not write to Redis.

import type { Attack } from '../attack.ts'
import { exchange, getting, paced } from '../raw.ts'

const RATE = 200
const NAMES = 100

export const madeUpChannels: Attack = {
  name: 'made-up-channels',
  title: `W6: polls of ${NAMES} made-up channels each, a Redis of 50 MB`,
  rate: `${RATE} a second`,
  needs: { redis: ['--maxmemory', '50mb', '--maxmemory-policy', 'noeviction'] },
  async attack({ port }, signal) {
    let answered = 0
    const polls = await paced(RATE, signal, async n => {
      const query = Array.from({ length: NAMES }, (_, i) => `channel=made.up.${n}.${i}`).join('&')
      const { text, socket } = await exchange(port, getting(`/v1/poll?${query}`))
      if (text.startsWith('HTTP/1.1 200')) answered++
      socket?.destroy()
    })
    return { did: { polls, answered } }
  },
}
