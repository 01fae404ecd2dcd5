// A client that ends its side of the connection after a request still gets its response (RFC 9112 section 9.6): that it
// has nothing more to send does not mean that it is gone. If it is, its system refuses the node's bytes, which the next
// write then reports.
//
// Relies on: `httpAllowHalfOpen` of Node's HTTP server. Tried on Node 20.19, 20.20, 22.23, 24.21 and 26.10.

import type { FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'

/**
 * How often a client whose request is held is written to once it has ended its side, ms: most ends are answered sooner.
 */
const PROBE_MS = 5000
/** Ms until the second write: the first one makes the client's system refuse, the second one reports that. */
const AGAIN_MS = 100

export const halfOpen = fp(
  async app => {
    Object.assign(app.server, { httpAllowHalfOpen: true })
  },
  { name: 'fanwire-half-open', fastify: '5.x' },
)

/**
 * While a request is held, finds out whether a client that has ended its side is still there, by a write that every
 * client ignores: an interim response (RFC 9110 section 15.2), which HTTP/1.0 does not have. Returns a function that
 * stops it.
 */
export function probeWhileHeld(
  { raw: request }: FastifyRequest,
  { raw: response }: FastifyReply,
): () => void {
  if (request.httpVersion !== '1.1') return () => {}
  const { socket } = request
  const timers: NodeJS.Timeout[] = []
  const probe = () => {
    // A response that waits behind another (pipelining) has no socket.
    if (response.socket !== null && !response.headersSent) response.writeContinue()
  }
  // Nothing that the client's system sends is noticed in between, for what has ended is not read.
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
