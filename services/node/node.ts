// What one process serves: the log, the roles, listening, and how it ends.

import { lookup } from 'node:dns/promises'
import { readFileSync } from 'node:fs'
import closeWithGrace, { type Signals } from 'close-with-grace'
import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import { pino } from 'pino'
import pretty from 'pino-pretty'
import type { Config } from '../config/config.ts'
import { edge } from '../wires/edge.ts'
import { Hub } from '../broker/fanout/hub.ts'
import { CertificateRefused } from '../http/certificate.ts'
import { createContext, type Workers } from '../http/context.ts'
import { drain, type DrainTimes } from './drain.ts'
import { Health } from '../http/health.ts'
import { Metrics } from '../http/metrics.ts'
import { Operations } from '../http/operations.ts'
import { buildServer } from '../http/server.ts'
import { type ChannelLog, LogRefused, LogUnavailable } from '../broker/log/log.ts'
import { MemoryLog } from '../broker/log/memory.ts'
import { writer } from '../publish/index.ts'

/** Beyond the times of draining, ms: then the process ends, come what may. */
const STOP_WITHIN = 5000

/** A stop takes no longer than this, ms. */
export function stopsWithin({ drain, drainNotice }: Pick<Config, 'drain' | 'drainNotice'>): number {
  return drain + drainNotice + STOP_WITHIN
}

/** Connections that the kernel holds until they are accepted: as many as may come back at once after a fault. */
const BACKLOG = 4096

/** `worker`, and the process id, are in every line of one. */
export function createLogger({ logLevel }: Config, worker?: number): FastifyBaseLogger {
  const redact = (request: { method?: string; url?: string }) => ({
    method: request.method,
    path: request.url?.split('?', 1)[0],
  })
  const options = {
    level: logLevel,
    base: worker === undefined ? null : { worker, pid: process.pid },
    serializers: { req: redact },
  }
  return process.stdout.isTTY
    ? pino(options, pretty({ colorize: true, sync: true, ignore: 'reqId', translateTime: 'HH:MM:ss.l' }))
    : pino(options)
}

async function createLog(config: Config, logger: FastifyBaseLogger): Promise<ChannelLog> {
  const { redisUrl: url, redisPrefix: prefix, history: retention, idempotencyWindow, logTimeout } = config
  if (url === undefined) return new MemoryLog({ retention, idempotencyWindow })
  const { RedisLog } = await import('../broker/log/redis/log.ts')
  return new RedisLog({
    url,
    prefix,
    retention,
    idempotencyWindow,
    timeout: logTimeout,
    logger,
    certificates: {
      ca: readPem('FANWIRE_REDIS_TLS_CA', config.redisTlsCa),
      cert: readPem('FANWIRE_REDIS_TLS_CERT', config.redisTlsCert),
      key: readPem('FANWIRE_REDIS_TLS_KEY', config.redisTlsKey),
    },
    sentinelLogin: { username: config.sentinelUsername, password: config.sentinelPassword },
  })
}

/** The file that a setting names. Raises LogRefused. */
function readPem(setting: string, path: string | undefined): Buffer | undefined {
  if (path === undefined) return undefined
  try {
    const pem = readFileSync(path)
    if (pem.includes('-----BEGIN ')) return pem
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new LogRefused(`${setting}: ${path} can not be read: ${code}`)
  }
  throw new LogRefused(`${setting}: ${path} is not in PEM`)
}

/** A node that can deliver, and does not listen yet. Raises LogUnavailable, LogRefused. */
export async function start(
  config: Config,
  logger: FastifyBaseLogger,
  workers?: Workers,
): Promise<FastifyInstance> {
  const log = await createLog(config, logger)
  await log.open()
  const hub = new Hub(log, { ...config, retention: config.history })
  const health = new Health(log, logger)
  const metrics = new Metrics({ hub, health, log })
  const context = createContext({ config, log, hub, health, metrics, workers })
  const app = buildServer(context, logger)
  if (config.metricsPort !== undefined) app.decorate('operations', new Operations(context, logger))
  if (config.role !== 'writer') await app.register(edge)
  if (config.role !== 'edge') await app.register(writer)
  await app.ready()
  hub.start()
  health.start()
  try {
    await health.proved(2 * config.logTimeout)
  } catch (error) {
    await app.close()
    health.close()
    hub.close()
    await log.close()
    throw error
  }
  return app
}

/** Settings that are ports. */
type Ports = 'port' | 'h2cPort' | 'metricsPort'

/** One address: for a name that has two, Fastify would make a second server, which not all plugins know of. */
export async function addressOf(host: string): Promise<string> {
  return (await lookup(host)).address
}

/** Listens, and returns the address as a URL, behind those of further ports. */
export async function listen(
  app: FastifyInstance,
  { host, port, h2cPort, metricsPort, tlsCert }: Pick<Config, 'host' | 'tlsCert' | Ports>,
): Promise<string> {
  const address = await addressOf(host)
  // First, since whoever starts the node takes PORT for the last to be bound.
  const h2c = await app.protocols.listen(address, h2cPort ?? 0, BACKLOG)
  if (h2c !== undefined) app.log.info({ address: urlOf(address, h2c) }, 'cleartext HTTP/2')
  const operations = await app.operations?.listen(address, metricsPort ?? 0, BACKLOG)
  if (operations !== undefined) app.log.info({ address: urlOf(address, operations) }, 'metrics and health')
  // Fastify would log a line of its own for each address.
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

const AT_ONCE: DrainTimes = { notice: 0, spread: 0 }

/** What a process serves, once it has begun. */
export interface Serving {
  app?: FastifyInstance
}

/**
 * From now on a signal or a fault drains what is served, if any is, and ends the process; so does `close`
 * of what is returned. Signals in `skip` are left alone.
 */
export function endWithGrace(
  config: Config,
  logger: FastifyBaseLogger,
  serving: Serving,
  skip: Signals[] = [],
): { close(): void } {
  const times: DrainTimes = { notice: config.drainNotice, spread: config.drain }
  return closeWithGrace({ delay: stopsWithin(config), logger, skip }, async ({ signal, err }) => {
    if (err) logger.fatal({ err }, 'a fault: the process ends')
    else logger.info({ signal }, signal ? `${signal}: stopping` : 'stopping')
    if (serving.app !== undefined) await drain(serving.app, err ? AT_ONCE : times)
    if (!err) logger.info('stopped')
  })
}

/** Which setting chose a port. */
function settingOf(port: number, { h2cPort, metricsPort }: Pick<Config, Ports>): string {
  if (port !== 0 && port === h2cPort) return 'FANWIRE_H2C_PORT'
  return port !== 0 && port === metricsPort ? 'FANWIRE_METRICS_PORT' : 'PORT'
}

/** What is wrong, and what to do about it, in one line. */
export function explain(error: unknown, config: Pick<Config, 'host' | Ports>): string {
  if (!(error instanceof Error)) return String(error)
  const { host } = config
  // The log's messages name the Redis that they are about.
  if (error instanceof LogUnavailable) {
    if (error.reason !== 'unreachable') return `the log can not be used yet: ${error.message}`
    return `the log can not be reached: ${error.message}; start it, or correct REDIS_URL`
  }
  if (error instanceof LogRefused) return `the log can not be used: ${error.message}`
  if (error instanceof CertificateRefused) return error.message
  const { code, port = config.port } = error as NodeJS.ErrnoException & { port?: number }
  const setting = settingOf(port, config)
  switch (code) {
    case 'EADDRINUSE':
      return `port ${port} of ${host} is in use: stop what listens there, or choose another with ${setting} (0: any free one)`
    case 'EACCES':
      return `port ${port} needs more rights than this user has: choose one above 1023 with ${setting}`
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `HOST is ${host}, which is no address of this machine: 127.0.0.1 is for itself, 0.0.0.0 for all`
    default:
      return error.stack ?? error.message
  }
}
