// Publishers at their maximum rate.

import { randomBytes } from 'node:crypto'
import { Agent, request } from 'node:http'
import type { Attack } from '../attack.ts'
import { ADDRESS, again, open, pump } from '../raw.ts'

const PUBLISHERS = 8

export const idempotencyKeys: Attack = {
  name: 'idempotency-keys',
  title: 'a flood of idempotency keys of 128 characters, the log in Redis',
  rate: `${PUBLISHERS} publishers, each as fast as it is answered`,
  // Longer than the good publisher's pause before a retry.
  needs: { redis: [], env: { FANWIRE_IDEMPOTENCY_WINDOW: '5s' } },
  async attack({ port }, signal) {
    const agent = new Agent({ keepAlive: true, maxSockets: PUBLISHERS })
    const publish = () =>
      new Promise<boolean>(resolve => {
        const asked = request({
          host: '127.0.0.1',
          port,
          localAddress: ADDRESS,
          agent,
          method: 'POST',
          path: '/v1/channels/keys/events',
          headers: {
            'content-type': 'application/json',
            'content-length': 1,
            'idempotency-key': randomBytes(64).toString('hex'),
          },
        })
        asked.on('error', () => resolve(false))
        asked.on('response', answer => {
          answer.resume()
          answer.on('close', () => resolve(answer.statusCode === 201))
        })
        asked.end('1')
      })
    let [published, refused] = [0, 0]
    await again(PUBLISHERS, signal, async () => {
      while (!signal.aborted && (await publish())) published++
      refused++
    })
    return { did: { published, refused: Math.max(0, refused - PUBLISHERS) } }
  },
}

const LINES = 100

/** Bulk publishes of endless NDJSON, one connection at a time. */
async function publishLines(port: number, signal: AbortSignal) {
  const line = `${JSON.stringify({ channel: 'flood', data: 'x'.repeat(200) })}\n`
  const lines = Buffer.from(line.repeat(LINES))
  const chunk = Buffer.concat([Buffer.from(`${lines.length.toString(16)}\r\n`), lines, Buffer.from('\r\n')])
  let published = 0
  await again(1, signal, async () => {
    const socket = await open(port)
    socket?.write(
      'POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-ndjson\r\n' +
        'Transfer-Encoding: chunked\r\n\r\n',
    )
    if (socket !== undefined) published += LINES * (await pump(socket, signal, () => chunk))
    socket?.destroy()
  })
  return { did: { published } }
}

export const fullSpeed: Attack = {
  name: 'full-speed',
  title: 'a publisher at full speed: events of 200 bytes in one bulk publish, the log in memory',
  rate: 'as fast as the node takes them',
  attack: ({ port }, signal) => publishLines(port, signal),
}

export const fullSpeedRedis: Attack = {
  name: 'full-speed-redis',
  title: 'the same, the log in Redis',
  rate: 'as fast as the node takes them',
  needs: { redis: [] },
  attack: ({ port }, signal) => publishLines(port, signal),
}
