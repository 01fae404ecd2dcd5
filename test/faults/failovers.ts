// Faults of a Redis with replicas: a replica that sentinels promote, and a Redis Cluster.

import { setTimeout as sleep } from 'node:timers/promises'
import {
  type ClusterGroup,
  type SentinelGroup,
  startCluster as startClusterGroup,
  startSentinel as startSentinelGroup,
} from '../support/redis-groups.ts'
import type { RedisServer } from '../support/redis-server.ts'
import type { Fault } from './faults.ts'
import type { Load } from './load.ts'
import { type Server, serverAt, startWorld, type World, type WorldOptions } from './world.ts'
import { until } from '../support/until.ts'

export interface SentinelWorld extends World {
  readonly group: SentinelGroup
}

export interface ClusterWorld extends World {
  readonly group: ClusterGroup
}

const PASSWORD = 'chaos'

/** A master, a replica, and three sentinels that watch them. */
export async function startSentinel(options: WorldOptions): Promise<SentinelWorld> {
  const group = await startSentinelGroup(3, PASSWORD)
  return {
    ...(await startWorld(
      options,
      group.url,
      () => serversOf(group, PASSWORD),
      () => group.stop(),
    )),
    group,
  }
}

/** Three masters with a replica each. */
export async function startCluster(options: WorldOptions): Promise<ClusterWorld> {
  const group = await startClusterGroup(3, 1)
  return {
    ...(await startWorld(
      options,
      group.url,
      () => serversOf(group),
      () => group.stop(),
    )),
    group,
  }
}

function serversOf({ servers }: SentinelGroup | ClusterGroup, password = ''): Server[] {
  return servers.map(({ port }) => serverAt(port, password))
}

/** How long a replica is paused before its master dies, ms. */
const LAG = 1000
/** How long the load runs between two steps of a fault, ms. */
const BETWEEN = 2000
/** Maximum duration of a failover, ms. */
const TAKEN_OVER_WITHIN = 20_000

export const sentinelFaults: readonly Fault<SentinelWorld>[] = [
  {
    name: 'sentinel-failover',
    title: 'Sentinel: failover to a replica that lags, and back again',
    gaps: 'must',
    refuses: true,
    async inject({ group, say }) {
      for (let i = 0; i < 2; i++) {
        const [master, replica] = [await group.master(), await group.replica()]
        await dieWhileItLags(say, { master, replica }, () => group.master())
        // Sentinels do this too, but later.
        await until('the old master answers', () => group.raw(master).ping())
        await group.raw(master).replicaof('127.0.0.1', replica.port)
        await group.replica()
      }
    },
  },
  {
    name: 'sentinel-ordered',
    title: 'Sentinel: failover at its order, and back again',
    gaps: 'must',
    async inject({ group, say }) {
      for (let i = 0; i < 2; i++) {
        const replica = await group.replica()
        const [sentinel] = group.sentinels
        if (sentinel === undefined) throw new Error('there is no sentinel')
        say('SENTINEL FAILOVER')
        await group.watch(sentinel).call('SENTINEL', 'FAILOVER', group.name)
        await takenOver(replica, () => group.master())
        await sleep(BETWEEN)
      }
    },
  },
]

export const clusterFaults: readonly Fault<ClusterWorld>[] = [
  {
    name: 'cluster-failover',
    title: 'Cluster: a master dies while its replica lags, and later the other way round',
    gaps: 'must',
    refuses: true,
    async inject({ group, say }, load) {
      const slot = await slotOf(group, load)
      for (let i = 0; i < 2; i++) {
        const { master, replica } = await group.pair(slot)
        await dieWhileItLags(say, { master, replica }, () => group.owner(slot))
        await group.settled()
      }
    },
  },
  {
    name: 'cluster-ordered',
    title: 'Cluster: `CLUSTER FAILOVER`, and back again',
    gaps: 'may',
    async inject({ group, say }, load) {
      const slot = await slotOf(group, load)
      for (let i = 0; i < 2; i++) {
        say('CLUSTER FAILOVER')
        await group.failover(slot)
        await sleep(BETWEEN)
      }
      await group.settled()
    },
  },
  {
    name: 'slot-moved',
    title: 'Cluster: a slot moves to another master, and back again',
    gaps: 'may',
    async inject({ group, say }, load) {
      const slot = await slotOf(group, load)
      const { master: home } = await group.pair(slot)
      const owners = await Promise.all([0, 8000, 16_000].map(each => group.owner(each)))
      const away = owners.find(owner => owner !== undefined && owner !== home)
      if (away === undefined) throw new Error('there is no other master')
      for (const to of [away, home]) {
        say('a slot moves, and stays half-way for a while')
        await group.move(slot, to, () => sleep(500))
        await sleep(BETWEEN)
      }
      await group.settled()
    },
  },
]

type Current = () => Promise<RedisServer | undefined>

async function takenOver(replica: RedisServer, current: Current): Promise<void> {
  await until('the replica is the master', async () => (await current()) === replica, TAKEN_OVER_WITHIN)
}

/** The master dies with events that its replica lacks, the replica takes over, and the master is restarted. */
async function dieWhileItLags(
  say: World['say'],
  { master, replica }: { master: RedisServer; replica: RedisServer },
  current: Current,
): Promise<void> {
  say(`the replica is paused for ${LAG} ms, then kill -9 of the master`)
  replica.pause()
  await sleep(LAG)
  await master.kill()
  replica.resume()
  await takenOver(replica, current)
  await sleep(BETWEEN)
  say('the old master returns as a replica')
  await master.restart()
}

/** The slot of the load's first channel, as Redis reports it. */
async function slotOf(group: ClusterGroup, { channels }: Load): Promise<number> {
  const [server] = group.servers
  if (server === undefined) throw new Error('there is no server')
  return Number(await group.raw(server).call('CLUSTER', 'KEYSLOT', `fw:{${channels[0]}}:m`))
}
