#!/usr/bin/env node
// The process: settings, the log, the roles, listening, and how it ends.

import { lookup } from 'node:dns/promises'
import closeWithGrace from 'close-with-grace'
import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import { pino } from 'pino'
import pretty from 'pino-pretty'
import { type Config, ConfigError, readConfig, VERSION } from './config.ts'
import { edge } from './edge/app.ts'
import { Hub } from './fanout/hub.ts'
import { createContext } from './http/context.ts'
import { drain } from './http/drain.ts'
import { Health } from './http/health.ts'
import { Metrics } from './http/metrics.ts'
import { buildServer } from './http/server.ts'
import { type ChannelLog, LogRefused, LogUnavailable } from './log/log.ts'
import { MemoryLog } from './log/memory-log.ts'
import { writer } from './writer/app.ts'

/** Beyond the spread of goodbyes, ms: then the process ends, come what may. */
const STOP_WITHIN = 5000

/** Connections that the kernel holds until they are accepted: as many as may come back at once after a fault. */
const BACKLOG = 4096

/** Exit codes: what was asked for can't be, and what is wrong with how it was asked. */
const FAILED = 1
const MISUSED = 2

function createLogger({ logLevel }: Config): FastifyBaseLogger {
  const redact = (request: { method?: string; url?: string }) => ({
    method: request.method,
    path: request.url?.split('?', 1)[0],
  })
  const options = { level: logLevel, base: null, serializers: { req: redact } }
  return process.stdout.isTTY
    ? pino(options, pretty({ colorize: true, sync: true, ignore: 'reqId', translateTime: 'HH:MM:ss.l' }))
    : pino(options)
}

async function createLog(config: Config, logger: FastifyBaseLogger): Promise<ChannelLog> {
  const { redisUrl: url, redisPrefix: prefix, history: retention, idempotencyWindow, logTimeout } = config
  if (url === undefined) return new MemoryLog({ retention, idempotencyWindow })
  const { RedisLog } = await import('./log/redis-log.ts')
  return new RedisLog({ url, prefix, retention, idempotencyWindow, timeout: logTimeout, logger })
}

/** A node that can deliver, and does not listen yet. Raises LogUnavailable, LogRefused. */
async function start(config: Config, logger: FastifyBaseLogger): Promise<FastifyInstance> {
  const log = await createLog(config, logger)
  await log.open()
  const hub = new Hub(log, { ...config, retention: config.history })
  const health = new Health(log, logger)
  const metrics = new Metrics({ hub, health })
  const app = buildServer(createContext({ config, log, hub, health, metrics }), logger)
  if (config.role !== 'writer') await app.register(edge)
  if (config.role !== 'edge') await app.register(writer)
  await app.ready()
  hub.start()
  health.start()
  await health.proved(2 * config.logTimeout)
  return app
}

/** Listens, and returns the address as a URL. */
async function listen(app: FastifyInstance, { host, port }: Config): Promise<string> {
  // One address: for a name that has two, Fastify would make a second server, which not all plugins know of.
  const { address } = await lookup(host)
  // Fastify would log a line of its own for each address.
  const { level } = app.log
  app.log.level = 'silent'
  await app.listen({ host: address, port, backlog: BACKLOG })
  app.log.level = level
  const bound = app.server.address()
  if (bound === null || typeof bound === 'string') throw new Error('the server has no port')
  return `http://${address.includes(':') ? `[${address}]` : address}:${bound.port}`
}

/** What is wrong, and what to do about it, in one line. */
function explain(error: unknown, { host, port }: Config): string {
  if (!(error instanceof Error)) return String(error)
  // The log's messages name the Redis that they are about.
  if (error instanceof LogUnavailable) {
    return `the log can not be reached: ${error.message}; start it, or correct REDIS_URL`
  }
  if (error instanceof LogRefused) return `the log can not be used: ${error.message}`
  switch ((error as NodeJS.ErrnoException).code) {
    case 'EADDRINUSE':
      return `port ${port} of ${host} is in use: stop what listens there, or choose another with PORT (0: any free one)`
    case 'EACCES':
      return `port ${port} needs more rights than this user has: choose one above 1023 with PORT`
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `HOST is ${host}, which is no address of this machine: 127.0.0.1 is for itself, 0.0.0.0 for all`
    default:
      return error.stack ?? error.message
  }
}

/** On a terminal: what to paste first. */
function welcome(address: string, config: Config): string {
  const url = address.replace('//0.0.0.0:', '//127.0.0.1:').replace('//[::]:', '//[::1]:')
  const key = config.publishKeys.length === 0 ? '' : ` -H 'Authorization: Bearer <key>'`
  return [
    '',
    `  fanwire ${VERSION} on ${url}`,
    '',
    ...(config.role === 'writer' ? [] : [`  follow:   curl -N '${url}/v1/sse?channel=news'`]),
    ...(config.role === 'edge'
      ? []
      : [
          `  publish:  curl${key} -H 'Content-Type: application/json' -d '{"hello":"world"}' ${url}/v1/channels/news/events`,
        ]),
    '',
    '',
  ].join('\n')
}

function give(exitCode: number, message: string): never {
  process.stderr.write(`${message.replace(/^/gm, 'fanwire: ')}\n`)
  process.exit(exitCode)
}

function command(): Config {
  try {
    const asked = readConfig()
    if ('config' in asked) return asked.config
    process.stdout.write(`${asked.print}\n`)
    process.exit(0)
  } catch (error) {
    if (error instanceof ConfigError) give(MISUSED, error.message)
    throw error
  }
}

async function main(): Promise<void> {
  const config = command()
  const logger = createLogger(config)
  let app: FastifyInstance | undefined

  closeWithGrace({ delay: config.drain + STOP_WITHIN, logger }, async ({ signal, err }) => {
    if (err) logger.fatal({ err }, 'a fault: the process ends')
    else logger.info({ signal }, `${signal ?? 'end'}: stopping`)
    if (app !== undefined) await drain(app, err ? 0 : config.drain)
    if (!err) logger.info('stopped')
  })

  // Nothing else may keep the process alive while it waits for the log.
  const awake = setInterval(() => {}, 60_000)
  try {
    app = await start(config, logger)
    const address = await listen(app, config)
    logger.info({ address, role: config.role, log: app.fanwire.log.engine }, `listening on ${address}`)
    if (process.stdout.isTTY) process.stdout.write(welcome(address, config))
  } catch (error) {
    give(FAILED, explain(error, config))
  } finally {
    clearInterval(awake)
  }
}

await main()
