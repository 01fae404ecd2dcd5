// A response that never ends: what the sse and stream wires share. The body is not chunked but ends with the
// connection (RFC 9112 section 6.3), so the same bytes go to every client, whatever its HTTP version.

import type { Socket } from 'node:net'
import type { Writable } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Channel } from '../fanout/channel.ts'
import { Connection, type Outlet } from '../fanout/connection.ts'
import type { Farewell, Framing } from '../fanout/frames.ts'
import type { Hub } from '../fanout/hub.ts'
import { type Position, printCursor } from '../log/position.ts'
import { detach } from './detach.ts'
import type { ReadQuery } from './query.ts'

/** Where each channel's reader begins. Raises LogUnavailable. */
export function resolveAll(channels: readonly Channel[], query: ReadQuery<never>): Promise<Position[]> {
  return Promise.all(channels.map((channel, i) => channel.resolve(query.starts[i] ?? 'latest')))
}

/** Sockets that have become a stream: what a client sent behind that request (pipelining) is not answered. */
const streamed = new WeakSet<Socket>()

/** Takes the response over and streams to it until either side ends. Raises FW_TOO_MANY_FOLLOWED, LogUnavailable. */
export async function stream(
  request: FastifyRequest,
  reply: FastifyReply,
  framing: Framing,
  contentType: string,
  query: ReadQuery<never>,
): Promise<void> {
  const { hub } = request.server.fanwire
  await hub.using(query.channels, async channels => {
    const positions = await resolveAll(channels, query)
    reply.hijack()
    const { socket } = request.raw
    if (socket.destroyed || streamed.has(socket)) return
    const opening = framing.opening(printCursor(positions))
    const connection = follow(hub, framing, begin(reply, socket, framing, contentType, opening))
    for (const [i, channel] of channels.entries()) connection.join(channel, positions[i] as Position)
  })
}

/** Writes the head and where the reader stands, in one system call. */
function begin(
  reply: FastifyReply,
  socket: Socket,
  framing: Framing,
  contentType: string,
  opening: Buffer,
): HttpOutlet {
  const { raw } = reply
  // A response that waits behind an earlier one on its connection (pipelining) does not have the socket yet.
  const waits = raw.socket === null
  socket.setNoDelay(true)
  if (!waits) socket.cork()
  raw.removeHeader('transfer-encoding')
  raw.writeHead(200, {
    ...(reply.getHeaders() as Record<string, string>),
    'content-type': contentType,
    'cache-control': 'no-store, no-transform',
    'x-accel-buffering': 'no',
    connection: 'close',
  })
  raw.write(opening)
  if (waits) return new HttpOutlet(socket, raw as unknown as Writable, framing)
  socket.uncork()
  streamed.add(socket)
  detach(raw, socket)
  return new HttpOutlet(socket, socket, framing)
}

/** Nothing here may hold on to the request or the reply. */
function follow(hub: Hub, framing: Framing, outlet: HttpOutlet): Connection {
  const connection = new Connection(hub, framing, outlet)
  outlet.socket.once('close', () => connection.closed())
  return connection
}

class HttpOutlet implements Outlet {
  readonly socket: Socket
  readonly sink: Writable
  readonly #framing: Framing

  /** `sink` is what takes the bytes: the socket, or the response that will have it. */
  constructor(socket: Socket, sink: Writable, framing: Framing) {
    this.socket = socket
    this.sink = sink
    this.#framing = framing
  }

  get open(): boolean {
    return this.sink.writable
  }

  end(farewell: Farewell): void {
    this.sink.end(this.#framing.closing(farewell))
  }

  cut(): void {
    // One that waited for its turn, which an earlier stream on its connection now never gives, can't cut that.
    if (this.sink === this.socket || !streamed.has(this.socket)) this.socket.destroy()
  }
}
