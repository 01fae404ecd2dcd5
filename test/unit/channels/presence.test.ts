// Presence as clients see it: the wires whose clients are members, the list, the count, and joins and leaves as a channel.

import { once } from 'node:events'
import t, { type Test } from 'tap'
import { io } from 'socket.io-client'
import { WebSocket } from 'ws'
import { type Node, startMemoryNode } from '../../contract/node.ts'
import { rawClient } from '../../support/centrifuge.ts'
import { caps, ClosedWorld } from '../../support/closed-node.ts'
import { APP, clientsOf } from '../../support/pusher.ts'
import { until } from '../../support/until.ts'

const RULES = `
channels:
  - { match: "room:*", subscribe: token, publish: token, presence: true }
  - { match: "presence-room", subscribe: token, presence: true }
  - { match: "hall:*", subscribe: anyone, presence: true }
default: { subscribe: token, publish: nobody }
`
const world = new ClosedWorld()
world.writeRules(RULES)

async function start(t: Test): Promise<Node> {
  const node = await startMemoryNode({ ...world.settings, PRESENCE_GRACE: '50ms' })
  t.teardown(() => node.close())
  return node
}

const token = (sub: string, more: Record<string, unknown> = {}) =>
  world.token({ sub, caps: caps('*', 'sub', 'pub', 'hst', 'prs'), ...more })
const bearer = (text: string) => ({ authorization: `Bearer ${text}` })

async function get(node: Node, path: string, headers: Record<string, string> = bearer(token('watcher'))) {
  const { status, body } = await node.get(path, headers)
  return { status, body: JSON.parse(body) }
}

const usersIn = async (node: Node, channel: string) => {
  const { body } = await get(node, `/v1/channels/${channel}/presence`)
  return body.members.map(({ user }: { user: string }) => user)
}
const tellsIn = async (node: Node, channel: string) => {
  const { body } = await get(node, `/v1/poll?channel=fanwire:presence:${channel}`)
  return body.events.map(({ type, data }: { type: string; data: { user: string } }) => `${type} ${data.user}`)
}

t.test('clients of every wire are members, except those of Mercure', async t => {
  const node = await start(t)
  const url = `http://127.0.0.1:${node.port}`
  const query = 'channel=room:1'
  const abort = new AbortController()
  // For Durable Streams, a channel exists once it has events.
  await node.append('room:1', '1')
  /** Reads the response: an unread body is discarded when its response is collected. */
  const hold = async (path: string, user: string) => {
    const { body } = await fetch(url + path, { headers: bearer(token(user)), signal: abort.signal })
    void body?.pipeTo(new WritableStream()).catch(() => {})
  }
  const open: Readonly<Record<string, (user: string) => unknown>> = {
    poll: user => get(node, `/v1/poll?${query}`, bearer(token(user))),
    refresh: user => node.get(`/v1/refresh?${query}`, bearer(token(user))),
    'long-poll': user =>
      fetch(`${url}/v1/long-poll?${query}&wait=55`, {
        headers: bearer(token(user)),
        signal: abort.signal,
      }).catch(() => {}),
    sse: user => hold(`/v1/sse?${query}`, user),
    stream: user => hold(`/v1/stream?${query}`, user),
    'durable-streams': user => fetch(`${url}/v1/stream/room:1?offset=-1`, { headers: bearer(token(user)) }),
    push: user => hold(`/v1/push?${query}`, user),
  }
  const mercure = await fetch(`${url}/.well-known/mercure?topic=room:1`, {
    headers: bearer(token('mercure')),
    signal: abort.signal,
  })
  t.equal(mercure.status, 200)
  for (const [wire, come] of Object.entries(open)) await Promise.race([come(wire), until(wire, () => true)])
  const ws = new WebSocket(`${url.replace('http', 'ws')}/v1/ws?${query}`, { headers: bearer(token('ws')) })
  await once(ws, 'message')
  const socket = io(url, { auth: { token: token('socket.io') }, reconnection: false })
  await socket.emitWithAck('subscribe', { channel: 'room:1' })
  const centrifuge = await rawClient(node, { token: token('centrifuge') })
  await centrifuge.ask('{"id":2,"subscribe":{"channel":"room:1"}}')
  const all = [...Object.keys(open), 'ws', 'socket.io', 'centrifuge'].sort()
  await until('all clients are members', async () => `${await usersIn(node, 'room:1')}` === `${all}`)
  // Pusher has presence in channels of its own.
  const pusher = new WebSocket(`${url.replace('http', 'ws')}/app/${APP.key}?protocol=7`)
  t.teardown(() => pusher.terminate())
  const [hello] = (await once(pusher, 'message')) as [Buffer]
  const { socket_id } = JSON.parse((JSON.parse(`${hello}`) as { data: string }).data) as { socket_id: string }
  const { server } = clientsOf(node.port)
  const data = server.authorizeChannel(socket_id, 'presence-room', { user_id: 'pusher' })
  pusher.send(JSON.stringify({ event: 'pusher:subscribe', data: { channel: 'presence-room', ...data } }))
  await until(
    'the Pusher client is a member',
    async () => `${await usersIn(node, 'presence-room')}` === 'pusher',
  )
  abort.abort()
  ws.terminate()
  socket.disconnect()
  centrifuge.socket.terminate()
  await until('only clients of the request wires are left', async () => {
    return `${await usersIn(node, 'room:1')}` === 'durable-streams,long-poll,poll,refresh'
  })
})

t.test('a client that connected before a rule had presence becomes a member when it subscribes', async t => {
  const before = new ClosedWorld()
  before.writeRules('default: { subscribe: token }\n')
  const { PUSHER_APPS: _, ...settings } = before.settings
  const node = await startMemoryNode(settings)
  t.teardown(() => node.close())
  const headers = bearer(before.token({ sub: 'ann', caps: caps('*', 'sub', 'prs') }))
  const socket = new WebSocket(`ws://127.0.0.1:${node.port}/v1/ws?channel=other`, { headers })
  t.teardown(() => socket.terminate())
  await once(socket, 'message')
  before.writeRules('default: { subscribe: token, presence: true }\n')
  await once(node.app.fanwire.access, 'rules')
  socket.send('{"subscribe":"late"}')
  await once(socket, 'message')
  await until('ann is a member', async () => {
    const { body } = await get(node, '/v1/channels/late/presence', headers)
    return body.members?.[0]?.user === 'ann'
  })
})

t.test('the list has all members, in pages, and matches the count', async t => {
  const node = await start(t)
  const sockets = ['ann', 'bob', 'cy'].map(
    user =>
      new WebSocket(`ws://127.0.0.1:${node.port}/v1/ws?channel=room:1`, {
        headers: bearer(token(user, { info: { name: user } })),
      }),
  )
  t.teardown(() => sockets.forEach(socket => socket.terminate()))
  const anonymous = await fetch(`http://127.0.0.1:${node.port}/v1/sse?channel=hall:1`)
  await until('three', async () => (await usersIn(node, 'room:1')).length === 3)
  const first = await get(node, '/v1/channels/room:1/presence?limit=2')
  t.match(first.body, {
    users: 3,
    clients: 3,
    more: true,
    next: 'bob',
    members: [{ user: 'ann', info: { name: 'ann' }, since: Number }],
  })
  const second = await get(node, '/v1/channels/room:1/presence?limit=2&after=bob')
  t.match(second.body.members, [{ user: 'cy' }])
  t.notOk('more' in second.body)
  t.strictSame((await get(node, '/v1/channels/room:1/presence/count')).body, { users: 3, clients: 3 })
  await until('the anonymous client is counted', async () => {
    const { body } = await get(node, '/v1/channels/hall:1/presence')
    return body.clients === 1 && body.users === 0 && body.members.length === 0
  })
  t.strictSame((await get(node, '/v1/channels/room:2/presence/count')).body, { users: 0, clients: 0 })
  await anonymous.body?.cancel()
})

t.test('a reader that starts at the cursor of the list receives joins, updates and leaves', async t => {
  const node = await start(t)
  const { body } = await get(node, '/v1/channels/room:1/presence')
  const follower = new WebSocket(`ws://127.0.0.1:${node.port}/v1/ws`, { headers: bearer(token('watcher')) })
  const received: { ok?: unknown; type?: string; data?: { user: string } }[] = []
  follower.on('message', message => void received.push(JSON.parse(`${message}`)))
  await once(follower, 'open')
  follower.send(JSON.stringify({ ref: 1, subscribe: 'fanwire:presence:room:1', cursor: body.cursor }))
  const member = new WebSocket(`ws://127.0.0.1:${node.port}/v1/ws`)
  await once(member, 'open')
  member.send(JSON.stringify({ ref: 1, auth: { token: token('ann') } }))
  member.send(JSON.stringify({ ref: 2, subscribe: 'room:1' }))
  await until('a join', () => received.some(({ type }) => type === 'join'))
  member.send(JSON.stringify({ ref: 3, auth: { token: token('ann', { info: 'new' }) } }))
  await until('an update', () => received.some(({ type }) => type === 'update'))
  member.send(JSON.stringify({ ref: 4, unsubscribe: 'room:1' }))
  await until('a leave', () => received.some(({ type }) => type === 'leave'))
  t.match(
    received.filter(({ type }) => type !== undefined),
    [
      { type: 'join', data: { user: 'ann', clients: 1 } },
      { type: 'update', data: { user: 'ann', info: 'new' } },
      { type: 'leave', data: { user: 'ann', clients: 0 } },
    ],
  )
  t.strictSame(await tellsIn(node, 'room:1'), ['join ann', 'update ann', 'leave ann'])
  follower.terminate()
  member.terminate()
})

t.test('invalid requests are rejected with a code', async t => {
  const node = await start(t)
  const refused = async (path: string, headers?: Record<string, string>) => {
    const { status, body } = await get(node, path, headers)
    return [status, body.error?.code]
  }
  t.strictSame(await refused('/v1/channels/news/presence'), [404, 'FW_NO_PRESENCE'])
  t.strictSame(await refused('/v1/channels/news/presence/count'), [404, 'FW_NO_PRESENCE'])
  t.strictSame(await refused('/v1/channels/fanwire:lives:1/presence'), [400, 'FW_BAD_CHANNEL'])
  t.strictSame(await refused('/v1/channels/room:1/presence?limit=1001'), [400, 'FW_BAD_PARAMETER'])
  const large = bearer(token('ann', { info: 'x'.repeat(4095) }))
  t.strictSame(await refused('/v1/channels/room:1/presence', large), [401, 'FW_UNAUTHORIZED'])
  t.strictSame(await refused('/v1/channels/hall:1/presence', {}), [200, undefined], 'anyone may')
})
