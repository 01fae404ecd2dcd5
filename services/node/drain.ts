// Graceful shutdown without losses: first not ready, then no new clients, then the connections end, spread over time,
// then the server closes.

import { Server } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { closeParts } from './cluster.ts'
import type { Operations } from '../http/operations.ts'

/** How long requests in flight have after all connections were asked to leave, ms. */
const LAST_ANSWERS = 2500

declare module 'fastify' {
  interface FastifyInstance {
    /** The server of FANWIRE_METRICS_PORT. */
    readonly operations?: Operations
  }
}

/** How long a stop takes, ms; closing adds at most some 3 s. */
export interface DrainTimes {
  /** Not ready, but listening, so that load balancers notice. */
  readonly notice: number
  /** Ending connections, once no new ones can arrive. */
  readonly spread: number
}

/** Closes the listener, all connections, then the server, and the log. */
export async function drain(app: FastifyInstance, { notice, spread }: DrainTimes): Promise<void> {
  const { health, hub } = app.fanwire
  health.drain()
  if (notice > 0) await wait(notice)
  // Not as an http.Server: that would cut idle connections, over which a proxy may be sending a request at this moment.
  // Their next response asks the client not to keep them.
  for (const listener of app.protocols.listeners) Server.prototype.close.call(listener)
  await hub.connections.drain(spread)
  // For sessions without a further response; unlike `Connection: close` this is safe while a request is in flight.
  app.protocols.goAway()
  await Promise.all([
    app.inFlight.end(),
    app.inFlight.answered(LAST_ANSWERS),
    hub.connections.gone(LAST_ANSWERS),
  ])
  const closed = app.close()
  // The server waits for sockets that it handed over (WebSocket), but does not close them.
  for (const socket of app.sockets) socket.destroy()
  await closed
  // Last: monitoring of the stop uses it.
  await app.operations?.close()
  await closeParts(app.fanwire)
}
