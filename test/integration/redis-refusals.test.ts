// A node that cannot use its Redis reports the real reason, not that Redis is unavailable.

import { Redis } from 'ioredis'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { CONTROL } from '../../services/broker/control/channels.ts'
import { explain } from '../../services/node/explain.ts'
import { start } from '../../services/node/node.ts'
import { readConfig } from '../../services/config/config.ts'
import { makeCertificate } from '../contract/http2.ts'
import { openRedisLog, redisLogOptions } from '../support/redis-logs.ts'
import { startRedis } from '../support/redis-server.ts'
import { until } from '../support/until.ts'

/** The log output of a node that cannot start and exits. */
async function refusal(t: Test, url: string): Promise<string> {
  const command = readConfig([], { REDIS_URL: url, FANWIRE_LOG_TIMEOUT: '5s' })
  if (!('config' in command)) throw new Error('no config')
  const printed: string[] = []
  const console = t.capture(
    globalThis.console,
    'warn',
    (...text: unknown[]) => void printed.push(text.join(' ')),
  )
  const logger = pino({}, { write: line => void printed.push(line) })
  const error = await start(command.config, logger).catch(error => error)
  console.restore()
  const said = explain(error, command.config)
  t.notMatch(`${said} ${printed}`, /ioredis|github|enableReadyCheck|enableOfflineQueue|maxRetriesPer/)
  return said
}

/** A Redis, and a client of it, until the test ends. */
async function redisAndClient(t: Test) {
  const redis = await startRedis()
  const control = new Redis(redis.url)
  t.teardown(async () => {
    control.disconnect()
    await redis.stop()
  })
  return { redis, control }
}

t.test('W7: unexpected and missing TLS are reported as such', async t => {
  const plain = await startRedis()
  const secure = await startRedis({ tls: makeCertificate() })
  t.teardown(() => Promise.all([plain.stop(), secure.stop()]))
  t.match(
    await refusal(t, plain.url.replace('redis:', 'rediss:')),
    /^the log cannot be used: Redis at .*: it does not speak TLS: .*redis, not rediss$/,
  )
  t.match(
    await refusal(t, secure.url.replace('rediss:', 'redis:')),
    /^the log cannot be used yet: Redis at .*: it closes connections .* rediss$/,
  )
})

t.test('W7: a missing right is reported as such, not as an unavailable Redis', async t => {
  const { redis, control } = await redisAndClient(t)
  for (const [rules, message] of [
    ['~* &* +@all -info', /this user may not run INFO/],
    ['~* &* +@all -script', /this user may not run SCRIPT LOAD/],
    ['~* &* +@all -subscribe', /this user may not run SUBSCRIBE/],
    ['~a* &* +@all', /NOPERM .*keys/],
    ['~* &a* +@all', /NOPERM .*channels/],
  ] as const) {
    await control.acl('SETUSER', 'some', 'reset', 'on', '>pw', ...rules.split(' '))
    const said = await refusal(t, redis.url.replace('//', '//some:pw@'))
    t.match(said, /^the log cannot be used: /)
    t.match(said, message)
    t.notMatch(said, /start it/)
  }
  await redis.stop()
  t.match(
    await refusal(t, redis.url),
    /^the log cannot be reached: .*ECONNREFUSED.*; start it, or correct REDIS_URL$/,
  )
})

t.test('a node that cannot read the stored revocations does not start', async t => {
  const { redis, control } = await redisAndClient(t)
  await control.set(`fw:{${CONTROL}}:m`, 'not a log')
  t.equal(
    await refusal(t, redis.url),
    'the log cannot be used yet: the stored commands could not be read in time',
  )
})

t.test('W7: a Redis that is loading its data is reported as such', async t => {
  const slow = ['--key-load-delay', '5000', '--loading-process-events-interval-bytes', '1024']
  const redis = await startRedis({ args: slow })
  t.teardown(() => redis.stop())
  const control = new Redis(redis.url, { enableReadyCheck: false, retryStrategy: () => 20 })
  control.on('error', () => {})
  const keys = Array.from({ length: 3000 }, (_, i) => [`key-${i}`, 'x'.repeat(100)] as const)
  await control.mset(...keys.flat())
  await control.save()
  const back = redis.restart()
  await until('it loads', async () => /LOADING/.test(await control.get('key-1').catch(String).then(String)))
  control.disconnect()
  const message = /Redis at .*: it is loading its data$/
  t.match(await refusal(t, redis.url), new RegExp(`^the log cannot be used yet: ${message.source}`))
  const log = await openRedisLog(t, redisLogOptions(redis.url, { timeout: 60_000 }))
  await log.probe()
  await back
})
