// S6: a response whose cost is not bounded by its size.

import type { Attack } from '../attack.ts'
import { exchange, paced } from '../raw.ts'

const CHANNELS = 100
const EVENTS = 4
const LARGE = 1_000_000
const RATE = 1

const names = Array.from({ length: CHANNELS }, (_, i) => `large.${i}`)

export const largePages: Attack = {
  name: 'large-pages',
  title: `S6: /v1/refresh over ${CHANNELS} channels of ${EVENTS} events of 1 MB, the log in Redis`,
  rate: `${RATE} a second`,
  needs: { redis: [] },
  async prepare({ port }) {
    const data = JSON.stringify('x'.repeat(LARGE))
    for (const name of names) {
      for (let n = 0; n < EVENTS; n++) {
        const answer = await fetch(`http://127.0.0.1:${port}/v1/channels/${name}/events`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: data,
        })
        if (answer.status !== 201) throw new Error(`${answer.status} ${await answer.text()}`)
        await answer.arrayBuffer()
      }
    }
  },
  async attack({ port }, signal) {
    const query = names.map(name => `channel=${name}`).join('&')
    let answered = 0
    const pages = await paced(RATE, signal, async () => {
      const asked = `GET /v1/refresh?${query}&limit=1000 HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n`
      const { text, socket } = await exchange(port, asked, /<\/html>/, 30_000)
      if (text.includes(' 200 ')) answered++
      socket?.destroy()
    })
    return { did: { pages, answered } }
  },
}
