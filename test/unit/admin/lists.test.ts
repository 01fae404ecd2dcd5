// The lists of the admin routes: their content, their pages, and who may read them; the details for the console.

import t from 'tap'
import { startMemoryNode } from '../../contract/node.ts'
import { client, controlled, CREDENTIALS, follow } from './node.ts'

// Lists -------------------------------------------------------------------------------------------------------

interface Connection {
  readonly id: string
  readonly user: string
  readonly wire: string
  readonly channels: readonly string[]
  readonly since?: number
  readonly node: string
}

const GETS = [
  '/v1/admin/nodes',
  '/v1/admin/connections',
  '/v1/admin/channels',
  '/v1/admin/stats',
  '/v1/admin/channels/news',
  '/v1/admin/channels/news/readers',
]
const POSTS = [
  '/v1/admin/users/ada/disconnect',
  '/v1/admin/users/ada/revoke',
  '/v1/admin/channels/room:1/unsubscribe',
  '/v1/admin/explain',
]

t.test('every route needs a key with the `admin` right', async t => {
  const { get, post, token } = await controlled(t)
  const all = [{ channels: ['*'], allow: ['sub', 'pub', 'prs', 'hst'] }]
  const cases: [string, string, number][] = [
    ['nothing', '', 401],
    ['a wrong key', 'fw_wrong', 401],
    ['a token that grants all', token('ada', { caps: all }), 403],
    ['a key with all other rights', CREDENTIALS.READER, 403],
  ]
  for (const [what, credential, status] of cases) {
    for (const path of GETS) t.equal((await get(path, credential)).status, status, `${what}: GET ${path}`)
    for (const path of POSTS) {
      t.equal((await post(path, undefined, credential)).status, status, `${what}: POST ${path}`)
    }
  }
  for (const path of GETS) t.equal((await get(path)).status, 200, path)
})

t.test('a key with admin on some channels controls only these', async t => {
  const { get, post } = await controlled(t)
  const room = CREDENTIALS.ROOM_ADMIN
  t.equal((await post('/v1/admin/channels/room:1/unsubscribe', { user: 'ada' }, room)).status, 202)
  t.equal((await post('/v1/admin/channels/inbox:1/unsubscribe', { user: 'ada' }, room)).status, 403)
  t.equal((await post('/v1/admin/users/ada/disconnect', undefined, room)).status, 403)
  for (const path of GETS) t.equal((await get(path, room)).status, 403, path)
})

t.test('the node lists itself', async t => {
  const { get, node } = await controlled(t)
  const { body, headers } = await get('/v1/admin/nodes')
  t.match(body, { nodes: [{ id: node.app.fanwire.nodes.id, role: 'all', pid: process.pid, connections: 0 }] })
  t.equal(headers.get('cache-control'), 'no-store')
  t.equal((await get('/v1/admin/nodes?after=nobody')).status, 400)
})

t.test('connections are listed by user, with their channels, in pages', async t => {
  const { get, node, token } = await controlled(t)
  const before = Date.now()
  await follow(t, node, '/v1/sse?channel=inbox:ada', token('ada'))
  await follow(t, node, '/v1/stream?channel=inbox:bob', token('bob'))
  const poll = get('/v1/long-poll?channel=inbox:bob&wait=55', token('bob'))
  const list = async (query = '') => {
    const { status, body } = await get(`/v1/admin/connections${query}`)
    t.equal(status, 200)
    return body as { connections: Connection[]; next?: string; silent: string[] }
  }
  let { connections } = await list()
  while (connections.length < 3) connections = (await list()).connections
  t.strictSame(connections.map(({ user, wire, channels }) => [user, wire, ...channels]).sort(), [
    ['ada', 'sse', 'inbox:ada'],
    ['bob', 'long-poll', 'inbox:bob'],
    ['bob', 'stream', 'inbox:bob'],
  ])
  for (const { since = 0, node: on } of connections) {
    t.ok(since >= before && since <= Date.now())
    t.equal(on, node.app.fanwire.nodes.id)
  }
  t.equal(new Set(connections.map(({ id }) => id)).size, 3)

  const bobs = await list('?user=bob')
  t.equal(bobs.connections.length, 2)
  t.strictSame(bobs.silent, [])
  t.strictSame((await list('?user=nobody')).connections, [])

  const paged: Connection[] = []
  for (let after = ''; ;) {
    const { connections: page, next } = await list(`?limit=1${after}`)
    t.ok(page.length <= 1)
    paged.push(...page)
    if (next === undefined) break
    after = `&after=${next}`
  }
  t.strictSame(
    paged.map(({ id }) => id),
    connections.map(({ id }) => id).sort(),
  )
  await node.append('inbox:bob', '1')
  await poll
})

t.test('channels are listed by pattern, with readers, head and rate', async t => {
  const { get, node, token } = await controlled(t)
  const caps = [{ channels: ['room:*'], allow: ['sub'] }]
  const ada = await follow(t, node, '/v1/sse?channel=room:1&channel=room:2', token('ada', { caps }))
  await follow(t, node, '/v1/sse?channel=room:1&channel=inbox:bob', token('bob', { caps }))
  const ids = await node.append('room:1', ...Array.from({ length: 20 }, () => '1'))
  await ada.saw(ids.at(-1) ?? '')
  const { body } = await get('/v1/admin/channels?match=room:*')
  t.match(body, {
    channels: [
      { channel: 'room:1', readers: 2, rate: 2, head: ids.at(-1), nodes: 1 },
      { channel: 'room:2', readers: 1, rate: 0, nodes: 1 },
    ],
    silent: [],
  })
  const first = await get('/v1/admin/channels?limit=1')
  t.match(first.body, { channels: [{ channel: 'inbox:bob' }], next: 'inbox:bob' })
  const second = await get('/v1/admin/channels?limit=1&after=inbox:bob')
  t.match(second.body, { channels: [{ channel: 'room:1' }], next: 'room:1' })
})

t.test('a channel that keeps presence is listed with the number of its users', async t => {
  const caps = [{ channels: ['chat:*', 'room:*'], allow: ['sub'] }]
  const { get, node, token } = await controlled(t)
  for (const user of ['ada', 'bob', 'bob']) {
    await follow(t, node, '/v1/sse?channel=chat:1&channel=room:1', token(user, { caps }))
  }
  const list = async () => (await get('/v1/admin/channels')).body.channels as { members?: number }[]
  let channels = await list()
  while (channels[0]?.members !== 2) channels = await list()
  t.match(channels, [{ channel: 'chat:1', readers: 3, members: 2 }, { channel: 'room:1' }])
  t.notOk('members' in (channels[1] ?? {}))
})

t.test('malformed input is rejected with a code', async t => {
  const { get } = await controlled(t)
  for (const path of [
    '/v1/admin/nodes?user=ada',
    '/v1/admin/nodes?limit=0',
    '/v1/admin/connections?limit=1001',
    '/v1/admin/connections?limit=ten',
    '/v1/admin/connections?usr=ada',
    '/v1/admin/connections?user=a&user=b',
    `/v1/admin/connections?user=${'x'.repeat(201)}`,
    '/v1/admin/channels?match=**',
    '/v1/admin/channels?match=a::b',
    '/v1/admin/channels?match=%5E.*%24',
  ]) {
    const { status, body } = await get(path)
    t.equal(status, 400, path)
    t.match(body, { error: { code: 'FW_BAD_PARAMETER' } }, path)
  }
})

t.test('without access control connections have no user and are still listed', async t => {
  const node = await startMemoryNode()
  t.teardown(() => node.close())
  await follow(t, node, '/v1/sse?channel=a')
  const { get, post } = client(node)
  const { body } = await get('/v1/admin/connections', '')
  t.match(body, { connections: [{ user: '', wire: 'sse', channels: ['a'] }] })
  t.strictSame((await get('/v1/admin/connections', '')).body, body, 'the ids do not change')
  t.match((await get('/v1/admin/channels', '')).body, { channels: [{ channel: 'a', readers: 1 }] })

  // A page of another origin is rejected.
  const foreign = await post('/v1/admin/users/ada/disconnect', undefined, '', {
    origin: 'https://evil.example',
  })
  t.equal(foreign.status, 403)
  t.match(foreign.body, { error: { code: 'FW_FORBIDDEN_ORIGIN' } })
})

// Data for the console ----------------------------------------------------------------------------------------

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
