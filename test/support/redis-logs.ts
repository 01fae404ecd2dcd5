// Opens logs on a Redis of any kind for tests.

import { randomBytes } from 'node:crypto'
import type { Test } from 'tap'
import { RedisLog, type RedisLogOptions } from '../../services/broker/log/redis/log.ts'
import { logContract, type MakeLog, RETENTION, retentionIn } from '../contract/log.ts'
import { logActsContract } from '../contract/log-acts.ts'

export const silent = { debug() {}, info() {}, warn() {} }

/** Options of an isolated log, unless `more` overrides that. */
export const redisLogOptions = (url: string, more: Partial<RedisLogOptions> = {}): RedisLogOptions => ({
  url,
  // Within the rights of infra/redis.acl.
  prefix: `fw:t${randomBytes(6).toString('hex')}`,
  retentionOf: () => RETENTION,
  idempotencyWindow: 60_000,
  timeout: 10_000,
  logger: silent,
  ...more,
})

/** Opens a log that is closed when the test ends. */
export async function openRedisLog(t: Test, options: RedisLogOptions): Promise<RedisLog> {
  const log = new RedisLog(options)
  t.teardown(() => log.close())
  await log.open()
  return log
}

/** The contract of every engine, on logs with these options, overridden by the contract's own. */
export function redisContract(
  t: Test,
  engine: string,
  options: (more: Partial<RedisLogOptions>) => RedisLogOptions,
): void {
  const make: MakeLog = async settings => {
    const { idempotencyWindow = 60_000 } = settings
    const log = new RedisLog(options({ retentionOf: retentionIn(settings), idempotencyWindow }))
    await log.open()
    return log
  }
  logContract(t, engine, make)
  logActsContract(t, engine, make)
}

/** Whether a probe is answered. */
export const works = (log: RedisLog): Promise<boolean> =>
  log.probe().then(
    () => true,
    () => false,
  )
