// A client that ends its side of the connection after a request still receives its response (RFC 9112 section 9.6). If it
// is gone instead, its system refuses the node's bytes, which the next write reports.
//
// Relies on: `httpAllowHalfOpen` of Node's HTTP server. Tried on Node 20.19, 20.20, 22.23, 24.21 and 26.10.

import type { FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'

/** The interval of probes while a request is held after the client has ended its side, ms. */
const PROBE_MS = 5000
/** The delay before the second write, ms: the first one makes the client's system refuse, the second one reports that. */
const AGAIN_MS = 100

export const halfOpen = fp(
  async app => {
    Object.assign(app.server, { httpAllowHalfOpen: true })
  },
  { name: 'fanwire-half-open', fastify: '5.x' },
)

/**
 * While a request is held, finds out whether a client that has ended its side is still there, by a write that every
 * client ignores: an interim response (RFC 9110 section 15.2), which HTTP/1.0 does not have; once the response has begun,
 * `ignored`, if its format has such text. Returns a function that stops it.
 */
export function probeWhileHeld(
  { raw: request }: FastifyRequest,
  { raw: response }: FastifyReply,
  ignored?: string,
): () => void {
  if (request.httpVersion !== '1.1') return () => {}
  const { socket } = request
  const timers: NodeJS.Timeout[] = []
  const probe = () => {
    // A pipelined response that waits has no socket.
    if (response.socket === null || response.writableEnded) return
    if (!response.headersSent) response.writeContinue()
    else if (ignored !== undefined) response.write(ignored)
  }
  // The refusal goes unnoticed in between, since a socket that has ended is not read.
  const ended = () => {
    timers[0] = setInterval(() => {
      probe()
      timers[1] = setTimeout(probe, AGAIN_MS).unref()
    }, PROBE_MS).unref()
  }
  if (socket.readableEnded) ended()
  else socket.once('end', ended)
  return () => {
    socket.off('end', ended)
    for (const timer of timers) clearTimeout(timer)
  }
}
