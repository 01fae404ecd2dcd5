// What all nodes, and Redis, hold: once the clients of a case have left, that has to be what it was before they came.

import { type Counts, type Footprint, footprintOf, leftOver } from '../footprint.ts'
import { until } from '../until.ts'
import { ask, type World } from './world.ts'

export interface Census extends Counts {
  /** Bytes of data in all Redis servers that are masters. */
  readonly redis: number
  /** What each node holds, by its name. */
  readonly nodes: Readonly<Record<string, Counts>>
}

/** A census before the load, under it, and after it. */
export interface Course {
  readonly before: Census
  readonly during: Census
  readonly after: Census
}

/** Sessions of Socket.IO whose client went elsewhere are given up after 13 s (world.ts). Ms. */
const BACK_WITHIN = 40_000
/** Looks before a case: health checks of the balancers come and go. */
const LOOKS = 3
/** Bytes that the data of Redis may grow by: the tables that hold its keys grow by steps. */
const REDIS_ROOM = 256 * 1024

export async function takeCensus(world: World): Promise<Census> {
  const { edges, writers } = world.topology
  const running = [...edges, ...writers].filter(({ running }) => running)
  const footprints = await Promise.all(running.map(node => footprintOf(node)))
  const sum = (name: keyof Counts) => footprints.reduce((total, each) => total + each[name], 0)
  return {
    descriptors: sum('descriptors'),
    sockets: sum('sockets'),
    connections: sum('connections'),
    readers: sum('readers'),
    redis: await redisData(world),
    nodes: Object.fromEntries(running.map(({ name }, i) => [name, countsOf(footprints[i] as Footprint)])),
  }
}

/** Channels linger for longer than a case waits, and the memory of a node is its own affair (random.ts). */
function countsOf({ descriptors, sockets, connections, readers }: Footprint): Counts {
  return { descriptors, sockets, connections, readers }
}

/** The census of a world without load: the least of several looks. */
export async function atRest(world: World): Promise<Census> {
  const looks: Census[] = []
  for (let i = 0; i < LOOKS; i++) looks.push(await takeCensus(world))
  return looks.reduce((least, each) => (each.descriptors < least.descriptors ? each : least))
}

/**
 * Waits until the world holds no more than `before`. Returns what it holds, and what it holds more after all, in
 * words. The balancers have to have let go of the nodes, and the case's channels have to be gone from Redis.
 */
export async function restored(world: World, before: Census): Promise<{ after: Census; more: string[] }> {
  let [after, more] = await compared(world, before)
  await until(
    'all is as it was',
    async () => {
      ;[after, more] = await compared(world, before)
      return more.length === 0
    },
    BACK_WITHIN,
  ).catch(() => {})
  return { after, more }
}

async function compared(world: World, before: Census): Promise<[after: Census, more: string[]]> {
  const after = await takeCensus(world)
  const more = Object.entries(after.nodes).flatMap(([name, counts]) => {
    const own = before.nodes[name]
    return own === undefined ? [] : leftOver(own, counts).map(text => `${name}: ${text}`)
  })
  if (after.redis > before.redis + REDIS_ROOM) more.push(`Redis: ${before.redis} → ${after.redis} bytes`)
  return [after, more]
}

async function redisData({ redisPorts }: World): Promise<number> {
  let bytes = 0
  for (const port of redisPorts()) {
    const info = String(await ask(port, 'INFO'))
    if (!/^role:master/m.test(info)) continue
    bytes += Number(/^used_memory_dataset:(\d+)/m.exec(info)?.[1])
  }
  return bytes
}

/** Removes the channels of a case from Redis. */
export async function removeChannels({ redisPorts }: World, channels: readonly string[]): Promise<void> {
  for (const port of redisPorts()) {
    for (const channel of channels) {
      const keys = (await ask(port, 'KEYS', `fw:{${channel}}*`)) as string[]
      // Those of a cluster's replicas and of a master's replica go with their master's.
      for (const key of keys) await ask(port, 'UNLINK', key).catch(() => {})
    }
  }
}
