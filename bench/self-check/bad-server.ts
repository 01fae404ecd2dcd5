// A server of fanwire's wires with known faults: it loses, repeats and reorders events, and delivers each one late, so
// that the load's correct report is known beforehand.

import { once } from 'node:events'
import { createServer, type Server, type ServerResponse } from 'node:http'
import { createServer as createHttp2, type Http2Server } from 'node:http2'
import type { AddressInfo, Socket } from 'node:net'
import { Server as SocketIo } from 'socket.io'
import { WebSocketServer } from 'ws'
import type { Histogram } from '../load/histogram.ts'
import type { WireName } from '../load/order.ts'
import { longPoll, poll, refresh } from './asking.ts'
import { BadLog, type Faults } from './bad-log.ts'
import { push } from './pushing.ts'
import { socketIo, stream, ws } from './streaming.ts'

/** Ms between two heartbeats of Socket.IO, so that some occur among the events. */
const HEARTBEAT = 100

export class BadServer {
  readonly #log: BadLog
  readonly #server = createServer({ keepAliveTimeout: 60_000 })
  /** The HTTP/2 server for push, without TLS. */
  readonly #http2 = createHttp2()
  readonly #sockets = new Set<Socket>()

  private constructor(faults: Faults) {
    this.#log = new BadLog(faults)
    this.#server.on('request', ({ url }, response) => this.#answer(url, response))
    const handshakes = new WebSocketServer({ noServer: true })
    this.#server.on('upgrade', (request, socket, head) => {
      const { pathname, searchParams } = parse(request.url)
      if (pathname !== '/v1/ws') return
      handshakes.handleUpgrade(request, socket, head, client => ws(this.#log, searchParams, client))
    })
    const io = new SocketIo(this.#server, {
      transports: ['websocket'],
      serveClient: false,
      destroyUpgrade: false,
      pingInterval: HEARTBEAT,
    })
    io.on('connection', client => socketIo(this.#log, client))
    this.#http2.on('stream', (stream, headers) => {
      const { pathname, searchParams } = parse(headers[':path'])
      if (pathname === '/v1/push') push(this.#log, searchParams, stream)
      else stream.respond({ ':status': 404 }, { endStream: true })
    })
  }

  static async start(faults: Faults): Promise<BadServer> {
    const server = new BadServer(faults)
    await Promise.all([server.#listen(server.#server), server.#listen(server.#http2)])
    return server
  }

  /** From an event's time to each of its writes, µs. */
  get written(): Histogram {
    return this.#log.written
  }

  urlOf(wire: WireName): string {
    const { port } = (wire === 'push' ? this.#http2 : this.#server).address() as AddressInfo
    return `http://127.0.0.1:${port}`
  }

  /** Publishes `count` events, `rate` per second, starting with number 1. Returns when the last one is released. */
  publish(count: number, rate: number): Promise<void> {
    return this.#log.publish(count, rate)
  }

  async close(): Promise<void> {
    const closed = [this.#server, this.#http2].map(each => once(each.close(), 'close'))
    for (const socket of this.#sockets) socket.destroy()
    await Promise.all(closed)
  }

  async #listen(server: Server | Http2Server): Promise<void> {
    server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket)
      socket.once('close', () => this.#sockets.delete(socket))
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
  }

  #answer(url: string | undefined, response: ServerResponse): void {
    const { pathname, searchParams } = parse(url)
    const wire = pathname.slice('/v1/'.length)
    if (wire === 'poll') poll(this.#log, searchParams, response)
    else if (wire === 'long-poll') longPoll(this.#log, searchParams, response)
    else if (wire === 'refresh') refresh(this.#log, searchParams, response)
    else if (wire === 'sse' || wire === 'stream') stream(this.#log, wire, searchParams, response)
    else response.writeHead(404).end()
  }
}

function parse(path = '/'): URL {
  return new URL(path, 'http://localhost')
}
