// Data for the console: the state of each node, and the details of one channel.

import t from 'tap'
import { controlled, follow } from './node.ts'

t.test('a node reports its state', async t => {
  const { get, post, node, token } = await controlled(t)
  const reader = await follow(t, node, '/v1/stream?channel=inbox:ada', token('ada'))
  await reader.saw('"open"')
  t.equal((await post('/v1/channels/inbox:ada/events', '1')).status, 201)
  await reader.saw('"data":1')
  const { body } = await get('/v1/admin/stats')
  t.match(body, {
    nodes: [
      {
        id: node.app.fanwire.nodes.id,
        role: 'all',
        engine: 'memory',
        ready: true,
        takesEvents: true,
        problems: [],
        wires: { stream: { connections: 1, deliveries: 1, gaps: 0 } },
        appends: { appended: 1, replayed: 0, failed: 0 },
        behind: 0,
        rss: Number,
        cpu: Number,
      },
    ],
    silent: [],
  })
})

t.test('a channel is shown with its rule, its retained events and its readers', async t => {
  const { get, post, node, token } = await controlled(t)
  const reader = await follow(t, node, '/v1/stream?channel=inbox:ada', token('ada'))
  await reader.saw('"open"')
  const { body: receipt } = await post('/v1/channels/inbox:ada/events', '1')
  await reader.saw('"data":1')
  t.match((await get('/v1/admin/channels/inbox:ada')).body, {
    channel: 'inbox:ada',
    head: receipt.id,
    tail: receipt.id,
    count: 1,
    readers: 1,
    nodes: 1,
    rule: { match: 'inbox:{user}', line: 2, subscribe: ['user'] },
    history: { events: Number, age: Number, bytes: Number },
  })
  const { body } = await get('/v1/admin/channels/inbox:ada/readers')
  t.match(body, { readers: [{ user: 'ada', wire: 'stream', position: receipt.id, blocked: false }] })
  t.match((await get('/v1/admin/channels/inbox:ada/readers?user=eve')).body, { readers: [] })
  t.equal((await get('/v1/admin/channels/%20')).status, 400)
})
