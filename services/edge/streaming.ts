// A response that never ends: what the sse and stream wires share. The body is not chunked but ends with the
// connection (RFC 9112 section 6.3), so the same bytes go to every client, whatever its HTTP version.

import type { Writable } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Channel } from '../fanout/channel.ts'
import { Connection, type Outlet } from '../fanout/connection.ts'
import type { Farewell, Framing } from '../fanout/frames.ts'
import type { Hub } from '../fanout/hub.ts'
import { type Position, printCursor } from '../log/position.ts'
import type { ReadQuery } from './query.ts'

/** Follows the channels on one connection. The caller keeps its holds. Raises LogUnavailable. */
export async function resolveAll(channels: readonly Channel[], query: ReadQuery<never>): Promise<Position[]> {
  return Promise.all(channels.map((channel, i) => channel.resolve(query.starts[i] ?? 'latest')))
}

/** Takes the response over and streams to it until either side ends. */
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
    if (reply.raw.destroyed) return void reply.hijack()
    const connection = open(hub, reply, framing, contentType, printCursor(positions))
    for (const [i, channel] of channels.entries()) connection.join(channel, positions[i] as Position)
  } finally {
    for (const channel of channels) channel.release()
  }
}

function open(
  hub: Hub,
  reply: FastifyReply,
  framing: Framing,
  contentType: string,
  cursor: string,
): Connection {
  reply.hijack()
  const { raw } = reply
  raw.removeHeader('transfer-encoding')
  const head = {
    ...(reply.getHeaders() as Record<string, string>),
    'content-type': contentType,
    'cache-control': 'no-store, no-transform',
    'x-accel-buffering': 'no',
    connection: 'close',
  }
  raw.socket?.cork()
  raw.socket?.setNoDelay(true)
  raw.writeHead(200, head)
  raw.flushHeaders()
  const connection = new Connection(hub, framing, outletOf(raw, framing))
  connection.write(framing.opening(cursor))
  raw.socket?.uncork()
  raw.once('close', () => connection.closed())
  return connection
}

/**
 * Where the bytes go: past the response, straight to its socket. A response that waits behind an earlier one on
 * the same connection (pipelining) has no socket yet, and takes the bytes itself.
 */
function outletOf(raw: FastifyReply['raw'], framing: Framing): Outlet {
  const sink: Writable = raw.socket ?? (raw as unknown as Writable)
  return {
    sink,
    get open() {
      return !raw.destroyed && sink.writable
    },
    end(farewell: Farewell) {
      sink.end(framing.closing(farewell))
    },
    cut() {
      raw.destroy()
    },
  }
}
