// pusher-js, with the plugin, behind two nodes with their log in Redis: it resumes on the other node and after a restart,
// and reads what the library for servers publishes on either.

import t from 'tap'
import { resume } from '../../client/pusher.ts'
import { RedisLog } from '../../services/broker/log/redis/log.ts'
import { configOf, type Node, startNode } from '../contract/node.ts'
import { startFaultyProxy } from '../support/faulty-proxy.ts'
import { appsFile, clientsOf } from '../support/pusher.ts'
import { redisLogOptions } from '../support/redis-logs.ts'
import { startRedis } from '../support/redis-server.ts'
import { until } from '../support/until.ts'

const redis = await startRedis()
t.teardown(() => redis.stop())
const apps = appsFile()
const { prefix = '' } = redisLogOptions(redis.url)
const start = () =>
  startNode(
    configOf({ PUSHER_APPS: apps }),
    ({ history, idempotencyWindow }) =>
      new RedisLog(redisLogOptions(redis.url, { prefix, retentionOf: () => history, idempotencyWindow })),
  )
let [one, other] = await Promise.all([start(), start()])
t.teardown(() => Promise.all([one.close(), other.close()]))

t.test('a client resumes on another node and after a restart', async t => {
  const proxy = await startFaultyProxy(one.port)
  const { connect, subscribed, disconnect } = clientsOf(Number(new URL(proxy.url).port))
  t.teardown(() => {
    disconnect()
    proxy.close()
  })
  const { client } = connect('ann')
  resume(client)
  const read: unknown[] = []
  const channel = await subscribed(client, 'private-log')
  channel.bind('n', (n: unknown) => read.push(n))
  const publish = (node: Node, n: number) => clientsOf(node.port).server.trigger('private-log', 'n', n)
  await publish(other, 1)
  await until('the first event is read', () => read.length === 1)
  const moveTo = async (node: Node, n: number) => {
    const lost = new Promise(resolve => client.connection.bind('connecting', resolve))
    proxy.target = () => node.port
    proxy.cut()
    await publish(node, n)
    await lost
    await until(`event ${n} is read`, () => read.length === n)
  }
  await moveTo(other, 2)
  await one.close()
  one = await start()
  await moveTo(one, 3)
  t.strictSame(read, [1, 2, 3])
})
