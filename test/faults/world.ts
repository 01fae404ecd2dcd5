// What the faults are done to: Redis, two writers, three edges, nginx and HAProxy, each a process of its own. One of
// the edges reaches Redis over a way that can be cut.

import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { type Part, startTopology, type Topology } from '../../infra/topology.ts'
import { proxyRedis, type RedisProxy } from '../redis-proxy.ts'
import { type RedisServer, startRedis } from '../redis-server.ts'

/** The edge whose way to Redis can be cut. */
export const CUT_OFF = 'edge-3'

export interface World {
  readonly topology: Topology
  readonly redis: RedisServer
  /** The way of `CUT_OFF` to Redis. */
  readonly proxy: RedisProxy
  /** From 0 up to but not including 1: the same numbers for the same seed. */
  random(): number
  /** Nobody harms this node. */
  spared: string | undefined
  /** Says what is being done. */
  say(text: string): void
  close(): Promise<void>
}

export interface WorldOptions {
  readonly seed: number
  /** Nodes run from dist/, which has to be there, rather than from source. */
  readonly built: boolean
  readonly say: (text: string) => void
}

export async function startWorld({ seed, built, say }: WorldOptions): Promise<World> {
  const redis = await startRedis({ args: ['--appendonly', 'yes', '--maxmemory-policy', 'noeviction'] })
  const proxy = await proxyRedis(redis.port)
  try {
    const topology = await startTopology({
      redisUrl: redis.url,
      lbs: ['nginx', 'haproxy'],
      built,
      env: { FANWIRE_HEARTBEAT: '3s', FANWIRE_DRAIN: '1s' },
      nodeEnv: (name): Record<string, string> => (name === CUT_OFF ? { REDIS_URL: proxy.url } : {}),
    })
    return {
      topology,
      redis,
      proxy,
      random: randomFrom(seed),
      spared: undefined,
      say,
      async close() {
        await topology.close('SIGKILL')
        await proxy.close()
        await redis.stop()
      },
    }
  } catch (error) {
    await proxy.close()
    await redis.stop()
    throw error
  }
}

/** One of several, by chance; not the spared one. */
export function anyOf<P extends Part>(world: World, parts: readonly P[]): P {
  const some = parts.filter(({ name }) => name !== world.spared)
  const one = some[Math.floor(world.random() * some.length)]
  if (one === undefined) throw new Error('there is none')
  return one
}

/** One command to Redis, over a connection of its own. */
export async function ask(port: number, command: string, ...args: (string | number)[]): Promise<unknown> {
  const redis = new Redis(port, '127.0.0.1', { lazyConnect: true, retryStrategy: () => null })
  redis.on('error', () => {})
  try {
    await redis.connect()
    return await redis.call(command, ...args)
  } finally {
    redis.disconnect()
  }
}

/** Whether a node says that it is ready. */
export async function isReady({ url }: Part): Promise<boolean> {
  const answer = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(1000) }).catch(() => undefined)
  await answer?.arrayBuffer()
  return answer?.status === 200
}

/** Returns once it is so; raises when it is not within `ms`. */
export async function until(what: string, ms: number, isSo: () => Promise<boolean> | boolean): Promise<void> {
  const end = performance.now() + ms
  while (!(await isSo())) {
    if (performance.now() > end) throw new Error(`it is not so within ${ms} ms: ${what}`)
    await sleep(50)
  }
}

/** Mulberry32: a small generator of numbers that look random. */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
