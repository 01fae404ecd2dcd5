// When a request is over: its answer has gone out, or its client has; and how to say that its connection is to be.

import { Http2ServerRequest, type ServerHttp2Stream } from 'node:http2'
import type { FastifyReply, FastifyRequest } from 'fastify'

/** The HTTP/2 stream of a request; undefined over HTTP/1, and once it is gone. */
export function http2StreamOf({ raw }: FastifyRequest): ServerHttp2Stream | undefined {
  return (raw as { stream?: ServerHttp2Stream }).stream
}

/** Whatever the request line says, which over HTTP/1 is the client's to write. */
export function isHttp2({ raw }: FastifyRequest): boolean {
  return raw instanceof Http2ServerRequest
}

/** What a request's connection is known by: its HTTP/2 session, or its socket. Undefined once that is gone. */
export function connectionOf(request: FastifyRequest): object | undefined {
  return isHttp2(request) ? http2StreamOf(request)?.session : request.raw.socket
}

/** Whether the body of an HTTP/1 request still comes in: whoever closes now resets the connection of a busy client. */
export function isSending({ raw, headers }: FastifyRequest): boolean {
  if (raw.complete || raw.httpVersionMajor === 2) return false
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0
}

/** Tells the client, along with this answer, not to send more requests over this connection. */
export function answerAndClose(request: FastifyRequest, reply: FastifyReply): void {
  if (!isHttp2(request)) return void reply.header('connection', 'close')
  const session = http2StreamOf(request)?.session
  // GOAWAY (RFC 9113 section 6.8): what is under way on the session is still answered.
  // Later, since a session that ends within Node's own call for what has come is a danger to its memory (Node 20).
  setImmediate(() => session?.closed || session?.destroyed || session?.close())
}

/**
 * Calls `run` once, as soon as the request is over; before it returns where it is already. A response that waits
 * behind another on its connection (pipelining) is not told by Node that the connection is gone, so the socket
 * is listened to as well. Returns what takes it back.
 */
export function whenOver(request: FastifyRequest, reply: FastifyReply, run: () => void): () => void {
  const { socket } = request.raw
  const { raw } = reply
  if (isHttp2(request)) return whenClosed(http2StreamOf(request), run)
  const stop = () => {
    raw.off('close', over)
    socket.off('close', over)
  }
  const over = () => {
    stop()
    run()
  }
  if (raw.destroyed || socket.destroyed) {
    run()
    return () => {}
  }
  // As many as are pipelined.
  socket.setMaxListeners(0)
  raw.once('close', over)
  socket.once('close', over)
  return stop
}

function whenClosed(stream: ServerHttp2Stream | undefined, run: () => void): () => void {
  if (stream === undefined || stream.destroyed) {
    run()
    return () => {}
  }
  stream.once('close', run)
  return () => stream.off('close', run)
}
