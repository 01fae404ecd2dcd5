// Readers receive the right messages for any mix of operations, on every engine.

import t from 'tap'
import { FileLog } from '../../services/broker/log/file/log.ts'
import type { ChannelLog } from '../../services/broker/log/log.ts'
import { MemoryLog } from '../../services/broker/log/memory.ts'
import { RedisLog } from '../../services/broker/log/redis/log.ts'
import type { Config } from '../../services/config/config.ts'
import { ALL_WIRES } from '../contract/clients.ts'
import { mixContract } from '../contract/mix.ts'
import { configOf, startNode } from '../contract/node.ts'
import { folder } from '../support/folder.ts'
import { redisLogOptions, silent } from '../support/redis-logs.ts'
import { startRedis } from '../support/redis-server.ts'

const redis = await startRedis()
t.teardown(() => redis.stop())

const ENGINES: Record<string, (config: Config) => ChannelLog> = {
  memory: ({ history, idempotencyWindow }) =>
    new MemoryLog({ retentionOf: () => history, idempotencyWindow }),
  files: ({ history, idempotencyWindow }) =>
    new FileLog({
      folder: folder(t),
      fsync: 1000,
      segmentBytes: 2000,
      retentionOf: () => history,
      idempotencyWindow,
      logger: silent,
    }),
  Redis: ({ history }) => new RedisLog(redisLogOptions(redis.url, { retentionOf: () => history })),
}

const seeds = Number(process.env.SEEDS ?? 6)
const wire = ALL_WIRES.find(({ name }) => name === 'stream')
if (wire === undefined) throw new Error('no stream')
for (const [engine, create] of Object.entries(ENGINES)) {
  mixContract(t, engine, settings => startNode(configOf(settings ?? {}), create), wire, seeds)
}
