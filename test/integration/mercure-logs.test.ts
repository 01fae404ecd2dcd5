// Mercure's hub on two nodes with their log in Redis, and on the file log. For the memory log, see mercure.test.ts.

import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { FileLog } from '../../services/broker/log/file/log.ts'
import { RedisLog } from '../../services/broker/log/redis/log.ts'
import { configOf, type StartNode, startNode } from '../contract/node.ts'
import { folder } from '../support/folder.ts'
import { startHub, tokenOf } from '../support/mercure.ts'
import { redisLogOptions, silent } from '../support/redis-logs.ts'
import { startRedis } from '../support/redis-server.ts'

const redis = await startRedis()
t.teardown(() => redis.stop())

type Hub = Awaited<ReturnType<typeof startHub>>

/** Checks two hubs, or the same one twice. */
async function checkHubs(t: Test, one: Hub, other: Hub): Promise<void> {
  const topic = 'https://example.com/books/{id}'
  const query = `?topic=${encodeURIComponent(topic)}`
  const book = (id: number) => topic.replace('{id}', `${id}`)
  const live = await other.subscribe(query)
  const first = await one.publish({ topic: book(1), data: 'a', id: 'urn:a' })
  const second = await other.publish({ topic: book(2), data: 'b' })
  await one.publish({ topic: book(3), data: 'c' })
  t.same(
    (await live.got(3)).map(({ data }) => data),
    ['a', 'b', 'c'],
    'updates of either node are received in order',
  )
  for (const [id, expected] of [
    [first, ['b', 'c']],
    [second, ['c']],
    ['earliest', ['a', 'b', 'c']],
  ] as const) {
    for (const hub of [one, other]) {
      const resumed = await hub.subscribe(`${query}&lastEventID=${encodeURIComponent(id)}`)
      t.same(
        (await resumed.got(expected.length)).map(({ data }) => data),
        expected,
        `resumed after ${id}`,
      )
    }
  }
}

/** Starts nodes that share a log. */
function nodesOn(url: string): StartNode {
  const { prefix = '' } = redisLogOptions(url)
  return settings =>
    startNode(
      configOf(settings ?? {}),
      ({ history, idempotencyWindow }) =>
        new RedisLog(redisLogOptions(url, { prefix, retentionOf: () => history, idempotencyWindow })),
    )
}

t.test('two nodes on Redis are one hub', async t => {
  const start = nodesOn(redis.url)
  const hubs = await Promise.all([startHub({}, undefined, start), startHub({}, undefined, start)])
  t.teardown(async () => {
    for (const hub of hubs) hub.disconnect()
    await Promise.all(hubs.map(({ node }) => node.close()))
  })
  await checkHubs(t, ...hubs)
})

t.test('after Redis lost the log, subscribers without the right to history receive new updates', async t => {
  const own = await startRedis()
  const control = new Redis(own.url)
  const rules = { default: { subscribe: 'token', publish: 'token' } }
  const hub = await startHub({}, rules, nodesOn(own.url))
  t.teardown(async () => {
    hub.disconnect()
    control.disconnect()
    await hub.node.close()
    await own.stop()
  })
  const token = tokenOf(undefined, { caps: [{ channels: ['*'], allow: ['sub'] }] })
  for (const data of ['1', '2']) await hub.publish({ topic: 'a', data })
  const { got } = await hub.subscribe('?topic=a', { headers: { authorization: `Bearer ${token}` } })
  await hub.publish({ topic: 'a', data: '3' })
  await got(1)
  await control.flushall()
  await hub.publish({ topic: 'a', data: '4' })
  t.match(await got(3), [{ data: '3' }, { type: 'gap' }, { data: '4' }])
})

t.test('a hub on the file log resumes after a restart', async t => {
  const at = folder(t)
  const start: StartNode = settings =>
    startNode(
      configOf(settings ?? {}),
      ({ history, idempotencyWindow }) =>
        new FileLog({
          folder: at,
          fsync: 1000,
          retentionOf: () => history,
          idempotencyWindow,
          logger: silent,
        }),
    )
  const before = await startHub({}, undefined, start)
  await checkHubs(t, before, before)
  before.disconnect()
  await before.node.close()
  const after = await startHub({}, undefined, start)
  t.teardown(async () => {
    after.disconnect()
    await after.node.close()
  })
  const resumed = await after.subscribe('?topic=*&lastEventID=urn%3Aa')
  t.same(
    (await resumed.got(2)).map(({ data }) => data),
    ['b', 'c'],
  )
})
