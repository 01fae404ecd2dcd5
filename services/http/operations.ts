// The server of FANWIRE_METRICS_PORT: metrics and health only. Plain HTTP/1.1, even if PORT speaks TLS.

import type { AddressInfo } from 'node:net'
import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import type { Context } from './context.ts'
import { errors } from './errors.ts'
import { health } from './health.ts'
import { methods } from './methods.ts'
import { metrics } from './metrics.ts'
import { createFastify } from './fastify.ts'
import { target } from './target.ts'

export class Operations {
  readonly #app: FastifyInstance

  constructor(context: Context, logger: FastifyBaseLogger) {
    this.#app = createFastify(context, logger)
    for (const part of [errors, target, methods, health, metrics]) this.#app.register(part)
  }

  /** Listens, and returns the port. Raises the errors of listening. */
  async listen(host: string, port: number, backlog?: number): Promise<number> {
    await this.#app.ready()
    const { server } = this.#app
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen({ host, port, backlog }, resolve)
    })
    return (server.address() as AddressInfo).port
  }

  async close(): Promise<void> {
    await this.#app.close()
  }
}
