// Tracks the requests in flight. A node that stops waits for their responses, and accepts no new requests.

import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { lastsUntil } from '../broker/fanout/connections.ts'
import { FanwireError } from '../errors.ts'
import { answerAndClose, connectionOf, isSending } from './exchange.ts'
import type { Protocols } from './listeners.ts'
import type { FastifyInstance } from 'fastify'

/** Requests that are being answered. */
class InFlight {
  readonly #counted: Protocols
  #ended = false
  readonly #partings: (() => Promise<unknown>)[] = []

  constructor(counted: Protocols) {
    this.#counted = counted
  }

  /** Whether no new requests are accepted. */
  get ended(): boolean {
    return this.#ended
  }

  /** Adds a function that ends long-running requests, and returns when they are over. */
  partsWith(parting: () => Promise<unknown>): void {
    this.#partings.push(parting)
  }

  /** Stops accepting requests. Returns when long-running requests are over. */
  async end(): Promise<void> {
    this.#ended = true
    await Promise.all(this.#partings.map(parting => parting()))
  }

  /** Returns when all requests are answered, or after `ms`. */
  async answered(ms: number): Promise<void> {
    if (this.#counted.underWay === 0) return
    await new Promise<void>(resolve => {
      const timer = setTimeout(resolve, ms)
      this.#counted.onNone = () => {
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

/** Returns a function that tells whether a request's connection has reached its maximum age. */
function ages(app: FastifyInstance, maxAge: number): (request: FastifyRequest) => boolean {
  if (maxAge === 0) return () => false
  const until = new WeakMap<object, number>()
  app.protocols.each(connection => void until.set(connection, lastsUntil(maxAge)))
  return request => {
    const connection = connectionOf(request)
    return connection !== undefined && Date.now() >= (until.get(connection) ?? Number.POSITIVE_INFINITY)
  }
}

/** Tracks the requests in flight, and asks clients of a stopping node, or an old connection, not to keep it. */
export const inFlight = fp(
  async app => {
    const { health, config } = app.fanwire
    const isOld = ages(app, config.maxAge)
    const requests = new InFlight(app.protocols)
    app.decorate('inFlight', requests)

    app.addHook('onRequest', (request, _reply, next) => {
      if (requests.ended && request.route.always !== true) {
        return next(new FanwireError('FW_DRAINING', 'the node is stopping: reconnect to another node'))
      }
      next()
    })
    app.addHook('onSend', (request, reply, _payload, next) => {
      if ((health.draining || isOld(request)) && !isSending(request)) answerAndClose(request, reply)
      next()
    })
  },
  { name: 'fanwire-in-flight', dependencies: ['fanwire-protocols'], fastify: '5.x' },
)
