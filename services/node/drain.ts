// Stops a node so that nobody loses anything: not ready first, then deaf to newcomers, then goodbyes spread over
// time, then the end. And ends, one by one, connections that have become too old.

import { Server } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { FanwireError } from '../errors.ts'
import { lastsUntil } from '../broker/fanout/hub.ts'
import type { Operations } from '../http/operations.ts'
import { isHandshake } from '../http/node/upgrades.ts'
import { answerAndClose, connectionOf, isSending, whenOver } from '../http/exchange.ts'

/** Requests that are being answered when all goodbyes are said have this long, ms. */
const LAST_ANSWERS = 2500

/** Requests that are being answered. */
class InFlight {
  #count = 0
  #empty: (() => void) | undefined
  #ended = false
  readonly #partings: (() => Promise<unknown>)[] = []

  readonly begun = (): void => {
    this.#count++
  }

  readonly done = (): void => {
    this.#count--
    if (this.#count === 0) this.#empty?.()
  }

  /** Nothing new is begun. */
  get ended(): boolean {
    return this.#ended
  }

  /** Adds what brings requests to an end that would go on by themselves; it returns when they are over. */
  partsWith(parting: () => Promise<unknown>): void {
    this.#partings.push(parting)
  }

  /** From now on nothing new is begun. Returns when what would go on is over. */
  async end(): Promise<void> {
    this.#ended = true
    await Promise.all(this.#partings.map(parting => parting()))
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
    /** What FANWIRE_METRICS_PORT serves. */
    readonly operations?: Operations
  }
}

/** Whether the connection of a request has lasted as long as it may, where that has an end. */
function ages(app: FastifyInstance, maxAge: number): (request: FastifyRequest) => boolean {
  if (maxAge === 0) return () => false
  const until = new WeakMap<object, number>()
  app.protocols.each(connection => void until.set(connection, lastsUntil(maxAge)))
  return request => {
    const connection = connectionOf(request)
    return connection !== undefined && Date.now() >= (until.get(connection) ?? Number.POSITIVE_INFINITY)
  }
}

/** Counts requests in flight, and tells clients of a stopping node, or an old connection, not to keep it. */
export const stopping = fp(
  async app => {
    const { health, config } = app.fanwire
    const isOld = ages(app, config.maxAge)
    const inFlight = new InFlight()
    app.decorate('inFlight', inFlight)

    app.addHook('onRequest', (request, reply, next) => {
      if (inFlight.ended && request.routeOptions.config?.always !== true) {
        return next(new FanwireError('FW_DRAINING', 'the node is stopping: connect again, to another one'))
      }
      if (!isHandshake(request.raw)) {
        inFlight.begun()
        whenOver(request, reply, inFlight.done)
      }
      next()
    })
    app.addHook('onSend', (request, reply, _payload, next) => {
      if ((health.draining || isOld(request)) && !isSending(request)) answerAndClose(request, reply)
      next()
    })
  },
  { name: 'fanwire-stopping', dependencies: ['fanwire-protocols'], fastify: '5.x' },
)

/** How long a stop takes, ms, beyond which come some 3 s at most. */
export interface DrainTimes {
  /** Not ready, but listening, for load balancers to notice. */
  readonly notice: number
  /** Goodbyes, once nobody can come any more. */
  readonly spread: number
}

/** Closes the listener, all connections, then the server, and lets go of the log. */
export async function drain(app: FastifyInstance, { notice, spread }: DrainTimes): Promise<void> {
  const { health, hub, log } = app.fanwire
  health.drain()
  if (notice > 0) await wait(notice)
  // Not as an http.Server: that would cut idle connections, over which a proxy may be sending a request just now.
  // They are told not to be kept with their next answer.
  for (const listener of app.protocols.listeners) Server.prototype.close.call(listener)
  await hub.drain(spread)
  // To sessions that no answer told; unlike `Connection: close` this is safe while a request is on its way.
  app.protocols.goAway()
  await Promise.all([app.inFlight.end(), app.inFlight.answered(LAST_ANSWERS), hub.gone(LAST_ANSWERS)])
  const closed = app.close()
  // The server waits for sockets that it handed over (WebSocket), but does not close them.
  for (const socket of app.sockets) socket.destroy()
  await closed
  // To the last: whoever measures the stop asks there.
  await app.operations?.close()
  health.close()
  hub.close()
  await log.close()
}
