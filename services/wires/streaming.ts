// Responses that do not end, for the sse, stream and push wires. Over HTTP/1.1 the body is chunked; over HTTP/1.0 it ends
// with the connection; over HTTP/2 it goes to the request's stream. A client that should reconnect receives no last chunk,
// or its stream is reset, so that a node that dies or stops does not look like a normal end.

import type { ServerHttp2Stream } from 'node:http2'
import { Socket } from 'node:net'
import type { Writable } from 'node:stream'
import { TLSSocket } from 'node:tls'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Channel } from '../broker/fanout/channel.ts'
import { Connection, type ConnectionRegistry, type Outlet } from '../broker/fanout/connection.ts'
import { type CloseReason, type Framing, reconnects } from '../broker/fanout/framing.ts'
import type { Lease } from '../broker/limits/holds.ts'
import { partyOf } from '../http/address.ts'
import { askToRead } from '../http/asking.ts'
import type { Client, Clients } from '../http/clients.ts'
import { breakOff, takesChunks, writeOpenHead } from '../http/open-ended.ts'
import { http2StreamOf, isHttp2 } from '../http/exchange.ts'
import { cutStream, sessionOf } from '../http/sessions.ts'
import { type Position, printCursor } from '../broker/event/position.ts'
import { detach } from '../http/node/detach.ts'
import { queuedBytes } from '../http/node/queued-bytes.ts'
import { arrivalOf } from './arrival.ts'
import type { BodyFraming } from './body-framing.ts'
import { type Given, givenFor, openFor, requireReadable } from './open-for.ts'
import type { ReadQuery } from './read-query.ts'

/** The maximum bytes in flight in TLS or HTTP/2, which report a write a moment after the kernel accepted it. */
const UNDER_WAY_BYTES = 64 * 1024

/** When a client that has ended its side is probed, ms later. */
const PROBES_MS = [0, 100, 1000]

/** How a wire streams. */
export interface Streaming {
  readonly framing: BodyFraming
  readonly contentType: string
  /** Creates the connection, if not an ordinary one. */
  connect?(registry: ConnectionRegistry, framing: Framing, outlet: Outlet): Connection
  /** Accepts the bytes of an HTTP/2 client and ends the stream. Default: the stream itself. */
  overHttp2?(
    stream: ServerHttp2Stream,
    request: FastifyRequest,
    reply: FastifyReply,
  ): { readonly framing: Framing; readonly sink: Writable } | undefined
}

/** The positions where the channels' long-lived readers begin. Raises LogUnavailable. */
export function resolveAll(channels: readonly Channel[], query: ReadQuery): Promise<Position[]> {
  return Promise.all(channels.map((channel, i) => channel.settle(query.starts[i] ?? 'latest')))
}

/** Raises FW_TOO_MANY_FILTERS if the channels can't have such readers. */
export function requireRoom(channels: readonly Channel[], given: readonly Given[]): void {
  for (const [i, channel] of channels.entries()) channel.requireRoomFor(given[i]?.selection)
}

/** Raises FW_TOO_MANY_FILTERS. */
export function joinAll(
  connection: Connection,
  channels: readonly Channel[],
  at: readonly Position[],
  given: readonly Given[],
): void {
  for (const [i, channel] of channels.entries()) {
    connection.join(channel, at[i] as Position, given[i]?.selection, given[i]?.grant, given[i]?.plan)
  }
}

/** The bytes that may be in flight in a socket, for an outlet. */
export function underWay(socket: Socket): number {
  return socket instanceof TLSSocket ? UNDER_WAY_BYTES : 0
}

/** Sockets that have become a stream. Later pipelined requests on them are not answered. */
const streamed = new WeakSet<Socket>()

/** Takes over the response and streams to it until either side ends. Raises FW_TOO_MANY_FOLLOWED, LogUnavailable. */
export async function stream(
  request: FastifyRequest,
  reply: FastifyReply,
  streaming: Streaming,
  query: ReadQuery,
): Promise<void> {
  const { hub, access, clients, limits, presence } = request.server.fanwire
  if (access.asking !== undefined) await askToRead(request, query)
  const { identity } = request
  if (request.method === 'HEAD') {
    requireReadable({ access, identity }, query)
    return endHead(reply, headersOf(reply, streaming.contentType))
  }
  const lease = limits.holds.take(partyOf(request), query.channels.length)
  let held = false
  const open = openFor({ hub, access, identity }, query, async channels => {
    const positions = await resolveAll(channels, query)
    // The rules may have changed since the check.
    requireReadable({ access, identity }, query)
    const given = givenFor({ access, identity }, query)
    requireRoom(channels, given)
    // A client that resumes with another server's id has received nothing of these channels.
    const from = query.lost ? positions.map(({ epoch }) => ({ epoch, offset: 0 })) : positions
    const begun = begin(request, reply, streaming, printCursor(from))
    if (begun === undefined) return
    const connection =
      streaming.connect?.(hub.connections, begun.framing, begun.outlet) ??
      new Connection(hub.connections, begun.framing, begun.outlet)
    connection.endsWithChannels = true
    held = true
    presence.attend(connection, identity)
    const client = clients.add(connection, arrivalOf(request))
    whenClosed(begun.closes, connection, client, clients, lease)
    joinAll(connection, channels, from, given)
    if (!query.lost) return
    for (const [i, reader] of connection.readers.entries()) {
      connection.skip(reader, { from: from[i] as Position, to: positions[i] as Position })
    }
  })
  await open.finally(() => held || lease?.end())
}

/** Takes over the response: writes its head, and the start position. Returns undefined if the client is gone. */
export function begin(
  request: FastifyRequest,
  reply: FastifyReply,
  streaming: Streaming,
  cursor: string,
): Begun | undefined {
  reply.hijack()
  return (isHttp2(request) ? beginHttp2 : beginHttp1)(request, reply, streaming, cursor)
}

/** Answers HEAD with the head of GET's response, without a length. */
export function endHead(reply: FastifyReply, headers: Record<string, string>): void {
  reply.hijack()
  reply.raw.writeHead(200, headers)
  reply.raw.end()
}

/** Must not keep references to the request or the reply. */
function whenClosed(
  closes: Begun['closes'],
  connection: Connection,
  client: Client | undefined,
  clients: Clients,
  lease: Lease | undefined,
): void {
  whenGone(closes, connection, () => {
    lease?.end()
    connection.closed()
    clients.remove(client)
  })
}

/** Calls `gone` once the client is gone. */
export function whenGone(closes: Begun['closes'], connection: Connection, gone: () => void): void {
  closes.once('close', gone)
  if (!(closes instanceof Socket)) return
  const probe = () => probeSoon(closes, connection)
  if (closes.readableEnded) probe()
  else closes.on('end', probe)
}

/**
 * A client that has ended its side may continue to read (RFC 9112 section 9.6), or be gone, which looks the same. If it
 * is gone, its system refuses the node's bytes, and the next write fails. Early heartbeats detect that.
 */
function probeSoon(socket: Socket, connection: Connection): void {
  for (const ms of PROBES_MS) setTimeout(() => socket.destroyed || connection.beat(), ms).unref()
}

export interface Begun {
  readonly framing: Framing
  readonly outlet: Outlet
  /** Emits 'close' when the client is gone. */
  readonly closes: Socket | ServerHttp2Stream
}

function headersOf(reply: FastifyReply, contentType: string): Record<string, string> {
  return {
    ...(reply.getHeaders() as Record<string, string>),
    'content-type': contentType,
    'cache-control': 'no-store, no-transform',
    'x-accel-buffering': 'no',
  }
}

// HTTP/1 ------------------------------------------------------------------------------------------------------

/** Writes the head and the reader's position, in one system call. Returns undefined if the client is gone. */
function beginHttp1(
  request: FastifyRequest,
  reply: FastifyReply,
  { framing: { chunked, plain }, contentType }: Streaming,
  cursor: string,
): Begun | undefined {
  const { socket } = request.raw
  const { raw } = reply
  if (socket.destroyed || streamed.has(socket)) return undefined
  // A pipelined response that waits for an earlier one does not have the socket yet.
  const waits = raw.socket === null
  const framing = takesChunks(request.raw) ? chunked : plain
  socket.setNoDelay(true)
  if (!waits) socket.cork()
  writeOpenHead(request.raw, raw, headersOf(reply, contentType))
  raw.write(framing.opening(cursor))
  if (waits) {
    return { framing, outlet: new HttpOutlet(socket, raw as unknown as Writable, framing), closes: socket }
  }
  socket.uncork()
  streamed.add(socket)
  detach(raw, socket)
  return { framing, outlet: new HttpOutlet(socket, socket, framing), closes: socket }
}

class HttpOutlet implements Outlet {
  readonly sink: Writable
  readonly underWay: number
  readonly #socket: Socket
  readonly #framing: Framing

  /** `sink` accepts the bytes: the socket, or the response that will have it. */
  constructor(socket: Socket, sink: Writable, framing: Framing) {
    this.#socket = socket
    this.sink = sink
    this.underWay = underWay(socket)
    this.#framing = framing
  }

  get open(): boolean {
    return this.sink.writable
  }

  get queued(): number {
    return queuedBytes(this.sink)
  }

  end(reason: CloseReason): void {
    this.sink.end(this.#framing.closing(reason))
  }

  cut(): void {
    // A pipelined response whose socket has become a stream must not cut that stream.
    if (this.sink === this.#socket || !streamed.has(this.#socket)) this.#socket.destroy()
  }
}

// HTTP/2 ------------------------------------------------------------------------------------------------------

function beginHttp2(
  request: FastifyRequest,
  reply: FastifyReply,
  { framing: { plain }, contentType, overHttp2 }: Streaming,
  cursor: string,
): Begun | undefined {
  const stream = http2StreamOf(request)
  if (stream === undefined || stream.destroyed || stream.closed) return undefined
  stream.respond({ ':status': 200, ...headersOf(reply, contentType) })
  // If the client does not want the rest, Node would still wait until it has read it.
  stream.once('aborted', () => setImmediate(() => stream.destroy()))
  const { framing, sink } = overHttp2?.(stream, request, reply) ?? { framing: plain, sink: stream }
  sink.write(framing.opening(cursor))
  return { framing, outlet: new Http2Outlet(stream, sink, framing), closes: stream }
}

class Http2Outlet implements Outlet {
  readonly sink: Writable
  readonly underWay = UNDER_WAY_BYTES
  readonly #stream: ServerHttp2Stream
  readonly #framing: Framing

  constructor(stream: ServerHttp2Stream, sink: Writable, framing: Framing) {
    this.#stream = stream
    this.sink = sink
    this.#framing = framing
  }

  get open(): boolean {
    return this.sink.writable && this.#stream.writable
  }

  /** Measured on the session, since Node does not report the progress of a stream's large write. */
  get queued(): number {
    return -(sessionOf(this.#stream)?.given ?? 0)
  }

  end(reason: CloseReason): void {
    const closing = this.#framing.closing(reason)
    if (reconnects(reason.code)) breakOff(this.#stream, this.sink, closing)
    else this.sink.end(closing)
  }

  cut(): void {
    cutStream(this.#stream)
  }
}
