// Resources of all nodes and Redis: once the clients of a case have left, they must be as they were before.

import { type Counts, type Footprint, footprintOf, leftOver } from '../support/footprint.ts'
import { peersOf } from '../support/peers.ts'
import { until } from '../support/until.ts'
import type { World } from './world.ts'

export interface Census {
  /** Keys in all masters, without the keys of the nodes' probes: these expire, and change with the masters. */
  readonly keys: number
  /** Bytes of data in all masters. */
  readonly redis: number
  /** Resources of each node, by name. */
  readonly nodes: Readonly<Record<string, Counts>>
}

/** A census before the load, under it, and after it. */
export interface Course {
  readonly before: Census
  readonly during: Census
  readonly after: Census
}

/** Deadline for releasing resources, ms. Nodes drop abandoned Socket.IO sessions after 23 s. */
const BACK_WITHIN = 40_000
/** Samples before a case. One is not enough, because the balancers' health checks open and close connections. */
const LOOKS = 3
/** A part of the name that only keys of probes have. */
const PROBE = '{fanwire:'
/** Bytes by which Redis' data may grow without new keys: hash tables grow in steps, and masters change. */
const REDIS_ROOM = 2 ** 20
/** Bytes by which the log of lives may grow, because its events are kept for longer than a case. */
const LIVES_ROOM = 2 ** 21

export async function takeCensus(world: World): Promise<Census> {
  const { edges, writers } = world.topology
  const key = world.application?.key
  const running = [...edges, ...writers].filter(({ running }) => running)
  const footprints = await Promise.all(running.map(({ pid, port }) => footprintOf({ pid, port, key })))
  return {
    ...(await redisHas(world)),
    nodes: Object.fromEntries(running.map(({ name }, i) => [name, countsOf(footprints[i] as Footprint)])),
  }
}

/** Leaves out memory, which random.ts checks. */
function countsOf({ descriptors, sockets, connections, readers, channels }: Footprint): Counts {
  return { descriptors, sockets, connections, readers, channels }
}

/** The census of a world without load: the minimum of several samples. */
export async function atRest(world: World): Promise<Census> {
  let least = await takeCensus(world)
  for (let i = 1; i < LOOKS; i++) least = leastOf(least, await takeCensus(world))
  return least
}

/**
 * Waits until the world has no more resources than `before`. Returns its resources, and any excess with the nodes'
 * connections, as text. The balancers must have closed their connections to the nodes. Removes `channels`, those of the
 * case, from Redis. Each figure is the minimum of all samples, to leave out the resources of reads and health checks.
 */
export async function restored(
  world: World,
  before: Census,
  channels: readonly string[],
): Promise<{ after: Census; more: string[] }> {
  let after = await takeCensus(world)
  await until(
    'resources are as before',
    async () => {
      if (exceeding(world, before, after).length === 0) return true
      // A node that has not released a channel yet recreates it.
      if (totalOf(after, 'channels') <= totalOf(before, 'channels')) await removeChannels(world, channels)
      after = leastOf(after, await takeCensus(world))
      return false
    },
    BACK_WITHIN,
  ).catch(() => {})
  const more = exceeding(world, before, after)
  return { after, more: more.length === 0 ? [] : [...more, ...peers(world)] }
}

/** The programs that each node is connected to, as text: one of them holds a connection that is left over. */
function peers({ topology: { edges, writers } }: World): string[] {
  return [...edges, ...writers]
    .filter(({ running }) => running)
    .map(({ name, pid }) => `${name} is connected to ${peersOf(pid).join(', ')}`)
}

/** Idle connections to a node, one each of nginx and HAProxy, that the census before the case may lack. */
const IDLE = 2
/** Resources of a node that sends webhooks: it reads the log of lives, and connects to the application. */
const SENDER = { channels: 16, readers: 16, sockets: 2 }

/** What `after` has in excess of `before`, as text. */
function exceeding({ application }: World, before: Census, after: Census): string[] {
  // A different node may send the webhooks now than before the case.
  const sender = application === undefined ? { channels: 0, readers: 0, sockets: 0 } : SENDER
  const more = Object.entries(after.nodes).flatMap(([name, counts]) => {
    const own = before.nodes[name]
    if (own === undefined) return []
    const allowed = {
      ...own,
      descriptors: own.descriptors + IDLE + sender.sockets,
      sockets: own.sockets + IDLE + sender.sockets,
      channels: own.channels + sender.channels,
      readers: own.readers + sender.readers,
    }
    return leftOver(allowed, counts).map(text => `${name}: ${text}`)
  })
  if (after.keys > before.keys) more.push(`Redis: ${before.keys} → ${after.keys} keys`)
  const room = REDIS_ROOM + (application === undefined ? 0 : LIVES_ROOM)
  if (after.redis > before.redis + room) more.push(`Redis: ${before.redis} → ${after.redis} bytes`)
  return more
}

function leastOf(one: Census, other: Census): Census {
  const nodes = Object.entries(one.nodes).map(([name, counts]) => {
    return [name, leastCounts(counts, other.nodes[name] ?? counts)] as const
  })
  return {
    nodes: Object.fromEntries(nodes),
    keys: Math.min(one.keys, other.keys),
    redis: Math.min(one.redis, other.redis),
  }
}

function leastCounts(one: Counts, other: Counts): Counts {
  return {
    descriptors: Math.min(one.descriptors, other.descriptors),
    sockets: Math.min(one.sockets, other.sockets),
    connections: Math.min(one.connections, other.connections),
    readers: Math.min(one.readers, other.readers),
    channels: Math.min(one.channels, other.channels),
  }
}

/** The sum over all nodes. */
export function totalOf({ nodes }: Census, figure: keyof Counts): number {
  return Object.values(nodes).reduce((total, counts) => total + (counts[figure] ?? 0), 0)
}

/** Keys and bytes of all masters. */
async function redisHas({ servers }: World): Promise<Pick<Census, 'keys' | 'redis'>> {
  let [keys, redis] = [0, 0]
  for (const server of servers()) {
    const info = String(await server('INFO'))
    if (!/^role:master/m.test(info)) continue
    const names = (await server('KEYS', '*')) as string[]
    keys += names.filter(name => !name.includes(PROBE)).length
    redis += Number(/^used_memory_dataset:(\d+)/m.exec(info)?.[1])
  }
  return { keys, redis }
}

async function removeChannels({ servers }: World, channels: readonly string[]): Promise<void> {
  for (const server of servers()) {
    for (const channel of channels) {
      const keys = (await server('KEYS', `fw:{${channel}}*`)) as string[]
      // A replica that rejects the command is covered by its master.
      for (const key of keys) await server('UNLINK', key).catch(() => {})
    }
  }
}
