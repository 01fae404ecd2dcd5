// Measures the costs of members: a join relative to a publish, a list of a thousand members, and memory per member.

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
  /** CPU time of the node and Redis for one join, without its connection, µs; `publish`: for one published event. */
  readonly join: number
  readonly publish: number
  /** Times of 21 responses with a thousand members, ms; `cpu`: CPU time of the node and Redis for one, ms. */
  readonly snapshot: { readonly median: number; readonly most: number; readonly cpu: number }
  /** Bytes per member. */
  readonly inRedis: number
  readonly inNode: number
}

const JOINS = 2000
const PUBLISHES = 2000
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
    await until('all are members', async () => (await rooms.members()).users.length === members)
    const inRedis = ((await usedBy(raw)) - before) / members
    const inNode = (room.grown - plain.grown) / members
    say(`${JOINS} joins, ${PUBLISHES} publishes`)
    const pid = await redisPid(raw)
    const cpu = async (node: RunningNode, work: () => Promise<unknown>, count: number) => {
      const from = cpuOf([node.pid, pid]).all
      await work()
      return (cpuOf([node.pid, pid]).all - from) / count
    }
    const bare = await cpu(plain.node, () => rooms.many(plain.node, 'x', JOINS, PLAIN), JOINS)
    const joining = async () => {
      await rooms.many(room.node, 'y', JOINS)
      await until('they are members', async () => (await countOf(rooms)) === members + JOINS)
    }
    const joined = await cpu(room.node, joining, JOINS)
    const published = await cpu(plain.node, () => publish(plain.node, PUBLISHES), PUBLISHES)
    return {
      members,
      join: joined - bare,
      publish: published,
      snapshot: await snapshots(rooms, [room.node.pid, pid]),
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

async function countOf(rooms: Rooms): Promise<number> {
  const found = (await rooms.ask(`/v1/channels/${ROOM}/presence/count`)) as unknown as { users: number }
  return found.users
}

async function publish({ url }: RunningNode, count: number): Promise<void> {
  for (let at = 0; at < count; at += 10) {
    const sent = Array.from({ length: 10 }, async () => {
      const answer = await fetch(`${url}/v1/channels/open:1/events`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: '{"user":"ann","info":{"name":"ann"},"clients":1}',
      })
      if (answer.status !== 201) throw new Error(`publishing was answered ${answer.status}`)
      await answer.arrayBuffer()
    })
    await Promise.all(sent)
  }
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
