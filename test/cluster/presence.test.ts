// Presence over real nodes and a real Redis: nodes that are killed, paused and stopped, and a Redis that loses
// everything. At the end the members are the connected users, and each user's joins and leaves alternate. An
// application receives all joins and leaves by webhooks, whichever node is killed.

import { once } from 'node:events'
import { Redis } from 'ioredis'
import { Webhook } from 'standardwebhooks'
import t from 'tap'
import { WebSocket } from 'ws'
import { caps, ClosedWorld } from '../support/closed-node.ts'
import { type RunningNode, startNode } from '../support/node.ts'
import { startRedis } from '../support/redis-server.ts'
import { until } from '../support/until.ts'
import { eventsOf, type Message, startReceiver } from '../unit/hooks/receiver.ts'
import { pollAll } from '../support/poll-all.ts'

const MEMBERS = 20
const world = new ClosedWorld()
const application = await startReceiver(t)
const SECRET = `whsec_${Buffer.from('s'.repeat(32)).toString('base64')}`
world.writeRules(`
channels: [{ match: "room:*", subscribe: token, presence: true }]
webhooks: [{ url: "${application.url}", secrets: ["${SECRET}"], events: "*", batch: { within: 20ms } }]
`)

const redis = await startRedis()
const raw = new Redis(redis.url)
raw.on('error', () => {})
const settings = Object.fromEntries(
  Object.entries(world.settings).map(([name, value]) => [`FANWIRE_${name}`, value]),
)
const env = { ...settings, REDIS_URL: redis.url, FANWIRE_PRESENCE_GRACE: '1s', FANWIRE_DRAIN: '1s' }
const nodes = await Promise.all([1, 2, 3].map(() => startNode({ env })))
const first = await senderOf(nodes)
const [second, third] = nodes.filter(node => node !== first) as [RunningNode, RunningNode]
t.teardown(async () => {
  raw.disconnect()
  await Promise.all(nodes.map(node => node.kill()))
  await redis.stop()
})

const sockets = new Map<string, WebSocket>()
async function come(node: RunningNode, user: string, room = 'room:1'): Promise<void> {
  const token = world.token({ sub: user, caps: caps('*', 'sub') })
  const url = `${node.url.replace('http', 'ws')}/v1/ws?channel=${room}`
  const socket = new WebSocket(url, { headers: { authorization: `Bearer ${token}` } })
  socket.on('error', () => {})
  sockets.set(user, socket)
  await once(socket, 'message')
}
const many = (node: RunningNode, name: string) =>
  Promise.all(Array.from({ length: MEMBERS }, (_, i) => come(node, `${name}${i}`)))

async function ask(path: string, { url } = third): Promise<Record<string, never>> {
  const headers = { authorization: `Bearer ${world.keys.all.key}` }
  return (await (await fetch(`${url}${path}`, { headers })).json()) as Record<string, never>
}

/** The node that sends webhooks. */
async function senderOf(among: readonly RunningNode[]): Promise<RunningNode> {
  const [one] = among as [RunningNode]
  let found: RunningNode | undefined
  await until('one of the nodes sends', async () => {
    const { sender } = await ask('/v1/admin/webhooks', one)
    const { nodes } = (await ask('/v1/admin/nodes', one)) as unknown as {
      nodes: { id: string; pid: number }[]
    }
    const pid = nodes.find(({ id }) => id === sender)?.pid
    return (found = among.find(node => node.pid === pid)) !== undefined
  })
  return found as RunningNode
}
const users = async () => (await ask('/v1/channels/room:1/presence/count')).users as unknown as number
interface Received {
  readonly id: string
  readonly type: string
  readonly data: { readonly channel?: string; readonly user?: string }
}
const readAll = (channel: string) => pollAll<Received>(channel, ask)

function alternate(all: readonly Received[], [come, go]: readonly [string, string]): boolean {
  const there = new Set<string>()
  return all.every(({ type, data: { user = '' } }) => {
    if (type === come) return !there.has(user) && there.add(user)
    return type !== go || there.delete(user)
  })
}

t.test('members of a killed, paused or stopped node leave once, and return when it resumes', async t => {
  await Promise.all([many(first, 'a'), many(second, 'b'), many(third, 'c')])
  await until('all users are members', async () => (await users()) === 3 * MEMBERS)
  let coming = 0
  const load = setInterval(() => void come(third, `l${coming++}`, 'room:load'), 100)
  await until('the application is notified', () => application.taken.includes('presence.joined room:load l5'))
  await first.kill()
  second.signal('SIGSTOP')
  await until('only the members of the third node are left', async () => (await users()) === MEMBERS)
  clearInterval(load)
  second.signal('SIGCONT')
  await until('the members of the second node are back', async () => (await users()) === 2 * MEMBERS)
  const [lives] = [...new Set((await ask('/v1/lives')).events as unknown as { channel: string }[])]
  t.ok(lives)
  await second.stop()
  await until('its members have left', async () => (await users()) === MEMBERS)
  const all = await readAll('fanwire:presence:room:1')
  t.ok(alternate(all, ['join', 'leave']), 'joins and leaves alternate')
  t.equal(all.filter(({ type }) => type === 'leave').length, 3 * MEMBERS, 'each once')
})

t.test('the log of lives has these joins and leaves, too', async t => {
  const joins = (await readAll('fanwire:presence:room:1')).map(({ type, data }) => `${type} ${data.user}`)
  let found: string[] = []
  await until('the log has all of them', async () => {
    const pages = await Promise.all(Array.from({ length: 16 }, (_, i) => readAll(`fanwire:lives:${i}`)))
    found = pages
      .flat()
      .filter(({ type, data }) => type.startsWith('presence') && data.channel === 'room:1')
      .map(({ type, data }) => `${type === 'presence.joined' ? 'join' : 'leave'} ${data.user}`)
    return found.length >= joins.length
  })
  t.strictSame(found, joins, 'in the same order')
})

/** The ids that the application received from each channel of the log of lives, once each, in order of arrival. */
function takenOf(messages: readonly Message[]): string[][] {
  const ids = new Set(messages.flatMap(eventsOf).map(({ id }) => id))
  return Array.from({ length: 16 }, (_, i) => [...ids].filter(id => id.startsWith(`${i}:`)))
}

t.test(
  'the application is notified of everything in order, although the sending node was killed',
  async t => {
    const log = await Promise.all(Array.from({ length: 16 }, (_, i) => readAll(`fanwire:lives:${i}`)))
    const ids = log.map((lives, i) => lives.map(({ id }) => `${i}:${id}`))
    await until('the application has all', () =>
      ids.every((each, i) => (takenOf(application.messages)[i]?.length ?? 0) >= each.length),
    )
    t.strictSame(
      takenOf(application.messages).map((each, i) => each.slice(0, ids[i]?.length)),
      ids,
    )
    t.ok(ids.flat().length > 6 * MEMBERS)
    t.notOk(application.taken.some(each => each.startsWith('gap')))
    const webhook = new Webhook(SECRET)
    for (const { body, headers } of application.messages)
      webhook.verify(body, headers as Record<string, string>)
  },
)

t.test('a Redis that lost everything causes no leave', async t => {
  const kept = MEMBERS
  await raw.flushall()
  await until('all are members again', async () => (await users()) === kept)
  const all = await readAll('fanwire:presence:room:1')
  t.notOk(all.some(({ type }) => type === 'leave'))
  await redis.restart('SIGKILL')
  await until('all are members after the restart', async () => (await users()) === kept)
  t.notOk((await readAll('fanwire:presence:room:1')).some(({ type }) => type === 'leave'))
})

t.test('a stopping node hands over the sending of webhooks', async t => {
  // Redis has lost which node sends: without this, the new node could be the first to claim it.
  t.equal(await senderOf([third]), third)
  const fourth = await startNode({ env })
  nodes.push(fourth)
  t.equal(await senderOf([third, fourth]), third)
  await Promise.all([third.stop(), come(fourth, 'late')])
  await until('it is notified', () => application.taken.includes('presence.joined room:1 late'))
  await until('the leaves arrive', () => application.taken.includes(`presence.left room:1 c${MEMBERS - 1}`))
  t.equal(await senderOf([fourth]), fourth)
})
