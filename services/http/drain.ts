// Stops a node so that nobody loses anything: not ready first, then goodbyes spread over time, then the end.

import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { FanwireError } from '../errors.ts'
import { whenOver } from './over.ts'

/** Requests that are being answered when all goodbyes are said have this long, ms. */
const LAST_ANSWERS = 2500

/** Requests that are being answered. */
class InFlight {
  #count = 0
  #empty: (() => void) | undefined
  /** Nothing new is begun. */
  ended = false

  readonly begun = (): void => {
    this.#count++
  }

  readonly done = (): void => {
    this.#count--
    if (this.#count === 0) this.#empty?.()
  }

  /** Returns when all are answered, or after `ms`. */
  async answered(ms: number): Promise<void> {
    if (this.#count === 0) return
    await new Promise<void>(resolve => {
      const timer = setTimeout(resolve, ms)
      this.#empty = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }
}

declare module 'fastify' {
  interface FastifyInstance {
    inFlight: InFlight
  }
}

/** Counts requests in flight, and tells clients of a stopping node not to keep their connection. */
export const stopping = fp(
  async app => {
    const { health } = app.fanwire
    const inFlight = new InFlight()
    app.decorate('inFlight', inFlight)

    app.addHook('onRequest', (request, reply, next) => {
      if (inFlight.ended && request.routeOptions.config?.always !== true) {
        return next(new FanwireError('FW_DRAINING', 'the node is stopping: connect again, to another one'))
      }
      if (request.headers.upgrade === undefined) {
        inFlight.begun()
        whenOver(request, reply, inFlight.done)
      }
      next()
    })
    app.addHook('onSend', (_request, reply, _payload, next) => {
      if (health.draining) reply.header('connection', 'close')
      next()
    })
  },
  { name: 'fanwire-stopping', fastify: '5.x' },
)

/** Within `spread` ms and some 3 s more: closes all connections, then the server, and lets go of the log. */
export async function drain(app: FastifyInstance, spread: number): Promise<void> {
  const { health, hub, log } = app.fanwire
  health.drain()
  await hub.drain(spread)
  app.inFlight.ended = true
  await app.inFlight.answered(LAST_ANSWERS)
  const closed = app.close()
  // The server waits for sockets that it handed over (WebSocket), but does not close them.
  for (const socket of app.sockets) socket.destroy()
  await closed
  health.close()
  hub.close()
  await log.close()
}
