// Durable Streams on two nodes with their log in Redis: writes, erasures and closes through one node apply on the
// other, also after a restart.

import { DurableStream, IdempotentProducer, stream } from '@durable-streams/client'
import t, { type Test } from 'tap'
import { RedisLog } from '../../services/broker/log/redis/log.ts'
import { configOf, type Node, startNode } from '../contract/node.ts'
import { ClosedWorld } from '../support/closed-node.ts'
import { redisLogOptions } from '../support/redis-logs.ts'
import { startRedis } from '../support/redis-server.ts'
import { until } from '../support/until.ts'

const redis = await startRedis()
t.teardown(() => redis.stop())

const world = new ClosedWorld()
world.writeRules(`
channels:
  - { match: "room:*", subscribe: token, publish: token }
  - { match: "inbox:{user}", subscribe: user }
default: { subscribe: anyone, publish: anyone }
`)
const { prefix = '' } = redisLogOptions(redis.url)
const start = () =>
  startNode(
    configOf(world.settings),
    ({ history, idempotencyWindow }) =>
      new RedisLog(redisLogOptions(redis.url, { prefix, retentionOf: () => history, idempotencyWindow })),
  )
let [one, other] = await Promise.all([start(), start()])
t.teardown(() => Promise.all([one.close(), other.close()]))

const asAdmin = { authorization: `Bearer ${world.keys.all.key}` }
const at = ({ port }: Node, path: string) => `http://127.0.0.1:${port}${path}`

/** Erases the nth event of a channel. */
async function erase(t: Test, channel: string, n: number): Promise<void> {
  const { body } = await one.get(`/v1/poll?channel=${channel}&cursor=earliest`)
  const { events } = JSON.parse(body) as { events: { id: string }[] }
  const path = `/v1/channels/${channel}/events/${events[n]?.id}`
  t.equal((await fetch(at(one, path), { method: 'DELETE', headers: asAdmin })).status, 200)
}

t.test('producers and sequences continue on every node after their last event was erased', async t => {
  const path = '/v1/stream/erased'
  const headers = { 'content-type': 'text/plain' }
  await fetch(at(one, path), { method: 'PUT', headers })
  const append = async (node: Node, seq: number, body: string, more = {}) => {
    const producer = { 'producer-id': 'p', 'producer-epoch': '3', 'producer-seq': `${seq}` }
    const init = { method: 'POST', headers: { ...headers, ...producer, ...more }, body }
    return (await fetch(at(node, path), init)).status
  }
  t.equal(await append(one, 0, 'before'), 200)
  t.equal(await append(one, 1, 'secret', { 'stream-seq': 'b' }), 200)
  await erase(t, 'erased', 2)
  await erase(t, 'erased', 0)
  t.equal(await append(other, 1, 'secret'), 204, 'a retry is a duplicate')
  t.equal(await append(other, 2, 'x', { 'stream-seq': 'a' }), 409, 'Stream-Seq continues')
  t.equal(await append(other, 2, ' after', { 'stream-seq': 'c' }), 200, 'so does the producer')
  const answer = await fetch(at(other, `${path}?offset=-1`))
  t.equal(answer.headers.get('content-type'), 'text/plain', 'and the description, which was erased too')
  t.equal(await answer.text(), 'before after')
})

t.test('the official client follows a stream over a restart, and on another node', async t => {
  const path = '/v1/stream/followed'
  const streamAt = (node: Node) => ({ url: at(node, path), contentType: 'application/json' })
  const producer = new IdempotentProducer(await DurableStream.create(streamAt(one)), 'p')
  producer.append('1')
  producer.append('2')
  await producer.flush()
  await producer.detach()

  const read: unknown[] = []
  let offset = '-1'
  /** Follows the stream from the current offset. Returns once `count` items have been read in total. */
  const follow = async (node: Node, count: number) => {
    const response = await stream({ url: at(node, path), live: 'sse', offset, json: true })
    response.subscribeJson(async batch => {
      read.push(...batch.items)
      ;({ offset } = batch)
    })
    await until(`${count} items are read`, () => read.length === count)
    return response
  }
  const followed = await follow(one, 2)
  followed.cancel()
  await one.close()
  await new DurableStream(streamAt(other)).append('3')
  ;(await follow(other, 3)).cancel()
  one = await start()
  const again = new IdempotentProducer(new DurableStream(streamAt(one)), 'p', { epoch: 1 })
  again.append('4')
  await again.flush()
  const last = await follow(one, 4)
  await again.close()
  await last.closed
  t.strictSame(read, [1, 2, 3, 4])
  t.ok(last.streamClosed, 'the reader on one node learns that the stream is closed')
  await until(
    'a later reader on the other node learns it too',
    async () => (await stream({ url: at(other, path), live: false, offset })).streamClosed,
  )
})

t.test('the official client sends a token, and fetches another if it is rejected', async t => {
  const url = at(one, '/v1/stream/room:d')
  const authorization = (token: string) => ({ authorization: `Bearer ${token}` })
  await t.rejects(DurableStream.create({ url, contentType: 'application/json' }), /401/)
  const headers = authorization(world.token())
  const written = await DurableStream.create({ url, contentType: 'application/json', headers })
  await written.append('1')
  const tokens = [world.token({ exp: Math.floor(Date.now() / 1000) - 60 })]
  const refused: unknown[] = []
  const read: unknown[] = []
  const response = await stream({
    url,
    live: 'long-poll',
    json: true,
    headers: { authorization: () => `Bearer ${tokens.pop() ?? world.token()}` },
    onError: error => {
      refused.push((error as { status?: number }).status)
      return {}
    },
  })
  response.subscribeJson(async ({ items }) => void read.push(...items))
  await until('the first item is read', () => read.length === 1)
  await written.append('2')
  await until('the second item is read', () => read.length === 2)
  response.cancel()
  t.strictSame([refused, read], [[401], [1, 2]])
  await t.rejects(stream({ url: at(one, '/v1/stream/inbox:bob'), headers, live: false }), /403/)
})
