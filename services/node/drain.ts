// Stops a node so that nobody loses anything: not ready first, then deaf to newcomers, then goodbyes spread over
// time, then the end.

import { Server } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { closeParts } from './cluster.ts'
import type { Operations } from '../http/operations.ts'

/** Requests that are being answered when all goodbyes are said have this long, ms. */
const LAST_ANSWERS = 2500

declare module 'fastify' {
  interface FastifyInstance {
    /** What FANWIRE_METRICS_PORT serves. */
    readonly operations?: Operations
  }
}

/** How long a stop takes, ms, beyond which come some 3 s at most. */
export interface DrainTimes {
  /** Not ready, but listening, for load balancers to notice. */
  readonly notice: number
  /** Goodbyes, once nobody can come any more. */
  readonly spread: number
}

/** Closes the listener, all connections, then the server, and lets go of the log. */
export async function drain(app: FastifyInstance, { notice, spread }: DrainTimes): Promise<void> {
  const { health, hub } = app.fanwire
  health.drain()
  if (notice > 0) await wait(notice)
  // Not as an http.Server: that would cut idle connections, over which a proxy may be sending a request just now.
  // They are told not to be kept with their next answer.
  for (const listener of app.protocols.listeners) Server.prototype.close.call(listener)
  await hub.connections.drain(spread)
  // To sessions that no answer told; unlike `Connection: close` this is safe while a request is on its way.
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
  // To the last: whoever measures the stop asks there.
  await app.operations?.close()
  await closeParts(app.fanwire)
}
