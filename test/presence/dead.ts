// Measures the effect of an application that fails to answer hooks on clients of channels without a hook.

import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { WebSocket } from 'ws'
import { startRedis } from '../support/redis-server.ts'
import { Rooms } from './members.ts'

export interface DeadRow {
  readonly application: string
  /** p99 of the delays of events in a channel without a hook, ms. */
  readonly p99: number
  /** p99 relative to that with an application that answers. */
  readonly ratio: number
  /** Refused requests by status and code; `longest`: the slowest, ms. */
  readonly refused: string
  readonly longest: number
}

const READERS = 50
const RATE = 100
const ASKED = 20
const SECONDS = 5
/** The timeout of the hook. */
export const TIMEOUT_MS = 500

const TEN_MB = Buffer.alloc(10 * 2 ** 20, 'x')
const WAYS: readonly (readonly [string, ((response: ServerResponse) => void) | undefined])[] = [
  ['answers', response => response.end('{"result":{}}')],
  ['refuses connections', undefined],
  ['does not answer', () => {}],
  ['answers 500', response => response.writeHead(500).end()],
  ['answers 10 MB', response => response.end(TEN_MB)],
]

export async function dead(say: (text: string) => void): Promise<DeadRow[]> {
  const redis = await startRedis()
  const rows: DeadRow[] = []
  try {
    for (const [application, answer] of WAYS) {
      const server = createServer((request, response) => {
        request.resume()
        answer?.(response)
      }).listen(0, '127.0.0.1')
      await once(server, 'listening')
      const { port } = server.address() as AddressInfo
      if (answer === undefined) server.close()
      const rooms = new Rooms(
        { REDIS_URL: redis.url },
        `  - { match: "ask:*", subscribe: hook, hook: { url: "http://127.0.0.1:${port}/", timeout: ${TIMEOUT_MS}ms } }`,
      )
      try {
        const measured = await measure((await rooms.start()).url)
        const row = { application, ...measured, ratio: measured.p99 / (rows[0]?.p99 ?? measured.p99) }
        say(JSON.stringify(row))
        rows.push(row)
      } finally {
        await rooms.close()
        server.close().closeAllConnections()
      }
    }
    return rows
  } finally {
    await redis.stop()
  }
}

async function measure(url: string): Promise<Omit<DeadRow, 'application' | 'ratio'>> {
  const delays: number[] = []
  const sockets = Array.from({ length: READERS }, () => {
    const socket = new WebSocket(`${url.replace('http', 'ws')}/v1/ws?channel=open:1`)
    socket.on('message', data => {
      const { data: sent } = JSON.parse(String(data)) as { data?: number }
      if (sent !== undefined) delays.push(performance.now() - sent)
    })
    return socket
  })
  await Promise.all(sockets.map(socket => once(socket, 'message')))
  await publishing(url, 1)
  delays.length = 0
  const refusals = new Map<string, number>()
  let [longest, n] = [0, 0]
  const asking = setInterval(async () => {
    const from = performance.now()
    const answer = await fetch(`${url}/v1/poll?channel=ask:${n++}`)
    const body = (await answer.json()) as { error?: { code: string } }
    const name = `${answer.status} ${body.error?.code ?? ''}`.trim()
    refusals.set(name, (refusals.get(name) ?? 0) + 1)
    longest = Math.max(longest, performance.now() - from)
  }, 1000 / ASKED)
  await publishing(url, SECONDS)
  clearInterval(asking)
  await sleep(2 * TIMEOUT_MS)
  for (const socket of sockets) socket.terminate()
  delays.sort((a, b) => a - b)
  const refused = [...refusals].map(([name, count]) => `${name}: ${count}`).join(', ')
  return { p99: delays[Math.floor(delays.length * 0.99)] ?? 0, refused, longest }
}

async function publishing(url: string, seconds: number): Promise<void> {
  for (let i = 0; i < seconds * RATE; i++) {
    void fetch(`${url}/v1/channels/open:1/events`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: `${performance.now()}`,
    }).then(answer => answer.arrayBuffer())
    await sleep(1000 / RATE)
  }
}
