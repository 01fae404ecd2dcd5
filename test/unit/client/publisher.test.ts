// The publisher for servers.

import { EventEmitter, once } from 'node:events'
import t from 'tap'
import { createPublisher } from '../../../client/publisher.ts'
import { startMemoryNode } from '../../contract/node.ts'
import { startFaultyProxy } from '../../support/faulty-proxy.ts'
import { until } from '../../support/until.ts'
import { numbers } from './follow.ts'

const node = await startMemoryNode({ PUBLISH_KEY: 'secret' })
t.teardown(() => node.close())
const url = `http://127.0.0.1:${node.port}`
const read = async (channel: string) =>
  (
    JSON.parse((await node.get(`/v1/poll?channel=${channel}&limit=1000`)).body) as {
      events: { data: unknown }[]
    }
  ).events.map(({ data }) => data)

t.test(
  'order is kept, nothing is published twice, and receipts are in order while responses are cut',
  async t => {
    let connections = 0
    const proxy = await startFaultyProxy(node.port, {
      cutAfter: () => (connections++ % 3 === 0 ? 600 : undefined),
    })
    t.teardown(() => proxy.close())
    const publisher = createPublisher(proxy.url, {
      key: 'secret',
      backoff: 5,
      maxBackoff: 20,
      waiting: 50,
      batch: 20,
    })
    const entries = numbers(1, 500).map(data => ({ channel: 'orders', data }))
    const ids: string[] = []
    for await (const { id = '' } of publisher.all(entries)) ids.push(id)
    t.strictSame(await read('orders'), numbers(1, 500))
    t.equal(new Set(ids).size, 500)
    t.ok(proxy.cuts > 0)
    // Publishes sequentially, each in the turn in which the previous one was answered.
    for (const n of numbers(1, 20)) await publisher.publish('turns', n)
    t.strictSame(await read('turns'), numbers(1, 20))
  },
)

t.test('an event that cannot succeed is rejected alone, and others continue', async t => {
  const publisher = createPublisher(url, { key: 'secret' })
  const [bad, good] = await Promise.allSettled([
    publisher.publish('not a name', 1),
    publisher.publish('fine', 1),
  ])
  t.match(bad, { status: 'rejected', reason: { code: 'FW_BAD_CHANNEL' } })
  t.match(good, { status: 'fulfilled', value: { channel: 'fine' } })
  await t.rejects(createPublisher(url, { key: 'wrong' }).publish('fine', 1), { code: 'FW_UNAUTHORIZED' })
})

t.test(
  'bytes are published as bytes, JSON text unchanged, and events that are too large for one request in two',
  async t => {
    const requests: number[] = []
    const publisher = createPublisher(url, {
      key: 'secret',
      fetch(input, init) {
        requests.push(JSON.parse(String(init?.body)).events.length)
        return fetch(input, init)
      },
    })
    const large = 'x'.repeat(600_000)
    const entries = [{ data: Uint8Array.from([0, 255]) }, { json: '1.0' }, { data: large }, { data: large }]
    await Promise.all(entries.map(each => publisher.send({ channel: 'forms', ...each })))
    const { body } = await node.get('/v1/poll?channel=forms')
    t.match(body, /"encoding":"base64","data":"AP8="}.*"data":1\.0}/)
    t.strictSame((await read('forms')).slice(2), [large, large])
    t.strictSame(requests, [3, 1])
  },
)

t.test('receipts arrive while the source waits, and a failure of the source follows them', async t => {
  const publisher = createPublisher(url, { key: 'secret' })
  const events = new EventEmitter()
  async function* entries() {
    for (const data of [1, 2]) {
      const received = once(events, 'receipt')
      yield { channel: 'pausing', data }
      await received
    }
    yield { channel: 'pausing', data: 3 }
    throw new Error('the source is broken')
  }
  let count = 0
  const all = async () => {
    for await (const { channel } of publisher.all(entries())) {
      t.equal(channel, 'pausing')
      count++
      events.emit('receipt')
    }
  }
  await t.rejects(all(), /the source is broken/)
  t.equal(count, 3)
})

t.test('a caller that stops reading receipts does not wait for a source that pauses', async t => {
  const publisher = createPublisher(url, { key: 'secret' })
  const events = new EventEmitter()
  let returned = false
  async function* entries() {
    try {
      yield { channel: 'stopped', data: 1 }
      await once(events, 'continue')
      yield { channel: 'stopped', data: 2 }
    } finally {
      returned = true
    }
  }
  const receipts = publisher.all(entries())
  t.match(await receipts.next(), { value: { channel: 'stopped' } })
  await receipts.return()
  t.notOk(returned)
  events.emit('continue')
  await until('the source has returned', () => returned)
  await publisher.flush()
  t.strictSame(await read('stopped'), [1], 'what was read later is not published')
})

t.test('ready() waits for room in the queue, and flush() for all sent events', async t => {
  const events = new EventEmitter()
  const publisher = createPublisher(url, {
    key: 'secret',
    waiting: 2,
    async fetch(input, init) {
      events.emit('request')
      await once(events, 'continue')
      return fetch(input, init)
    },
  })
  const requested = once(events, 'request')
  const sent = numbers(1, 5).map(n => publisher.publish('room', n))
  let ready = false
  const room = publisher.ready().then(() => (ready = true))
  await requested
  // Everything that is not waiting for the request comes first.
  await new Promise(resolve => setImmediate(resolve))
  t.notOk(ready)
  events.emit('continue')
  await room
  await publisher.flush()
  t.strictSame(await read('room'), numbers(1, 5))
  await Promise.all(sent)
  publisher.close()
  await t.rejects(publisher.publish('room', 6), /closed/)
})

t.test('a token that is not accepted any more is requested again, once', async t => {
  const keys = ['wrong', 'secret', 'wrong', 'wrong']
  let asked = 0
  const publisher = createPublisher(url, { getToken: () => keys[asked++] })
  t.match(await publisher.publish('renewed', 1), { channel: 'renewed' })
  t.equal(asked, 2)
  const late = createPublisher(url, { getToken: () => keys[asked++] })
  await t.rejects(late.publish('renewed', 2), { code: 'FW_UNAUTHORIZED' })
  t.equal(asked, 4)
})
