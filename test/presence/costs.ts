// Measures the costs of members: joins and leaves at a steady pace relative to publishes at the same pace, a list of a
// thousand members, and memory per member.

import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { COLLECT } from '../../bench/processes/garbage.ts'
import { cpuOf } from '../../bench/processes/proc.ts'
import { footprintOf } from '../support/footprint.ts'
import type { RunningNode } from '../support/node.ts'
import { startRedis } from '../support/redis-server.ts'
import { until } from '../support/until.ts'
import { ROOM, Rooms } from './members.ts'

export interface Costs {
  readonly members: number
  /** Joins and leaves per second, as counted in the log of joins and leaves. */
  readonly joins: number
  readonly leaves: number
  /** CPU time of the node and Redis for one join and one leave, without the connection, µs. */
  readonly pair: number
  /** CPU time of the node and Redis for one published event, at the same pace, µs. */
  readonly publish: number
  /** Times of 21 responses with a thousand members, ms; `cpu`: CPU time of the node and Redis for one, ms. */
  readonly snapshot: { readonly median: number; readonly most: number; readonly cpu: number }
  /** Bytes per member, in Redis and in the node's heap. */
  readonly inRedis: number
  readonly inNode: number
}

/** Joins, leaves and publishes per second. */
export const PACE = 200
/** Duration of each measurement, s. */
const SECONDS = 10
/** Time until leaves are as frequent as joins, s: a connection lasts 1 s, and the grace period is 5 s. */
const WARM_UP = 7
const SNAPSHOTS = 21
const PLAIN = 'plain:1'

export async function costs(members: number, say: (text: string) => void): Promise<Costs> {
  const redis = await startRedis()
  const raw = new Redis(redis.url)
  const rooms = new Rooms({ REDIS_URL: redis.url })
  try {
    say(`${members} clients without a room, then ${members} members`)
    const plain = await filled(rooms, members, PLAIN)
    // This process cannot hold twice as many sockets.
    rooms.leave()
    const before = await usedBy(raw)
    const room = await filled(rooms, members, ROOM)
    await until('all users are members', async () => (await rooms.members()).users.length === members)
    const inRedis = ((await usedBy(raw)) - before) / members
    const inNode = (room.grown - plain.grown) / members
    const pids = [room.node.pid, await redisPid(raw)]
    const snapshot = await snapshots(rooms, pids)
    say(`${PACE} publishes per second, then as many connections, then as many joins and leaves`)
    const idle = await steady(rooms, pids, async () => {})
    const publish = await steady(rooms, pids, () => published(room.node))
    const connection = await steady(rooms, pids, visits(rooms, room.node, 'x', PLAIN))
    const both = await steady(rooms, pids, visits(rooms, room.node, 'y', ROOM))
    return {
      members,
      joins: both.joins,
      leaves: both.leaves,
      pair: both.cpu - connection.cpu,
      publish: publish.cpu - idle.cpu,
      snapshot,
      inRedis,
      inNode,
    }
  } finally {
    raw.disconnect()
    await rooms.close()
    await redis.stop()
  }
}

async function filled(rooms: Rooms, count: number, channel: string) {
  const node = await rooms.start()
  const before = await heapOf(rooms, node)
  await rooms.many(node, `${channel}:`, count, channel)
  return { node, grown: (await heapOf(rooms, node)) - before }
}

/** Bytes in use after a garbage collection. */
async function heapOf({ key }: Rooms, node: RunningNode): Promise<number> {
  node.signal(COLLECT)
  // The node collects its garbage in its next turn.
  await sleep(1000)
  return (await footprintOf({ ...node, key })).heap
}

/** CPU time of these processes per call of `act`, µs, and joins and leaves per second, at a steady pace. */
async function steady(rooms: Rooms, pids: readonly number[], act: () => Promise<unknown>) {
  await paced(WARM_UP, act)
  const { cursor } = await rooms.ask(`/v1/channels/${ROOM}/presence?limit=1`)
  const [began, before] = [performance.now(), cpuOf(pids).all]
  await paced(SECONDS, act)
  const cpu = (cpuOf(pids).all - before) / (SECONDS * PACE)
  const seconds = (performance.now() - began) / 1000
  const changes = await rooms.log(cursor)
  const perSecond = (type: string) => changes.filter(each => each.type === type).length / seconds
  return { cpu, joins: perSecond('join'), leaves: perSecond('leave') }
}

/** Calls `act` PACE times a second. */
async function paced(seconds: number, act: () => Promise<unknown>): Promise<void> {
  const began = performance.now()
  const acts: Promise<unknown>[] = []
  for (let n = 0; n < seconds * PACE; n++) {
    const due = began + (n * 1000) / PACE
    if (due > performance.now()) await sleep(due - performance.now())
    acts.push(act())
  }
  await Promise.all(acts)
}

/** Each call connects another user. If more than PACE are connected, it disconnects the first of them. */
function visits(rooms: Rooms, node: RunningNode, name: string, channel: string): () => Promise<void> {
  let count = 0
  const there: string[] = []
  return async () => {
    const user = `${name}${count++}`
    await rooms.come(node, user, channel)
    if (there.push(user) > PACE) rooms.sockets.get(there.shift() ?? '')?.terminate()
  }
}

async function published({ url }: RunningNode): Promise<void> {
  const answer = await fetch(`${url}/v1/channels/open:1/events`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"user":"ann","info":{"name":"ann"},"clients":1}',
  })
  if (answer.status !== 201) throw new Error(`publishing was answered ${answer.status}`)
  await answer.arrayBuffer()
}

async function snapshots(rooms: Rooms, pids: readonly number[]): Promise<Costs['snapshot']> {
  const times: number[] = []
  const before = cpuOf(pids).all
  for (let i = 0; i < SNAPSHOTS; i++) {
    const from = performance.now()
    await rooms.ask(`/v1/channels/${ROOM}/presence?limit=1000`)
    times.push(performance.now() - from)
  }
  const cpu = (cpuOf(pids).all - before) / 1000 / SNAPSHOTS
  times.sort((a, b) => a - b)
  return { median: times[Math.floor(SNAPSHOTS / 2)] ?? 0, most: times.at(-1) ?? 0, cpu }
}

async function usedBy(raw: Redis): Promise<number> {
  return Number(/^used_memory_dataset:(\d+)/m.exec(await raw.info('memory'))?.[1])
}

async function redisPid(raw: Redis): Promise<number> {
  return Number(/^process_id:(\d+)/m.exec(await raw.info('server'))?.[1])
}
