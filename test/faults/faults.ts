// Faults of a running cluster, and their allowed consequences. Each fault is over when its function returns:
// everything that was stopped runs again.

import { cp, rm } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { NodePart } from '../../infra/local/topology.ts'
import { aofDir, cutAof, startRedis } from '../support/redis-server.ts'
import type { Load } from './load.ts'
import { anyOf, ask, CUT_OFF, isReady, type SingleWorld, type World } from './world.ts'
import { until } from '../support/until.ts'

export interface Fault<W extends World = World> extends Expected {
  /** Whether test/cluster/faults.test.ts runs it too, not only `npm run chaos`. */
  readonly quick?: boolean
  /** Raises for failures that the account can't show. */
  inject(world: W, load: Load): Promise<void>
}

/** The allowed and required effects of a fault. */
export interface Expected {
  readonly name: string
  readonly title: string
  /** Whether readers may receive gaps. `none`: no event can be lost. `must`: there is at least one per reader. */
  readonly gaps: 'none' | 'may' | 'must'
  /** The log is unavailable for so long that some publishes must be refused. */
  readonly refuses?: boolean
  /** Some connections of readers must end. */
  readonly cuts?: boolean
}

/** How long a node stays down, ms. */
const AWAY = 1200

/** Time after which a node with an unresponsive log is no longer ready, ms: docs/protocol.md#process. */
const UNREADY_WITHIN = 5000

/** Faults of a world with a single Redis. */
export const faults: readonly Fault<SingleWorld>[] = [
  {
    name: 'edge-killed',
    title: 'an edge is killed (`kill -9`)',
    gaps: 'none',
    cuts: true,
    quick: true,
    inject: world => kill(world, anyOf(world, world.topology.edges)),
  },
  {
    name: 'edge-stopped',
    title: 'an edge is stopped (SIGTERM)',
    gaps: 'none',
    cuts: true,
    async inject(world) {
      const edge = anyOf(world, world.topology.edges)
      world.say(`SIGTERM to ${edge.name}`)
      const { code, signal } = await edge.stop()
      await restart(edge)
      if (code !== 0) throw new Error(`${edge.name} ended with ${code ?? signal}`)
    },
  },
  {
    name: 'rolling-restart',
    title: 'all edges and writers are restarted, one after the other',
    gaps: 'none',
    cuts: true,
    async inject({ topology, spared, say }) {
      for (const node of [...topology.edges, ...topology.writers]) {
        if (node.name === spared) continue
        say(`restart of ${node.name}`)
        await restart(node)
        // The load balancers need time to notice the restart.
        await sleep(AWAY)
      }
    },
  },
  {
    name: 'writer-killed',
    title: 'a writer is killed (`kill -9`)',
    gaps: 'none',
    quick: true,
    inject: world => kill(world, anyOf(world, world.topology.writers)),
  },
  {
    name: 'pubsub-killed',
    title: 'Redis: `CLIENT KILL TYPE pubsub`, three times',
    gaps: 'none',
    async inject({ redis, random, say }) {
      for (let n = 0; n < 3; n++) {
        say('CLIENT KILL TYPE pubsub')
        await ask(redis.port, 'CLIENT', 'KILL', 'TYPE', 'pubsub')
        await sleep(200 + 800 * random())
      }
    },
  },
  {
    name: 'paused',
    title: 'Redis: `CLIENT PAUSE` for 3 s, then for 8 s',
    gaps: 'none',
    async inject({ redis, say }) {
      for (const ms of [3000, 8000]) {
        say(`CLIENT PAUSE ${ms}`)
        await ask(redis.port, 'CLIENT', 'PAUSE', ms)
        await sleep(ms + AWAY)
      }
    },
  },
  {
    name: 'stopped',
    title: 'Redis: SIGSTOP for 20 s',
    gaps: 'none',
    refuses: true,
    async inject(world) {
      const { redis, say } = world
      say('SIGSTOP of Redis for 20 s')
      redis.pause()
      try {
        await sleep(20_000)
      } finally {
        redis.resume()
      }
      await until('every node is ready again', () => allReady(world))
    },
  },
  {
    name: 'redis-killed',
    title: 'Redis: `kill -9`, restart with its AOF',
    gaps: 'must',
    refuses: true,
    inject: world => restartRedis(world, 'its AOF', async () => {}),
  },
  {
    name: 'tail-lost',
    title: 'Redis: `kill -9`, restart without the last KiB of its AOF',
    gaps: 'must',
    refuses: true,
    quick: true,
    inject: world => restartRedis(world, 'the last KiB of its AOF cut off', () => cutAof(world.redis, 1024)),
  },
  {
    name: 'older-aof',
    title: 'Redis: `kill -9`, restart with an AOF from 2 s before',
    gaps: 'must',
    refuses: true,
    async inject(world) {
      const kept = `${aofDir(world.redis)}.kept`
      await cp(aofDir(world.redis), kept, { recursive: true })
      await sleep(2000)
      await restartRedis(world, 'an AOF from 2 s before', async () => {
        await rm(aofDir(world.redis), { recursive: true })
        await cp(kept, aofDir(world.redis), { recursive: true })
        await rm(kept, { recursive: true })
      })
    },
  },
  {
    name: 'no-aof',
    title: 'Redis: `kill -9`, restart without its AOF',
    gaps: 'must',
    refuses: true,
    inject: world => restartRedis(world, 'nothing', () => rm(aofDir(world.redis), { recursive: true })),
  },
  {
    name: 'flushed',
    title: 'Redis: `FLUSHALL`',
    gaps: 'must',
    async inject({ redis, say }) {
      say('FLUSHALL')
      await ask(redis.port, 'FLUSHALL')
    },
  },
  {
    name: 'key-evicted',
    title: "Redis: each of a channel's four keys is deleted, one after the other",
    gaps: 'may',
    async inject({ redis, say }, { channels }) {
      for (const key of ['m', 's', 'i0', 'i1']) {
        say(`UNLINK of the key ${key} of ${channels[0]}`)
        await ask(redis.port, 'UNLINK', `fw:{${channels[0]}}:${key}`)
        await sleep(AWAY)
      }
    },
  },
  {
    name: 'replica-attached',
    title: 'Redis: a replica is attached, and removed',
    gaps: 'may',
    async inject({ redis, say }) {
      say('a replica is attached')
      const replica = await startRedis({ args: ['--replicaof', '127.0.0.1', `${redis.port}`] })
      try {
        await until('the replica is in sync', async () => {
          return `${await ask(replica.port, 'INFO', 'replication')}`.includes('master_link_status:up')
        })
        await sleep(AWAY)
      } finally {
        await replica.stop()
      }
    },
  },
  {
    name: 'edge-cut-off',
    title: 'one edge is cut off from Redis for 10 s, its connections stay open',
    gaps: 'none',
    async inject({ topology, proxy, say }, load) {
      const edge = topology.edges.find(({ name }) => name === CUT_OFF)
      if (edge === undefined) throw new Error(`there is no ${CUT_OFF}`)
      say(`${edge.name} is cut off from Redis`)
      proxy.mode = 'frozen'
      try {
        const began = performance.now()
        await until(`${edge.name} is not ready`, async () => !(await isReady(edge)), UNREADY_WITHIN)
        say(`${edge.name} is not ready after ${Math.round(performance.now() - began)} ms: new readers come`)
        await load.join()
        await sleep(Math.max(0, 10_000 - (performance.now() - began)))
      } finally {
        proxy.mode = 'pass'
      }
      await until(`${edge.name} is ready again`, () => isReady(edge))
    },
  },
]

/** Kills Redis, lets `change` modify its files, and starts it again. */
async function restartRedis(
  { redis, say, random }: SingleWorld,
  what: string,
  change: () => Promise<void>,
): Promise<void> {
  say(`kill -9 of Redis, restart with ${what}`)
  await redis.kill()
  await change()
  // Long enough for publishes to be rejected.
  await sleep(1000 + 1000 * random())
  await redis.restart()
}

async function kill({ say }: World, node: NodePart): Promise<void> {
  say(`kill -9 of ${node.name}`)
  await node.kill()
  await sleep(AWAY)
  await restart(node)
}

/** Acts as a supervisor of a node: one that cannot reach its log in time exits, and is restarted. */
async function restart(node: NodePart): Promise<void> {
  for (let left = 3; ; left--) {
    try {
      return await node.restart()
    } catch (error) {
      if (left === 0) throw error
    }
  }
}

async function allReady({ topology }: World): Promise<boolean> {
  const ready = await Promise.all([...topology.edges, ...topology.writers].map(isReady))
  return ready.every(Boolean)
}
