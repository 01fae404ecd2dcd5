// When a request is over: its answer has gone out, or its client has.

import type { FastifyReply, FastifyRequest } from 'fastify'

/**
 * Calls `run` once, as soon as the request is over; before it returns where it is already. A response that waits
 * behind another on its connection (pipelining) is not told by Node that the connection is gone, so the socket
 * is listened to as well. Returns what takes it back.
 */
export function whenOver(request: FastifyRequest, reply: FastifyReply, run: () => void): () => void {
  const { socket } = request.raw
  const { raw } = reply
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
