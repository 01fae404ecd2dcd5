// S2: one connection holds more requests than all others together.

import type { Attack } from '../attack.ts'
import { ending, getting, open, pump } from '../raw.ts'

const POLLS = 120_000
/** Requests in one write. */
const BATCH = 500
const REQUESTS = Buffer.from(getting('/v1/long-poll?channel=held&wait=55').repeat(BATCH))

export const pipelinedPolls: Attack = {
  name: 'pipelined-polls',
  title: `S2: ${POLLS.toLocaleString('en')} pipelined long polls on one connection, a heap of 512 MB`,
  rate: 'as fast as the node takes them',
  critical: true,
  needs: { heap: 512 },
  async attack({ port }, signal) {
    const socket = await open(port)
    if (socket === undefined) return { did: { polls: 0 } }
    const batches = await pump(socket, signal, () => REQUESTS, POLLS / BATCH)
    await ending(signal)
    return { did: { polls: batches * BATCH } }
  },
}
