// Binds the ports of a node, in the order that its starter relies on.

import { lookup } from 'node:dns/promises'
import type { FastifyInstance } from 'fastify'
import type { Config } from '../config/config.ts'

/** The connections that the kernel queues until they are accepted: many may reconnect at once after a fault. */
const BACKLOG = 4096

/** Settings that are ports. */
export type Ports = 'port' | 'h2cPort' | 'metricsPort'

/** The address of a host. For a name with two, Fastify would create a second server, which not all plugins support. */
export async function addressOf(host: string): Promise<string> {
  return (await lookup(host)).address
}

/** Listens, and returns the address as a URL, after binding the other ports. */
export async function listen(
  app: FastifyInstance,
  { host, port, h2cPort, metricsPort, tlsCert }: Pick<Config, 'host' | 'tlsCert' | Ports>,
): Promise<string> {
  const address = await addressOf(host)
  // First, since the process that starts the node expects PORT to be bound last.
  const h2c = await app.protocols.listen(address, h2cPort ?? 0, BACKLOG)
  if (h2c !== undefined) app.log.info({ address: urlOf(address, h2c) }, 'cleartext HTTP/2')
  const operations = await app.operations?.listen(address, metricsPort ?? 0, BACKLOG)
  if (operations !== undefined) app.log.info({ address: urlOf(address, operations) }, 'metrics and health')
  // Fastify would log a separate line for each address.
  const { level } = app.log
  app.log.level = 'silent'
  await app.listen({ host: address, port, backlog: BACKLOG })
  app.log.level = level
  const bound = app.server.address()
  if (bound === null || typeof bound === 'string') throw new Error('the server has no port')
  return urlOf(address, bound.port, tlsCert !== undefined)
}

export function urlOf(address: string, port: number, secure = false): string {
  return `${secure ? 'https' : 'http'}://${address.includes(':') ? `[${address}]` : address}:${port}`
}
