// fanwire: two nodes with their log in Redis, tokens that expire, and the client over every wire.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { WebSocket } from 'ws'
import { connect, type Fanwire, type Wire } from '../../client/index.ts'
import { createPublisher, type Publisher } from '../../client/publisher.ts'
import { freePort } from '../../infra/local/ports.ts'
import { type RunningNode, startNode } from '../support/node.ts'
import type { Random } from '../support/random.ts'
import { startRedis } from '../support/redis-server.ts'
import { jwks, signToken, testKey, userClaims } from '../support/tokens.ts'
import { temporaryFolder } from '../support/tools.ts'
import { type FollowOptions, type Hear, persistently, type Reader, type System } from './system.ts'

const WIRES: readonly Wire[] = ['ws', 'sse', 'stream', 'long-poll', 'poll']
const KEY = 'a-key-to-publish'
/** `short` keeps so few events that readers fall behind and must receive a gap. */
const RULES = `channels:
  - { match: "short", subscribe: token, history: { events: 40 } }
default: { subscribe: token }
`
/** Delays and timeouts of the client, ms. */
const TIMING = { backoff: 20, maxBackoff: 300, open: 1500, silence: 4000, upgrade: 3000, poll: 100 }

export async function startFanwire(): Promise<System> {
  const key = testKey('HS256')
  const folder = temporaryFolder()
  writeFileSync(join(folder, 'jwks.json'), jwks(key))
  writeFileSync(join(folder, 'rules.yaml'), RULES)
  const redis = await startRedis()
  const ports = [await freePort(), await freePort()]
  const start = (i: number) =>
    startNode({
      env: {
        PORT: `${ports[i]}`,
        REDIS_URL: redis.url,
        FANWIRE_JWT_KEYS_FILE: join(folder, 'jwks.json'),
        FANWIRE_RULES: join(folder, 'rules.yaml'),
        FANWIRE_PUBLISH_KEY: KEY,
        FANWIRE_HEARTBEAT: '1s',
        FANWIRE_DRAIN: '1s',
        FANWIRE_DRAIN_NOTICE: '0s',
      },
    })
  const nodes: (RunningNode | undefined)[] = await Promise.all(
    ports.map((_, i) => persistently(() => start(i))),
  )
  const publishers = new Map<string, Publisher>()
  let turn = 0

  const getToken = () => {
    const exp = Math.floor(Date.now() / 1000) + 11 + (turn++ % 10)
    return signToken(key, {
      ...userClaims('ada', { caps: [{ channels: ['*'], allow: ['sub', 'hst'] }] }),
      exp,
    })
  }

  return {
    name: 'fanwire/client',
    fromStart: true,
    channels: ['a', 'b', 'short'],
    port() {
      const up = ports.filter((_, i) => nodes[i] !== undefined)
      // Sometimes returns the port of a stopped node, like a load balancer that has not noticed it yet.
      return (
        (turn++ % 8 === 0 ? ports : up)[turn % (turn % 8 === 1 ? ports.length : up.length)] ?? ports[0] ?? 0
      )
    },
    async publish(url, channel, n) {
      const publisher =
        publishers.get(url) ?? createPublisher(url, { key: KEY, backoff: 20, maxBackoff: 200 })
      publishers.set(url, publisher)
      await publisher.publish(channel, n)
    },
    follow: (url, hear, options) => follow(url, ['a', 'b', 'short'], getToken, hear, options),
    async disturb(random: Random) {
      const i = random.below(nodes.length)
      const node = nodes[i]
      if (node === undefined) return 'nothing'
      const how = random.pick(['SIGKILL', 'SIGTERM'] as const)
      if (how === 'SIGKILL') nodes[i] = undefined
      await node.stop(how)
      nodes[i] = undefined
      nodes[i] = await persistently(() => start(i))
      return how === 'SIGKILL' ? 'node killed' : 'node drained'
    },
    async stop() {
      for (const publisher of publishers.values()) publisher.close()
      await Promise.all(nodes.map(node => node?.kill()))
      await redis.stop()
    },
  }
}

/** The adapter: the harness's interface to a client. */
function follow(
  url: string,
  channels: readonly string[],
  getToken: () => string,
  hear: Hear,
  { random, shared }: FollowOptions,
): Reader {
  const kept = new Map<string, string>()
  const store = {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => void kept.set(key, value),
  }
  let client: Fanwire
  const begin = () => {
    const first = random.pick(WIRES)
    const wires = shared ? WIRES : [first, ...WIRES.filter(wire => wire !== first)]
    const tabs = shared ? 'shared' : 'each'
    client = connect(url, { getToken, wires, tabs, store, timing: TIMING, WebSocket: WebSocket as never })
    for (const channel of channels) {
      const subscription = client.subscribe<number>(channel, { cursor: 'earliest' })
      subscription.on('gap', () => hear.gap(channel))
      subscription.on('event', event => hear.event(channel, event.data))
    }
  }
  begin()
  return {
    again() {
      client.close()
      begin()
      return shared ? 'tab closed and opened' : 'page reloaded, other wires'
    },
    close: () => client.close(),
  }
}
