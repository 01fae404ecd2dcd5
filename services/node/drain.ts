// Graceful shutdown without losses: first not ready, then no new clients, then the connections end, spread over time,
// then the server closes.

import { Server } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { closeParts } from './cluster.ts'
import type { Operations } from '../http/operations.ts'

/** How long requests in flight may take after all connections were asked to leave, ms. */
const LAST_ANSWERS_MS = 2500

declare module 'fastify' {
  interface FastifyInstance {
    /** The server of FANWIRE_METRICS_PORT. */
    readonly operations?: Operations
  }
}

/** How long a stop takes, ms. Closing adds at most about 3 s. */
export interface DrainTimes {
  /** How long the node is not ready but still listens, so that load balancers notice. */
  readonly notice: number
  /** The time over which connections are ended, once no new ones can arrive. */
  readonly spread: number
}

/** Closes the listener, all connections, then the server, and the log. */
export async function drain(app: FastifyInstance, { notice, spread }: DrainTimes): Promise<void> {
  const { health, hub } = app.fanwire
  health.drain()
  if (notice > 0) await wait(notice)
  // http.Server's own close would cut idle connections, over which a proxy may be sending a request at this moment. Their
  // next response asks the client not to keep them.
  for (const listener of app.protocols.listeners) Server.prototype.close.call(listener)
  await hub.connections.drain(spread)
  // Serves sessions without a further response. Unlike `Connection: close`, it is safe while a request is in flight.
  app.protocols.goAway()
  await Promise.all([
    app.inFlight.end(),
    app.inFlight.answered(LAST_ANSWERS_MS),
    hub.connections.gone(LAST_ANSWERS_MS),
  ])
  const closed = app.close()
  // The server waits for sockets that it handed over (WebSocket), but does not close them.
  for (const socket of app.sockets) socket.destroy()
  await closed
  // Closed last, since it is used to monitor the stop.
  await app.operations?.close()
  await closeParts(app.fanwire)
}
