// Members in Redis: a single server, a master behind sentinels, and a cluster.

import t, { type Test } from 'tap'
import { RedisMembers } from '../../services/broker/presence/redis.ts'
import { crowdContract, membersContract } from '../contract/members.ts'
import { startCluster, startSentinel } from '../support/redis-groups.ts'
import { openRedisLog, redisLogOptions } from '../support/redis-logs.ts'
import { startRedis } from '../support/redis-server.ts'

const redis = await startRedis({ acl: true })
const sentinel = await startSentinel(1, 'secret')
const cluster = await startCluster(3)
t.teardown(() => Promise.all([redis, sentinel, cluster].map(each => each.stop())))

const crowded = async (t: Test) => {
  const log = await openRedisLog(t, redisLogOptions(redis.url))
  return { log, store: new RedisMembers(log) }
}
crowdContract(t, 'redis', crowded, 15_000)

for (const [engine, { url }] of Object.entries({ redis, sentinel, cluster })) {
  membersContract(t, engine, async t => {
    const log = await openRedisLog(t, redisLogOptions(url))
    return { log, store: new RedisMembers(log) }
  })
}
