// Presence over real nodes and a real Redis: nodes that are killed, that stand still and that stop, and a Redis that loses
// everything. At the end the members are those who are connected, and each user's joins and leaves alternate.

import { once } from 'node:events'
import { Redis } from 'ioredis'
import t from 'tap'
import { WebSocket } from 'ws'
import { caps, ClosedWorld } from '../support/closed-node.ts'
import { type RunningNode, startNode } from '../support/node.ts'
import { startRedis } from '../support/redis-server.ts'
import { until } from '../support/until.ts'

const MEMBERS = Number(process.env.PRESENCE_MEMBERS ?? 20)
const world = new ClosedWorld()
world.writeRules('channels: [{ match: "room:*", subscribe: token, presence: true }]\nlives: "*"\n')

const redis = await startRedis()
const raw = new Redis(redis.url)
raw.on('error', () => {})
const settings = Object.fromEntries(
  Object.entries(world.settings).map(([name, value]) => [`FANWIRE_${name}`, value]),
)
const env = { ...settings, REDIS_URL: redis.url, FANWIRE_PRESENCE_GRACE: '1s' }
const nodes = await Promise.all([1, 2, 3].map(() => startNode({ env })))
const [first, second, third] = nodes as [RunningNode, RunningNode, RunningNode]
t.teardown(async () => {
  raw.disconnect()
  await Promise.all(nodes.map(node => node.kill()))
  await redis.stop()
})

const sockets = new Map<string, WebSocket>()
async function come(node: RunningNode, user: string): Promise<void> {
  const token = world.token({ sub: user, caps: caps('*', 'sub') })
  const url = `${node.url.replace('http', 'ws')}/v1/ws?channel=room:1`
  const socket = new WebSocket(url, { headers: { authorization: `Bearer ${token}` } })
  socket.on('error', () => {})
  sockets.set(user, socket)
  await once(socket, 'message')
}
const many = (node: RunningNode, name: string) =>
  Promise.all(Array.from({ length: MEMBERS }, (_, i) => come(node, `${name}${i}`)))

async function ask(path: string): Promise<Record<string, never>> {
  const headers = { authorization: `Bearer ${world.keys.all.key}` }
  return (await (await fetch(`${third.url}${path}`, { headers })).json()) as Record<string, never>
}
const users = async () => (await ask('/v1/channels/room:1/presence/count')).users as unknown as number
interface Told {
  readonly type: string
  readonly data: { readonly user?: string }
}
async function told(channel: string): Promise<Told[]> {
  const found: Told[] = []
  for (let cursor = 'earliest'; ;) {
    const page = await ask(`/v1/poll?channel=${channel}&limit=1000&cursor=${cursor}`)
    found.push(...(page.events as unknown as Told[]))
    cursor = page.cursor as unknown as string
    if (!page.more) return found
  }
}

function alternate(all: readonly Told[], [come, go]: readonly [string, string]): boolean {
  const there = new Set<string>()
  return all.every(({ type, data: { user = '' } }) => {
    if (type === come) return !there.has(user) && there.add(user)
    return type !== go || there.delete(user)
  })
}

t.test('a killed node, a paused node, a stopped node', async t => {
  await Promise.all([many(first, 'a'), many(second, 'b'), many(third, 'c')])
  await until('all', async () => (await users()) === 3 * MEMBERS)
  await first.kill()
  second.signal('SIGSTOP')
  await until('only those of the third', async () => (await users()) === MEMBERS, 40_000)
  second.signal('SIGCONT')
  await until('those of the second again', async () => (await users()) === 2 * MEMBERS)
  const [lives] = [...new Set((await ask('/v1/lives')).events as unknown as { channel: string }[])]
  t.ok(lives)
  await second.stop()
  await until('they have left', async () => (await users()) === MEMBERS)
  const all = await told('fanwire:presence:room:1')
  t.ok(alternate(all, ['join', 'leave']), 'joins and leaves alternate')
  t.equal(all.filter(({ type }) => type === 'leave').length, 3 * MEMBERS, 'each once')
})

t.test('the log of lives has these joins and leaves, too', async t => {
  const joins = (await told('fanwire:presence:room:1')).map(({ type, data }) => `${type} ${data.user}`)
  let found: string[] = []
  await until('all of it', async () => {
    const pages = await Promise.all(Array.from({ length: 16 }, (_, i) => told(`fanwire:lives:${i}`)))
    found = pages
      .flat()
      .filter(({ type }) => type.startsWith('presence'))
      .map(({ type, data }) => `${type === 'presence.joined' ? 'join' : 'leave'} ${data.user}`)
    return found.length >= joins.length
  })
  t.strictSame(found, joins, 'in the same order')
})

t.test('a Redis that lost everything causes no leave', async t => {
  const kept = MEMBERS
  await raw.flushall()
  await until('all are there again', async () => (await users()) === kept)
  const all = await told('fanwire:presence:room:1')
  t.notOk(all.some(({ type }) => type === 'leave'))
  await redis.restart('SIGKILL')
  await until('and again', async () => (await users()) === kept)
  t.notOk((await told('fanwire:presence:room:1')).some(({ type }) => type === 'leave'))
})
