// One writer, two edges and a spare one, one Redis, each a separate process: a single publish reaches readers on both
// edges and on all wires, and a reader that is cut from one edge resumes on another.

import t from 'tap'
import { ALL_WIRES, type Client, type Wire } from '../contract/clients.ts'
import { type RunningNode, startNode } from '../support/node.ts'
import { anyRedis } from '../support/redis-server.ts'

const EVENTS = 300

const redis = await anyRedis()
const prefix = `fwtest${Math.random().toString(36).slice(2, 8)}`
const start = (ROLE: string) =>
  startNode({
    env: {
      ROLE,
      REDIS_URL: redis.url,
      FANWIRE_REDIS_PREFIX: prefix,
      FANWIRE_DRAIN: '100ms',
      FANWIRE_SOCKET_IO: '1',
      FANWIRE_WS_DEFLATE: '1',
    },
  })
const [writer, east, west, spare] = (await Promise.all(['writer', 'edge', 'edge', 'edge'].map(start))) as [
  RunningNode,
  RunningNode,
  RunningNode,
  RunningNode,
]

t.teardown(async () => {
  await Promise.all([writer, east, west, spare].map(node => node.stop()))
  await redis.stop()
})

async function publish(channel: string, n: number): Promise<string> {
  const answer = await fetch(`${writer.url}/v1/channels/${channel}/events?type=count`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'idempotency-key': `${channel}/${n}` },
    body: JSON.stringify({ n }),
  })
  if (answer.status !== 201) throw new Error(`${answer.status} ${await answer.text()}`)
  return ((await answer.json()) as { id: string }).id
}

/** Publishes the numbers from `from` to `to` - 1 as NDJSON. Returns the ids. */
async function publishMany(channel: string, from: number, to: number): Promise<string[]> {
  const lines = Array.from({ length: to - from }, (_, i) =>
    JSON.stringify({ channel, type: 'count', data: { n: from + i } }),
  )
  const answer = await fetch(`${writer.url}/v1/events`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-ndjson' },
    body: lines.join('\n'),
  })
  return (await answer.text())
    .trim()
    .split('\n')
    .map(line => (JSON.parse(line) as { id: string }).id)
}

/** The next `count` events of a client, as texts. Raises on a gap, a close or a timeout. */
async function take(client: Client, count: number): Promise<string[]> {
  const events: string[] = []
  while (events.length < count) events.push(await client.event())
  return events
}

const idOf = (text: string) => (JSON.parse(text) as { id: string }).id

t.test('a single publish reaches readers on both edges and all wires', async t => {
  const channel = 'everywhere'
  const clients = await Promise.all(
    [east, west].flatMap(edge =>
      ALL_WIRES.map(wire => wire.connect(edge, { channels: [channel], cursor: 'earliest' })),
    ),
  )
  const received = Promise.all(clients.map(client => take(client, EVENTS)))
  const ids: string[] = []
  for (let n = 0; n < EVENTS / 2; n++) ids.push(await publish(channel, n))
  ids.push(...(await publishMany(channel, EVENTS / 2, EVENTS)))
  const [first, ...others] = await received
  t.same(first?.map(idOf), ids, 'every id, in the order in which it was acknowledged')
  for (const events of others) t.same(events, first, 'the same bytes')
  for (const client of clients) client.cut()
})

/** Reads `EVENTS` events while they are published, and moves to another edge after every few events. */
async function wander(wire: Wire, edges: readonly RunningNode[], channel: string): Promise<string[]> {
  const events: string[] = []
  let client = await wire.connect(edges[0] as RunningNode, { channels: [channel], cursor: 'earliest' })
  for (let move = 1; events.length < EVENTS; move++) {
    events.push(...(await take(client, Math.min(1 + ((move * 7) % 23), EVENTS - events.length))))
    const { cursor } = client
    client.cut()
    const edge = edges[move % edges.length] as RunningNode
    const paging = wire.streams ? {} : { limit: 1 + (move % 9) }
    client = await wire.connect(edge, { channels: [channel], cursor, ...paging })
  }
  client.cut()
  return events
}

for (const wire of ALL_WIRES) {
  const name = wire.over === undefined ? wire.name : `${wire.name}-${wire.over}`
  t.test(`a ${name} reader that moves between edges misses and repeats nothing`, async t => {
    const channel = `moving-${name}`
    const reading = wander(wire, [east, west], channel)
    const ids: string[] = []
    for (let n = 0; n < EVENTS / 3; n++) ids.push(await publish(channel, n))
    ids.push(...(await publishMany(channel, EVENTS / 3, EVENTS)))
    t.same((await reading).map(idOf), ids)
  })
}

t.test('readers of a killed edge resume on another', async t => {
  const channel = 'killed'
  const before = await publishMany(channel, 0, 50)
  const clients = await Promise.all(
    ALL_WIRES.map(wire => wire.connect(spare, { channels: [channel], cursor: 'earliest' })),
  )
  const first = await Promise.all(clients.map(client => take(client, 30)))
  await spare.kill()
  const after = await publishMany(channel, 50, 100)
  await Promise.all(
    ALL_WIRES.map(async (wire, i) => {
      const resumed = await wire.connect(west, { channels: [channel], cursor: (clients[i] as Client).cursor })
      const rest = await take(resumed, 70)
      resumed.cut()
      t.same([...(first[i] ?? []), ...rest].map(idOf), [...before, ...after], wire.name)
    }),
  )
})

t.test('a duplicate idempotency key appends nothing', async t => {
  const id = await publish('once', 1)
  t.equal(await publish('once', 1), id)
  const info = (await (await fetch(`${east.url}/v1/channels/once`)).json()) as { count: number; head: string }
  t.match(info, { count: 1, head: id })
})

t.test('an edge has no publish routes, and a writer no wires', async t => {
  const options = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '1' }
  t.equal((await fetch(`${east.url}/v1/channels/a/events`, options)).status, 405)
  t.equal((await fetch(`${east.url}/v1/events`, options)).status, 404)
  for (const wire of ALL_WIRES) {
    t.equal((await fetch(`${writer.url}/v1/${wire.name}?channel=a`)).status, 404, wire.name)
  }
  t.equal((await fetch(`${writer.url}/socket.io/?EIO=4&transport=polling`)).status, 404, 'socket.io')
})
