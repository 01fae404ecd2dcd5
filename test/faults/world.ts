// The cluster for the faults: Redis, two writers, three edges, nginx and HAProxy, each a separate process.

import { Redis } from 'ioredis'
import { COLLECTABLE } from '../../bench/processes/garbage.ts'
import { freePort } from '../../infra/local/ports.ts'
import { type Part, startTopology, type Topology } from '../../infra/local/topology.ts'
import { get } from '../support/footprint.ts'
import { proxyRedis, type RedisProxy } from '../support/redis-proxy.ts'
import { type RedisServer, startRedis } from '../support/redis-server.ts'
import { until } from '../support/until.ts'
import { Application } from './lives/application.ts'
import { appsFile } from '../support/pusher.ts'
import { randomFrom } from '../support/random.ts'
import { FAULTS_APP } from './readers/pusher.ts'

/** Sends one command to a Redis server. */
export type Server = (command: string, ...args: (string | number)[]) => Promise<unknown>

export interface World {
  readonly topology: Topology
  /** The ports of the edges for cleartext HTTP/2. */
  readonly h2cPorts: readonly number[]
  /** All running Redis servers. */
  servers(): readonly Server[]
  /** A number from 0 up to but not including 1. A seed and a case determine the sequence. */
  random(): number
  /** Prepares a case: clears everything that the previous one left. */
  begin(name: string): Promise<void>
  /** Makes the load balancers close their idle connections to the nodes. No client may be connected. */
  forget(): Promise<void>
  /** No fault affects this node. */
  spared: string | undefined
  /** Receives joins and leaves; undefined without webhooks. */
  readonly application: Application | undefined
  /** Reports the current step. */
  say(text: string): void
  close(): Promise<void>
}

/** A world with one Redis. One of its edges connects to Redis through a proxy that can be cut. */
export interface SingleWorld extends World {
  readonly redis: RedisServer
  /** The proxy between `CUT_OFF` and Redis. */
  readonly proxy: RedisProxy
}

export interface WorldOptions {
  readonly seed: number
  /** Nodes run from dist/, which must exist, rather than from source. */
  readonly built: boolean
  readonly say: (text: string) => void
  /** Users join and leave, and an application is notified. */
  readonly lives?: boolean
}

/** Settings of the nodes: timeouts that suit the suite, and a retention limit that long runs reach. */
const SETTINGS = {
  FANWIRE_HEARTBEAT: '3s',
  FANWIRE_DRAIN: '1s',
  // Stalled readers are closed while a case runs.
  FANWIRE_STALL: '10s',
  // Longer than a reader needs to reconnect.
  FANWIRE_LINGER: '3s',
  FANWIRE_HISTORY_EVENTS: '3000',
  FANWIRE_SOCKET_IO: '1',
  FANWIRE_CENTRIFUGE: '1',
  NODE_OPTIONS: COLLECTABLE.join(' '),
}
const EDGES = ['edge-1', 'edge-2', 'edge-3']

/** The edge whose connection to Redis can be cut. */
export const CUT_OFF = 'edge-3'

export async function startSingle(options: WorldOptions): Promise<SingleWorld> {
  const redis = await startRedis({ args: ['--appendonly', 'yes', '--maxmemory-policy', 'noeviction'] })
  const proxy = await proxyRedis(redis.port)
  const stop = async () => {
    await proxy.close()
    await redis.stop()
  }
  const ways = (name: string) => (name === CUT_OFF ? proxy.url : redis.url)
  return { ...(await startWorld(options, redis.url, () => [serverAt(redis.port)], stop, ways)), redis, proxy }
}

/** A world with Redis servers that already run. `stop` stops them when the world closes or cannot start. */
export async function startWorld(
  { seed, built, say, lives = false }: WorldOptions,
  redisUrl: string,
  servers: () => readonly Server[],
  stop: () => Promise<void>,
  way = (_name: string) => redisUrl,
): Promise<World> {
  let topology: Topology
  const application = lives ? await Application.start() : undefined
  const h2cPorts = await Promise.all(EDGES.map(freePort))
  const h2c = (name: string) => {
    const port = h2cPorts[EDGES.indexOf(name)]
    return port === undefined ? {} : { FANWIRE_H2C_PORT: `${port}` }
  }
  try {
    topology = await startTopology({
      redisUrl,
      lbs: ['nginx', 'haproxy'],
      built,
      env: { ...SETTINGS, FANWIRE_PUSHER_APPS: appsFile([FAULTS_APP]), ...application?.settings },
      edges: EDGES.length,
      nodeEnv: name => ({ REDIS_URL: way(name), ...h2c(name) }),
    })
  } catch (error) {
    await application?.close()
    await stop()
    throw error
  }
  let random = randomFrom(seed)
  const forget = async () => {
    await Promise.all(topology.lbs.map(lb => lb.restart()))
  }
  return {
    topology,
    h2cPorts,
    servers,
    random: () => random(),
    spared: undefined,
    application,
    say,
    async begin(name) {
      random = randomFrom([...name].reduce((sum, char) => Math.imul(sum, 31) + char.charCodeAt(0), seed))
      const nodes = [...topology.edges, ...topology.writers]
      await Promise.all(nodes.filter(({ running }) => !running).map(node => node.restart()))
      await until('every node is ready', async () => {
        return (await Promise.all(nodes.map(isReady))).every(Boolean)
      })
      await forget()
    },
    forget,
    async close() {
      await topology.close('SIGKILL')
      await application?.close()
      await stop()
    },
  }
}

/** A random part, but not the spared one. */
export function anyOf<P extends Part>(world: World, parts: readonly P[]): P {
  const some = parts.filter(({ name }) => name !== world.spared)
  const one = some[Math.floor(world.random() * some.length)]
  if (one === undefined) throw new Error('there is no part to choose')
  return one
}

/** Sends one command to Redis over a separate connection. */
export function ask(port: number, command: string, ...args: (string | number)[]): Promise<unknown> {
  return serverAt(port)(command, ...args)
}

/** Sends each command over a separate connection, because servers start and stop. */
export function serverAt(port: number, password = ''): Server {
  return async (command, ...args) => {
    const auth = password === '' ? {} : { password }
    const redis = new Redis(port, '127.0.0.1', { ...auth, lazyConnect: true, retryStrategy: () => null })
    redis.on('error', () => {})
    try {
      await redis.connect()
      return await redis.call(command, ...args)
    } finally {
      redis.disconnect()
    }
  }
}

/** Whether a node reports that it is ready. */
export async function isReady({ port }: Part): Promise<boolean> {
  return (await get(port, '/readyz', 1000).catch(() => undefined))?.status === 200
}
