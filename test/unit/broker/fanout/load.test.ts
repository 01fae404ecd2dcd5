// Bounds on the work that clients without credentials can cause: followed channels, log reads, entries of an upload.

import { mock } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { type Node, type Settings, startMemoryNode } from '../../../contract/node.ts'
import { until } from '../../../support/until.ts'
import { drafts, Gate, hubOf, Listener, listen, ScriptedLog, settled } from './scripted-log.ts'
import { frame, handshake } from '../../wires/ws-by-hand.ts'

async function nodeWith(t: Test, settings: Settings = {}): Promise<Node> {
  const node = await startMemoryNode(settings)
  t.teardown(() => node.close())
  return node
}

t.test('S5: opening a channel on a full node costs the same, however many are followed', async t => {
  const hub = hubOf(new ScriptedLog(), { maxFollowed: 2000, linger: 60_000 }, end => t.teardown(end))
  for (let i = 0; i < 2000; i++) (await hub.open(`c${i}`)).release()
  const values = mock.method(Map.prototype, 'values')
  t.teardown(() => mock.restoreAll())
  for (let i = 0; i < 100; i++) (await hub.open(`d${i}`)).release()
  const walks = values.mock.calls.filter(({ this: map }) => (map as Map<unknown, unknown>).size >= 1000)
  t.equal(walks.length, 0)
  mock.restoreAll()
  t.equal(hub.stats().channels, 2000)
  t.equal((await hub.open('c100')).name, 'c100')
  const held = await Promise.all(Array.from({ length: 1999 }, (_, i) => hub.open(`e${i}`)))
  await t.rejects(hub.open('f'), { code: 'FW_TOO_MANY_FOLLOWED' }, 'channels with readers are not dropped')
  held[5]?.release()
  await hub.open('f')
  await t.rejects(hub.open('e5'), { code: 'FW_TOO_MANY_FOLLOWED' }, 'a released channel was dropped')
})

t.test(
  'W6: single reads of channels without followers leave nothing; repeatedly polled channels are followed',
  async t => {
    const node = await nodeWith(t)
    const follow = mock.method(node.log, 'follow')
    t.teardown(() => mock.restoreAll())
    const names = Array.from({ length: 300 }, (_, i) => `made.up.${i}`)
    const polls = async () => {
      for (let i = 0; i < names.length; i += 100) {
        const query = names.slice(i, i + 100).map(name => `channel=${name}`)
        t.equal((await node.get(`/v1/poll?${query.join('&')}`)).status, 200)
      }
    }
    await polls()
    for (const path of ['refresh?channel=a', 'channels/b', 'channels/c/events', 'channels/d/events/e-1'])
      await node.get(`/v1/${path}`)
    t.equal(follow.mock.callCount(), 0)
    t.equal(node.hub.stats().channels, 0)
    const began = performance.now()
    await polls()
    const seconds = 1 + Math.ceil((performance.now() - began) / 1000)
    const { channels } = node.hub.stats()
    t.ok(channels >= 100 && channels <= 100 * seconds, `${channels} in ${seconds} s`)

    // A poll with a cursor misses nothing, whether the node follows the channel or not.
    const [id = ''] = await node.append('polled', '1')
    for (let i = 2; i < 5; i++) {
      await node.append('polled', `${i}`)
      const { events } = JSON.parse((await node.get(`/v1/poll?channel=polled&cursor=${id}`)).body)
      t.equal(events.length, i - 1)
    }
  },
)

t.test(
  'W6: single reads of channels without followers are limited; those of followed channels continue',
  async t => {
    const log = new ScriptedLog()
    const hub = hubOf(log, {}, end => t.teardown(end))
    log.add('followed', drafts(1))
    const held = await hub.open('followed')
    const gate = new Gate()
    log.beforeRead = gate.pass
    const page = { events: 1, bytes: 1 }
    let number = 0
    const look = (count: number) => {
      const names = Array.from({ length: count }, () => `made.up.${number++}`)
      return hub.glancing(names, channels => Promise.all(channels.map(each => each.page('latest', page))))
    }
    const looks = Array.from({ length: 21 }, () => look(100))
    await settled()
    t.equal(gate.waiting, 100, 'one request at a time, because 128 channels fit')
    await t.rejects(look(100), { code: 'FW_OVERLOADED', retryable: true, retry: 1000 })
    const small = look(1)
    t.equal(hub.glances.shed, 1)
    const seen = await hub.glancing(['followed'], async ([channel]) => channel?.page('latest', page))
    t.equal(seen?.cursor.offset, 1)
    gate.open()
    t.equal((await Promise.all([...looks, small])).flat().length, 2101)
    held.release()
    t.equal(hub.stats().channels, 1)
  },
)

t.test('S5: a node that has room for only some channels of a poll reads the others from the log', async t => {
  for (const wire of ['poll', 'refresh']) {
    const node = await nodeWith(t, { MAX_FOLLOWED: '2' })
    await node.append('c', '1')
    for (let i = 0; i < 3; i++) {
      t.equal((await node.get(`/v1/${wire}?channel=a&channel=b&channel=c`)).status, 200, `${wire} ${i}`)
    }
    t.equal(node.hub.stats().channels, 2)
  }
})

t.test('S5: a full node answers polls of channels that it does not follow', async t => {
  const node = await nodeWith(t, { MAX_FOLLOWED: '1', DURABLE_STREAMS: '1' })
  const [first, second] = await node.append('b', '1', '2')
  const held = handshake(node, '/v1/ws?channel=a')
  t.teardown(() => held.close())
  await held.until(/"open"/)
  t.equal((await node.get('/v1/stream?channel=b')).status, 503)
  for (const path of [
    '/v1/poll?channel=b',
    '/v1/poll?channel=b&channel=a',
    '/v1/long-poll?channel=b&cursor=earliest',
  ]) {
    const { status, body } = await node.get(path)
    t.equal(status, 200, path)
    t.match(JSON.parse(body).events, [{ id: first }, { id: second }], path)
  }
  const { body } = await node.get(`/v1/poll?channel=b&cursor=${first}`)
  t.match(JSON.parse(body), { events: [{ id: second }], cursor: second })
  const latest = await node.get('/v1/poll?channel=b&cursor=latest')
  t.match(JSON.parse(latest.body), { events: [], cursor: second })
  t.match((await node.get('/v1/refresh?channel=b')).body, second)
  t.equal((await node.get('/v1/long-poll?channel=b')).status, 503, 'the node cannot wait for events')
  const items = await node.get('/v1/stream/b?offset=-1&live=long-poll')
  t.strictSame([items.status, items.body], [200, '[1,2]'])
  t.ok(items.headers['stream-cursor'])
  t.equal((await node.get('/v1/stream/b?offset=now&live=long-poll')).status, 503)
  t.equal(node.hub.stats().channels, 1)
})

t.test('S4: unknown cursors cause only a few concurrent log reads, per connection and overall', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, end => t.teardown(end))
  log.add('a', drafts(3))
  log.add('b', drafts(3))
  const gate = new Gate()
  log.beforeRead = gate.pass
  const storm = async (epoch: string) => {
    const { connection } = new Listener(hub)
    const channel = await hub.open('a')
    for (let i = 0; i < 200; i++) {
      const reader = connection.join(channel, { epoch: `${epoch}x${i}`, offset: 1 })
      await turn()
      connection.leave(reader)
    }
    channel.release()
  }
  await storm('one')
  t.equal(gate.waiting, 16, 'one connection')
  await Promise.all(Array.from({ length: 10 }, (_, i) => storm(`other${i}`)))
  await settled()
  t.equal(gate.waiting, 64, 'all')
  const patient = await listen(hub, 'b', { epoch: 'e1', offset: 0 })
  await settled()
  t.equal(gate.waiting, 64)
  gate.open()
  await until('the waiting readers have their events', () => patient.received.length === 3)
})

t.test('S4: all readers of one connection catch up, though few may read the log at a time', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, end => t.teardown(end))
  const names = Array.from({ length: 100 }, (_, i) => `c${i}`)
  for (const name of names) log.add(name, drafts(2))
  const listener = new Listener(hub)
  for (const name of names) await listen(hub, name, { epoch: 'e1', offset: 0 }, listener)
  await until('all readers have their missed events', () => listener.received.length === 200)
})

t.test('S4: the lines of an upload do not block other requests', async t => {
  const node = await nodeWith(t)
  const bystander = handshake(node)
  t.teardown(() => bystander.close())
  await bystander.until(/"open"/)
  const order: string[] = []
  const append = node.log.append.bind(node.log)
  node.log.append = async (channel, drafts) => {
    if (order.length === 0) bystander.send(frame(0x81, '{"publish":{"channel":"b","data":1}}'))
    for (let i = 0; i < drafts.length; i++) order.push(channel)
    return append(channel, drafts)
  }
  const count = 5000
  const body = '{"channel":"a","data":1}\n'.repeat(count)
  const headers = { 'content-type': 'application/x-ndjson' }
  const answer = await fetch(`http://127.0.0.1:${node.port}/v1/events`, { method: 'POST', headers, body })
  t.equal((await answer.text()).trim().split('\n').length, count)
  t.equal(order.length, count + 1)
  t.ok(order.indexOf('b') <= 160, `after ${order.indexOf('b')} of ${count}`)
})
