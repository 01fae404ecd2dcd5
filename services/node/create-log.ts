// The only place that chooses the log's engine.

import { readFileSync } from 'node:fs'
import type { FastifyBaseLogger } from 'fastify'
import { attendedIn } from '../broker/event/names.ts'
import { type ChannelLog, LogRefused, type RetentionOf } from '../broker/log/log.ts'
import { MemoryLog } from '../broker/log/memory.ts'
import type { Config } from '../config/config.ts'

export async function createLog(
  config: Config,
  retentionOf: RetentionOf,
  logger: FastifyBaseLogger,
): Promise<ChannelLog> {
  const { redisUrl: url, redisPrefix: prefix, data: folder, fsync, idempotencyWindow, logTimeout } = config
  if (folder !== undefined) {
    const { FileLog } = await import('../broker/log/file/log.ts')
    // Members are in the node's memory. After a restart, readers of joins and leaves have to request the members again.
    const beginsAnew = (channel: string) => attendedIn(channel) !== undefined
    return new FileLog({ folder, fsync, retentionOf, idempotencyWindow, logger, beginsAnew })
  }
  if (url === undefined) return new MemoryLog({ retentionOf, idempotencyWindow })
  const { RedisLog } = await import('../broker/log/redis/log.ts')
  return new RedisLog({
    url,
    prefix,
    retentionOf,
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
    throw new LogRefused(`${setting}: ${path} cannot be read: ${code}`)
  }
  throw new LogRefused(`${setting}: ${path} is not in PEM format`)
}
