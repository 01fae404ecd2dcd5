// Starts the target: a node, and Redis and a load balancer if the attack needs them.

import { createServer } from 'node:net'
import { connect } from 'node:tls'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { COLLECT, COLLECTABLE } from '../../bench/processes/garbage.ts'
import { freePort } from '../../infra/local/ports.ts'
import { startBalancer } from '../../infra/local/topology.ts'
import { makeCertificate } from '../contract/http2.ts'
import { ask } from '../faults/world.ts'
import { footprintOf, type Footprint, get } from '../support/footprint.ts'
import { type RunningNode, startNode } from '../support/node.ts'
import { startRedis } from '../support/redis-server.ts'
import type { Attack, Target } from './attack.ts'

export interface World {
  readonly node: RunningNode
  /** Describes how the node ended; undefined while it runs. */
  readonly ended: string | undefined
  /** The good clients' port for cleartext HTTP/1.1: the node's, or a tunnel's that speaks TLS to the node. */
  readonly port: number
  readonly target: Target
  footprint(): Promise<Footprint>
  /** Memory that Redis uses, bytes; 0 without a Redis. */
  redisMemory(): Promise<number>
  ready(): Promise<boolean>
  /** After the attackers have gone, stops the load balancer, and so its connections to the node. */
  relieve(): Promise<void>
  /** Asks the node for a garbage collection. */
  collect(): void
  close(): Promise<void>
}

/** Settings of the node: it releases stalled clients and unread channels while the suite observes it. */
const SETTINGS = {
  FANWIRE_HEARTBEAT: '1s',
  FANWIRE_STALL: '3s',
  FANWIRE_LINGER: '2s',
  FANWIRE_HISTORY_EVENTS: '2000',
  FANWIRE_DRAIN: '1s',
}

export interface WorldOptions {
  /** Runs the node from dist/, which must exist, rather than from source. */
  readonly built: boolean
  /** A folder for a CPU profile of the node, if one is wanted. */
  readonly profile?: string | undefined
}

export async function startWorld(
  { needs = {} }: Attack,
  channel: string,
  { built, profile }: WorldOptions,
): Promise<World> {
  const ends: (() => Promise<unknown>)[] = []
  const close = async () => {
    for (const end of ends.toReversed()) await end()
  }
  try {
    const redis = needs.redis === undefined ? undefined : await startRedis({ args: needs.redis })
    if (redis !== undefined) ends.push(() => redis.stop())
    const certificate = needs.tls === true ? makeCertificate() : undefined
    const h2cPort = needs.h2c === true ? await freePort() : 0
    const flags = [...COLLECTABLE]
    if (needs.heap !== undefined) flags.push(`--max-old-space-size=${needs.heap}`)
    if (profile !== undefined) flags.push('--cpu-prof', `--cpu-prof-dir=${profile}`)
    const node = await startNode({
      built,
      flags,
      env: {
        ...SETTINGS,
        ...(redis && { REDIS_URL: redis.url }),
        ...(certificate && { FANWIRE_TLS_CERT: certificate.cert, FANWIRE_TLS_KEY: certificate.key }),
        ...(h2cPort > 0 && { FANWIRE_H2C_PORT: `${h2cPort}` }),
        ...needs.env,
      },
    })
    // Node writes the profile only when the process exits by itself.
    ends.push(() => (profile === undefined ? node.kill() : node.stop()))
    let ended: string | undefined
    void node.exit.then(({ code, signal }) => {
      ended = `the node ended (${code ?? signal}): ${lastWords(node.logs)}`
    })
    const upstream = { name: 'node', port: node.port }
    const balancer =
      needs.balancer === undefined
        ? undefined
        : await startBalancer(needs.balancer, { edges: [upstream], writers: [upstream] })
    if (balancer !== undefined) ends.push(() => balancer.stop())
    const tunnel = certificate === undefined ? undefined : await tunnelTo(node.port)
    if (tunnel !== undefined) ends.push(() => tunnel.close())
    const port = tunnel?.port ?? node.port
    return {
      node,
      get ended() {
        return ended
      },
      port,
      target: { port: balancer?.port ?? node.port, h2cPort, channel },
      footprint: () => footprintOf({ pid: node.pid, port }),
      async redisMemory() {
        if (redis === undefined) return 0
        const info = String(await ask(redis.port, 'INFO', 'memory'))
        return Number(/^used_memory:(\d+)/m.exec(info)?.[1])
      },
      async ready() {
        return (await get(port, '/readyz', 1000).catch(() => undefined))?.status === 200
      },
      async relieve() {
        await balancer?.stop()
      },
      collect: () => node.signal(COLLECT),
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

/** The first line that states the reason for the end. */
function lastWords(lines: readonly string[]): string {
  const why = lines.find(line => /^FATAL ERROR|^\w*Error: |"level":60/.test(line)) ?? lines.at(-1) ?? ''
  return why.slice(0, 300)
}

/** Forwards cleartext connections to a node over TLS. */
async function tunnelTo(port: number): Promise<{ port: number; close(): Promise<void> }> {
  const server = createServer(client => {
    const node = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ALPNProtocols: ['http/1.1'] })
    client.pipe(node).pipe(client)
    for (const [one, other] of [
      [client, node],
      [node, client],
    ] as const) {
      one.on('error', () => {})
      one.once('close', () => other.destroy())
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    async close() {
      server.close()
    },
  }
}
