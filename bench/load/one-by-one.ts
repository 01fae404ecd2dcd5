// Publishes one event at a time over each of several persistent connections: the next after the last acknowledgement.

import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { textFrame } from './client.ts'
import { Histogram } from './histogram.ts'
import { now, payload } from './marker.ts'
import { fill, type LineOrder, type MessageOrder, type PostOrder, postRequest } from './post.ts'
import { serve } from './remote.ts'

export type By = PostOrder | MessageOrder | LineOrder

export interface OneByOneOrder {
  readonly port: number
  readonly by: By
  readonly connections: number
  readonly channels: readonly string[]
  /** Events in total. */
  readonly count: number
  readonly size: number
}

export interface OneByOne {
  readonly published: number
  readonly seconds: number
  /** From sending a request to its response, ms. */
  readonly p50: number
  readonly p99: number
  /** Share of one core used by this process. */
  readonly cpu: number
}

const HANDSHAKE =
  'Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n'

async function open(port: number, by: By, n: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true })
  await once(socket, 'connect')
  const [hello, ready] =
    'line' in by
      ? [by.hello.replaceAll('{connection}', `${n}`), by.ready]
      : 'message' in by
        ? [`GET ${by.path} HTTP/1.1\r\n${HANDSHAKE}`, '{"open"']
        : ['', '']
  socket.write(hello)
  for (let text = ''; !text.includes(ready);) text += String((await once(socket, 'data'))[0])
  return socket
}

/** The request that publishes event `n` over the connection with this number. */
function requestOf(by: By, connection: number, channel: string, data: string, n: number): Buffer | string {
  if ('message' in by) return textFrame(fill(by.message, channel, data, n))
  if (!('line' in by)) return postRequest(by, channel, data, n)
  const line = by.line.replace('{connection}', `${connection}`).replace('{bytes}', `${data.length}`)
  return fill(line, channel, data, n)
}

async function run({ port, by, connections, channels, count, size }: OneByOneOrder): Promise<OneByOne> {
  const sockets = await Promise.all(Array.from({ length: connections }, (_, i) => open(port, by, i)))
  const isGood = 'line' in by ? new RegExp(by.answer) : /^HTTP\/1\.1 20|"ok"/
  const answering = new Histogram()
  const began = now()
  const cpu = process.cpuUsage()
  let n = 0
  await Promise.all(
    sockets.map(
      (socket, connection) =>
        new Promise<void>((resolve, reject) => {
          let asked = 0
          const next = () => {
            if (n >= count) return resolve()
            asked = now()
            const channel = channels[++n % channels.length] ?? ''
            const data = payload(n, asked, size)
            socket.write(requestOf(by, connection, channel, data, n))
          }
          socket.on('data', (bytes: Buffer) => {
            const text = bytes.toString('latin1')
            // NATS checks whether the client is alive.
            if (text === 'PING\r\n') return void socket.write('PONG\r\n')
            if (!isGood.test(text)) return reject(new Error(text.slice(0, 200)))
            answering.add(now() - asked)
            next()
          })
          socket.on('error', reject)
          socket.on('close', () => reject(new Error('a connection was cut')))
          next()
        }),
    ),
  )
  for (const socket of sockets) socket.removeAllListeners('close').destroy()
  const took = now() - began
  const { user, system } = process.cpuUsage(cpu)
  const [p50 = 0, p99 = 0] = [0.5, 0.99].map(q => answering.quantile(q) / 1000)
  return { published: answering.count, seconds: took / 1e6, p50, p99, cpu: (user + system) / took }
}

const oneByOneMethods = { run }

export type OneByOneMethods = typeof oneByOneMethods

serve(oneByOneMethods)
