// Two nodes on Redis share the limits of a user.

import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import t from 'tap'
import { RedisLog } from '../../services/broker/log/redis/log.ts'
import { reservedRetention } from '../../services/broker/control/channels.ts'
import { configOf, type Node, startNode } from '../contract/node.ts'
import { redisLogOptions } from '../support/redis-logs.ts'
import { startRedis } from '../support/redis-server.ts'
import { jwks, signToken, testKey, userClaims } from '../support/tokens.ts'
import { until } from '../support/until.ts'

const redis = await startRedis()
t.teardown(() => redis.stop())
const key = testKey('HS256')
const files = t.testdir({ 'jwks.json': '' })
writeFileSync(join(files, 'jwks.json'), jwks(key))
const reserved = reservedRetention()

function start(): Promise<Node> {
  const config = configOf({
    JWT_KEYS_FILE: join(files, 'jwks.json'),
    USER_PUBLISHES: '1/h:200',
    USER_CONNECTIONS: '3',
  })
  return startNode(config, ({ history, idempotencyWindow }) => {
    return new RedisLog(
      redisLogOptions(redis.url, {
        retentionOf: channel => reserved(channel) ?? history,
        idempotencyWindow,
        prefix: 'limits',
      }),
    )
  })
}

const caps = [{ channels: ['*'], allow: ['sub', 'pub', 'hst'] }]

function begin(node: Node, user: string, path: string, body?: string) {
  const asked = request({
    port: node.port,
    host: '127.0.0.1',
    method: body === undefined ? 'GET' : 'POST',
    path,
    headers: {
      authorization: `Bearer ${signToken(key, userClaims(user, { caps }))}`,
      'content-type': 'application/json',
    },
    agent: false,
  })
  asked.on('error', () => {})
  asked.end(body)
  return asked
}

async function statusOf(node: Node, user: string, path: string, body?: string): Promise<number> {
  const [answer] = await once(begin(node, user, path, body), 'response')
  answer.on('error', () => {})
  answer.destroy()
  return answer.statusCode
}

t.test("a user's limits apply across both nodes", async t => {
  const [a, b] = await Promise.all([start(), start()])
  t.teardown(() => Promise.all([a.close(), b.close()]))
  const { nodes } = a.app.fanwire
  await until('the nodes know each other', () => nodes.list().length === 2)
  await until('the second node knows the first', () => b.app.fanwire.nodes.list().length === 2)

  const publish = (node: Node, user = 'ada') => statusOf(node, user, '/v1/channels/c/events', '1')
  for (let i = 0; i < 200; i++) t.equal(await publish(a), 201)
  t.equal(await publish(a), 429)
  const kept = async (channel: string) => (await b.log.state(channel)).count
  await until('a has reported its usage', async () => (await kept('fanwire:usage')) > 0)
  // Without a's usage, b would accept 200. In each second, a leaves usage of up to half of its share unreported: 50.
  let taken = 0
  while ((await publish(b)) === 201 && taken < 190) taken++
  t.ok(taken < 190, `${taken} more on the other node`)
  t.equal(await publish(b, 'bob'), 201)

  const open = (node: Node) => begin(node, 'ada', '/v1/stream?channel=c')
  const held = [open(a), open(a)]
  const { holds } = b.app.fanwire.limits
  await until('b knows of both connections', () => holds.others('user', 'ada').connections === 2)
  const third = open(b)
  await until('b holds the third connection', () => holds.size === 1)
  t.equal(await statusOf(b, 'ada', '/v1/stream?channel=c'), 429)
  held[0]?.destroy()
  await until('b knows that one has left', () => holds.others('user', 'ada').connections < 2)
  const fourth = open(b)
  await until('another connection is accepted', () => holds.of('user').get('ada')?.connections === 2)
  for (const each of [...held, third, fourth]) each.destroy()
})
