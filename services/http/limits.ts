// The limit of a node's connections. Beyond FANWIRE_MAX_CONNECTIONS, a new one receives an error and is closed, while
// health and metrics are still served. Far above that, sockets are dropped without a response.

import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { FanwireError } from '../errors.ts'
import { unansweredOn } from './node/pipelining.ts'
import { answerAndClose, connectionOf, http2StreamOf } from './exchange.ts'
import { sessionOf } from './sessions.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The node's open TCP sockets, whatever protocol they speak. */
    readonly sockets: ReadonlySet<Socket>
  }
}

/** Sockets above the limit that are still accepted, to receive the error. */
const ABOVE = (limit: number) => Math.max(32, Math.ceil(limit * 0.05))

/** The number of requests on this request's connection. */
function heldBy(request: FastifyRequest): number {
  return sessionOf(http2StreamOf(request))?.begun ?? unansweredOn(request.raw.socket)
}

export const limits = fp(
  async app => {
    const { metrics, config } = app.fanwire
    const { protocols } = app
    const limit = config.maxConnections
    const most = limit + ABOVE(limit)
    const excess = new WeakSet<object>()
    const sockets = new Set<Socket>()
    // Concurrent requests of one connection count like connections.
    const held = () => sockets.size + protocols.beyond
    app.decorate('sockets', sockets)

    const closed = function (this: Socket) {
      sockets.delete(this)
    }
    const accept = (socket: Socket) => {
      // A socket that was given back (upgrades.ts).
      if (sockets.has(socket) || socket instanceof TLSSocket) return
      if (sockets.size >= most) {
        metrics.connectionRefused()
        return void socket.destroy()
      }
      sockets.add(socket)
      socket.once('close', closed)
    }
    for (const listener of protocols.listeners) {
      listener.on('connection', accept)
      // With workers, the primary would offer a refused socket to the next worker, endlessly if all are full.
      if (config.workers === 1) listener.maxConnections = most
      listener.on('drop', () => metrics.connectionRefused())
    }
    protocols.each(connection => {
      if (held() > limit) excess.add(connection)
    })
    metrics.countSockets(() => sockets.size)

    app.addHook('onRequest', (request, reply, next) => {
      const connection = connectionOf(request)
      if (connection === undefined) return next()
      if (excess.has(connection)) {
        if (held() <= limit) {
          // There is room now, since others have left.
          excess.delete(connection)
          return next()
        }
        answerAndClose(request, reply)
      } else if (held() <= most || heldBy(request) <= 1) return next()
      if (request.route.always === true) return next()
      metrics.connectionRefused()
      throw new FanwireError(
        'FW_TOO_MANY_CONNECTIONS',
        `the node holds ${limit} connections; try again later`,
      )
    })
  },
  { name: 'fanwire-limits', dependencies: ['fanwire-protocols'], fastify: '5.x' },
)
