// Centrifuge clients over HTTP behind two nodes on Redis: one node streams the response to a client, and the other
// receives the client's commands.

import { Centrifuge } from 'centrifuge'
import { EventSource } from 'eventsource-3'
import t from 'tap'
import { RedisLog } from '../../services/broker/log/redis/log.ts'
import { configOf, startNode } from '../contract/node.ts'
import { redisLogOptions } from '../support/redis-logs.ts'
import { startRedis } from '../support/redis-server.ts'
import { until } from '../support/until.ts'

const redis = await startRedis()
t.teardown(() => redis.stop())

const { prefix = '' } = redisLogOptions(redis.url)
const start = () =>
  startNode(
    configOf({ CENTRIFUGE: '1' }),
    ({ history, idempotencyWindow }) =>
      new RedisLog(redisLogOptions(redis.url, { prefix, retentionOf: () => history, idempotencyWindow })),
  )
const [one, other] = await Promise.all([start(), start()])
t.teardown(() => Promise.all([one.close(), other.close()]))

for (const transport of ['http_stream', 'sse'] as const) {
  t.test(`commands reach a client's node from another one: ${transport}`, async t => {
    const endpoint = `http://127.0.0.1:${one.port}/connection/${transport}`
    const client = new Centrifuge([{ transport, endpoint }], {
      emulationEndpoint: `http://127.0.0.1:${other.port}/emulation`,
      eventsource: EventSource,
      fetch,
      readableStream: ReadableStream,
    })
    t.teardown(() => client.disconnect())
    const channel = `room-${transport}`
    const read: unknown[] = []
    const sub = client.newSubscription(channel)
    sub.on('publication', ({ data }) => void read.push(data))
    sub.subscribe()
    client.connect()
    await sub.ready(20_000)
    await sub.publish({ n: 1 })
    await other.publish(channel, '{"n":2}')
    await until('both events are read', () => read.length === 2)
    t.strictSame(read, [{ n: 1 }, { n: 2 }])
    t.equal((await sub.history({ limit: 10 })).publications.length, 2)
    await t.rejects(client.rpc('x', 1), { code: 108 })
  })
}

const post = (session: string, node: string) =>
  fetch(`http://127.0.0.1:${other.port}/emulation`, {
    method: 'POST',
    body: JSON.stringify({ session, node, data: '{"id":1,"ping":{}}' }),
  })

t.test('commands for a node that is gone are rejected, so that the client reconnects', async t => {
  const answer = await post('session', 'gone')
  t.match([answer.status, await answer.json()], [404, { error: { code: 'FW_NOT_FOUND' } }])
})

t.test('commands for a session that has ended on a running node are ignored', async t => {
  const response = await fetch(`http://127.0.0.1:${one.port}/connection/http_stream`, {
    method: 'POST',
    body: '{"id":1,"connect":{}}',
  })
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader()
  const first = (await reader?.read())?.value ?? ''
  const { session, node } = JSON.parse(first).connect as { session: string; node: string }
  t.equal((await post(session, node)).status, 204)
  t.match((await reader?.read())?.value, '"ping"')
  await reader?.cancel()
  t.equal((await post(session, node)).status, 204, 'also after the session has ended')
})
