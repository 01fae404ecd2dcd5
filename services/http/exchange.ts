// Detects when a request is over (its response was sent, or its client is gone), and asks a client to close its
// connection.

import { Http2ServerRequest, type ServerHttp2Stream } from 'node:http2'
import type { FastifyReply, FastifyRequest } from 'fastify'

/** The HTTP/2 stream of a request; undefined over HTTP/1, and once it is gone. */
export function http2StreamOf({ raw }: FastifyRequest): ServerHttp2Stream | undefined {
  return (raw as { stream?: ServerHttp2Stream }).stream
}

/** Whether a request came over HTTP/2. Ignores the version in the request line, which an HTTP/1 client can choose. */
export function isHttp2({ raw }: FastifyRequest): boolean {
  return raw instanceof Http2ServerRequest
}

/** Identifies a request's connection: its HTTP/2 session, or its socket. Undefined once that is gone. */
export function connectionOf(request: FastifyRequest): object | undefined {
  return isHttp2(request) ? http2StreamOf(request)?.session : request.raw.socket
}

/** Whether the body of an HTTP/1 request is still arriving: closing now would reset the connection of a busy client. */
export function isSending(request: FastifyRequest): boolean {
  const { raw, headers } = request
  if (raw.complete || isHttp2(request)) return false
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0
}

/** Asks the client, with this response, not to send more requests over this connection. */
export function answerAndClose(request: FastifyRequest, reply: FastifyReply): void {
  if (!isHttp2(request)) return void reply.header('connection', 'close')
  const session = http2StreamOf(request)?.session
  // GOAWAY (RFC 9113 section 6.8): requests in flight on the session are still answered.
  // Deferred, since closing a session within Node's own read callback corrupts memory (Node 20).
  setImmediate(() => session?.closed || session?.destroyed || session?.close())
}

/**
 * Calls `run` once, as soon as the request is over, or at once if it already is. Node does not report a lost connection
 * to a pipelined response that waits, so the socket is watched as well. Returns a function that cancels the call.
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
  // There may be a listener for each pipelined request.
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
