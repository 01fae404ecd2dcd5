// What a node sends besides plain events, on every wire: ends of channels, positions without an event, channels that a
// connection loses, and characters that break lines.

import t from 'tap'
import { startMemoryNode } from '../../contract/node.ts'
import { caps, ClosedWorld } from '../../support/closed-node.ts'
import { userClaims } from '../../support/tokens.ts'
import { until } from '../../support/until.ts'
import { client, numbers, Seen, WIRES } from './follow.ts'

const node = await startMemoryNode({ HEARTBEAT: '200ms' })
const url = `http://127.0.0.1:${node.port}`
t.teardown(() => node.close())

for (const wire of WIRES) {
  t.test(`${wire}: data with any line separator arrives`, async t => {
    const fanwire = client(url, { wires: [wire] })
    t.teardown(() => fanwire.close())
    const channel = `separators-${wire}`
    const texts = ['a\u2028b', 'a\u2029b', 'a\u0085b', 'a\r\nb']
    for (const text of texts) await node.append(channel, JSON.stringify(text))
    const seen = new Seen(fanwire.subscribe(channel, { cursor: 'earliest' }))
    await seen.has(4)
    t.strictSame([seen.data, seen.gaps], [texts, []])
  })

  t.test(`${wire}: two readers that subscribe in one turn both get all events`, async t => {
    const fanwire = client(url, { wires: [wire] })
    t.teardown(() => fanwire.close())
    const channel = `twice-${wire}`
    for (const n of numbers(1, 3)) await node.append(channel, `${n}`)
    const both = [1, 2].map(() => new Seen(fanwire.subscribe(channel, { cursor: 'earliest' })))
    for (const seen of both) await seen.has(3)
    await node.append(channel, '4')
    for (const seen of both) {
      await seen.has(4)
      t.strictSame([seen.data, seen.gaps], [numbers(1, 4), []])
    }
  })

  t.test(`${wire}: a loop over a channel ends with the channel`, async t => {
    let requests = 0
    const ask: typeof fetch = (input, init) => {
      requests++
      return fetch(input, init)
    }
    const fanwire = client(url, { wires: [wire], fetch: ask })
    t.teardown(() => fanwire.close())
    const channel = `end-${wire}`
    for (const n of numbers(1, 3)) await node.append(channel, `${n}`)
    await fetch(`${url}/v1/channels/${channel}/end`, { method: 'POST' })
    const subscription = fanwire.subscribe(channel, { cursor: 'earliest' })
    const data: unknown[] = []
    for await (const event of subscription) data.push(event.data)
    t.strictSame(data, [1, 2, 3])
    t.strictSame(subscription.state, { name: 'ended' })
    t.ok(requests <= 3, `${requests} requests`)
  })

  // A long poll reports its position after 25 s.
  const slow = wire === 'long-poll' ? { skip: 'after 25 s' } : {}
  t.test(`${wire}: the position passes events that the reader does not select`, slow, async t => {
    const fanwire = client(url, { wires: [wire] })
    t.teardown(() => fanwire.close())
    const channel = `passed-${wire}`
    await node.append(channel, '1')
    const subscription = fanwire.subscribe(channel, { cursor: 'earliest', types: ['wanted'] })
    const seen = new Seen(subscription)
    await until('it reads', () => fanwire.state.name === 'connected')
    const { id } = (await fanwire.publish(channel, 2, { type: 'other' })) as { id: string }
    await until('the position passes the event', () => subscription.position === id)
    await fanwire.publish(channel, 3, { type: 'wanted' })
    await seen.has(1)
    t.strictSame([seen.data, seen.gaps], [[3], []])
  })
}

t.test('ws: a channel that the connection loses is subscribed again, or refused', async t => {
  const world = new ClosedWorld()
  const closed = await startMemoryNode(world.settings)
  t.teardown(() => closed.close())
  const token = world.token(userClaims('ann', { caps: caps('room:*', 'sub', 'hst') }))
  const fanwire = client(`http://127.0.0.1:${closed.port}`, { wires: ['ws'], getToken: () => token })
  t.teardown(() => fanwire.close())
  const [one, two] = ['room:1', 'room:2'].map(channel => fanwire.subscribe(channel))
  const seen = new Seen(one as never)
  const other = new Seen(two as never)
  await until('both are read', () => closed.app.fanwire.hub.stats().readers === 2)
  await closed.append('room:1', '1')
  await seen.has(1)
  const admin = { authorization: `Bearer ${world.keys.all.key}`, 'content-type': 'application/json' }
  const act = { method: 'POST', headers: admin, body: '{"user":"ann"}' }
  const path = '/v1/admin/channels/room:1/unsubscribe'
  t.equal((await fetch(`http://127.0.0.1:${closed.port}${path}`, act)).status, 202)
  await closed.append('room:1', '2')
  await seen.has(2)
  t.strictSame([seen.data, seen.gaps], [[1, 2], []])
  world.writeRules('channels:\n  - { match: "room:1", subscribe: nobody }\ndefault: { subscribe: token }\n')
  await until('it is refused', () => one?.state.name === 'refused')
  await closed.append('room:2', '3')
  await other.has(1)
})

t.test('ws: without a token a channel is refused, and the connection stays', async t => {
  const world = new ClosedWorld()
  const closed = await startMemoryNode(world.settings)
  t.teardown(() => closed.close())
  let asked = 0
  const getToken = () => {
    asked++
    return undefined
  }
  const fanwire = client(`http://127.0.0.1:${closed.port}`, { wires: ['ws'], getToken })
  t.teardown(() => fanwire.close())
  const mine = fanwire.subscribe('inbox:ann')
  const open = new Seen(fanwire.subscribe('open:1'))
  mine.on('event', () => {})
  await until('it is refused', () => mine.state.name === 'refused')
  await closed.append('open:1', '1')
  await open.has(1)
  t.equal(fanwire.state.name, 'connected')
  t.ok(asked <= 2, `${asked} tokens requested`)
})
