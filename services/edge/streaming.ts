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

/** Takes the response over and streams to it until either side ends. Raises FW_TOO_MANY_FOLLOWED, LogUnavailable. */
export async function stream(
  request: FastifyRequest,
  reply: FastifyReply,
  framing: Framing,
  contentType: string,
  query: ReadQuery<never>,
): Promise<void> {
  const { hub } = request.server.fanwire
  const channels = await hub.openAll(query.channels)
  try {
    const positions = await resolveAll(channels, query)
    reply.hijack()
    if (reply.raw.destroyed) return
    const outlet = begin(reply, framing, contentType, framing.opening(printCursor(positions)))
    const connection = follow(hub, framing, outlet)
    for (const [i, channel] of channels.entries()) connection.join(channel, positions[i] as Position)
  } finally {
    for (const channel of channels) channel.release()
  }
}

/** Writes the head and where the reader stands, in one system call. */
function begin(reply: FastifyReply, framing: Framing, contentType: string, opening: Buffer): HttpOutlet {
  const { raw } = reply
  const { socket } = raw
  socket?.cork()
  socket?.setNoDelay(true)
  raw.removeHeader('transfer-encoding')
  raw.writeHead(200, {
    ...(reply.getHeaders() as Record<string, string>),
    'content-type': contentType,
    'cache-control': 'no-store, no-transform',
    'x-accel-buffering': 'no',
    connection: 'close',
  })
  raw.write(opening)
  socket?.uncork()
  if (socket !== null) detach(raw, socket)
  // A response that waits behind an earlier one on its connection (pipelining) has no socket yet.
  return new HttpOutlet(socket ?? (raw as unknown as Writable), framing)
}

/** Nothing here may hold on to the request or the reply. */
function follow(hub: Hub, framing: Framing, outlet: HttpOutlet): Connection {
  const connection = new Connection(hub, framing, outlet)
  outlet.sink.once('close', () => connection.closed())
  return connection
}

class HttpOutlet implements Outlet {
  readonly sink: Socket | Writable
  readonly #framing: Framing

  constructor(sink: Socket | Writable, framing: Framing) {
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
    this.sink.destroy()
  }
}
