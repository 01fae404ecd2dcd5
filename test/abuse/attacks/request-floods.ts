// Like S4: other ways to send more small requests than one turn of the event loop should handle.

import type { Socket } from 'node:net'
import type { Attack } from '../attack.ts'
import { getting as http2Getting, openHttp2 } from '../http2.ts'
import { again, getting, open, pump } from '../raw.ts'
import { openWs, texts } from '../ws.ts'

const EXTENT = 'as fast as the node takes them'

/** Sends results of `next`, of `count` items each, on one connection after another. Returns the number of items. */
async function flood(
  connect: () => Promise<Socket | undefined>,
  signal: AbortSignal,
  count: number,
  next: (n: number) => Buffer,
) {
  let sent = 0
  await again(1, signal, async () => {
    const socket = await connect()
    if (socket !== undefined) sent += count * (await pump(socket, signal, next))
    socket?.destroy()
  })
  return sent
}

export const pipelinedRequests: Attack = {
  name: 'pipelined-requests',
  title: 'S4: pipelined polls on one connection',
  rate: EXTENT,
  async attack({ port, channel }, signal) {
    const requests = Buffer.from(getting(`/v1/poll?channel=${channel}&limit=1`).repeat(100))
    return {
      did: {
        requests: await flood(
          () => open(port),
          signal,
          100,
          () => requests,
        ),
      },
    }
  },
}

export const http2Requests: Attack = {
  name: 'http2-requests',
  title: 'S4: polls on one HTTP/2 session',
  rate: `${EXTENT}, a new session every 20,000`,
  needs: { h2c: true },
  async attack({ h2cPort, channel }, signal) {
    let requests = 0
    await again(1, signal, async () => {
      const socket = await openHttp2(h2cPort)
      if (socket === undefined) return
      const batches = await pump(
        socket,
        signal,
        n => {
          const polls = Array.from({ length: 100 }, (_, i) =>
            http2Getting(2 * (100 * n + i) + 1, `/v1/poll?channel=${channel}&limit=1`),
          )
          return Buffer.concat(polls)
        },
        200,
      )
      requests += 100 * batches
      socket.destroy()
    })
    return { did: { requests } }
  },
}

export const brokenLines: Attack = {
  name: 'broken-lines',
  title: 'S4: broken lines of NDJSON in one bulk publish',
  rate: EXTENT,
  async attack({ port }, signal) {
    const head = Buffer.from(
      'POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-ndjson\r\n' +
        'Transfer-Encoding: chunked\r\n\r\n',
    )
    const lines = Buffer.from('{"x\n'.repeat(500))
    const chunk = Buffer.concat([Buffer.from(`${lines.length.toString(16)}\r\n`), lines, Buffer.from('\r\n')])
    const connect = async () => {
      const socket = await open(port)
      socket?.write(head)
      return socket
    }
    return { did: { lines: await flood(connect, signal, 500, () => chunk) } }
  },
}

export const socketIoPackets: Attack = {
  name: 'socket-io-packets',
  title: 'S4: Socket.IO subscriptions from one connection',
  rate: EXTENT,
  needs: { env: { FANWIRE_SOCKET_IO: '1' } },
  async attack({ port }, signal) {
    const pair = texts(
      '421["subscribe",{"channel":"own"}]',
      '422["unsubscribe",{"channel":"own"}]',
      '423["subscribe",1]',
      '424["nothing"]',
    )
    const packets = Buffer.concat(Array(50).fill(pair))
    const connect = async () => {
      const socket = await openWs(port, '/socket.io/?EIO=4&transport=websocket')
      socket?.write(texts('40'))
      return socket
    }
    return { did: { packets: await flood(connect, signal, 200, () => packets) } }
  },
}
