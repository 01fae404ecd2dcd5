// How many connections a node holds. Beyond FANWIRE_MAX_CONNECTIONS a new one is told so and closed, while
// health and metrics are still answered; some way above that, sockets are dropped unheard.

import type { Socket } from 'node:net'
import fp from 'fastify-plugin'
import { FanwireError } from '../errors.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The server's open sockets, whatever they speak by now. */
    readonly sockets: ReadonlySet<Socket>
  }
}

/** Sockets above the limit that are still accepted, to be told. */
const ABOVE = (limit: number) => Math.max(32, Math.ceil(limit * 0.05))

export const limits = fp(
  async app => {
    const { metrics, config } = app.fanwire
    const limit = config.maxConnections
    const most = limit + ABOVE(limit)
    const excess = new WeakSet<Socket>()
    const sockets = new Set<Socket>()
    app.decorate('sockets', sockets)

    const closed = function (this: Socket) {
      sockets.delete(this)
    }
    app.server.on('connection', (socket: Socket) => {
      if (sockets.has(socket)) return // One that was given back (upgrades.ts).
      if (sockets.size >= most) {
        metrics.connectionRefused()
        return void socket.destroy()
      }
      sockets.add(socket)
      socket.once('close', closed)
      if (sockets.size > limit) excess.add(socket)
    })
    // A socket that a worker refuses in this way the primary offers to the next one: round and round if all are full.
    if (config.workers === 1) app.server.maxConnections = most
    app.server.on('drop', () => metrics.connectionRefused())
    metrics.countSockets(() => sockets.size)

    app.addHook('onRequest', async (request, reply) => {
      const { socket } = request.raw
      if (!excess.has(socket)) return
      // Others have left: there is room by now.
      if (sockets.size <= limit) return void excess.delete(socket)
      reply.header('connection', 'close')
      if (request.routeOptions.config?.always === true) return
      metrics.connectionRefused()
      throw new FanwireError(
        'FW_TOO_MANY_CONNECTIONS',
        `the node holds ${limit} connections; try again later`,
      )
    })
  },
  { name: 'fanwire-limits', fastify: '5.x' },
)
