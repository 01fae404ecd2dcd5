// Centrifugo: its client, and two servers based on its library, with a history in Redis for recovery.

import { Centrifuge } from 'centrifuge'
import { WebSocket } from 'ws'
import { centrifugo } from '../../bench/peers/centrifugo.ts'
import type { RunningPeer } from '../../bench/peers/peer.ts'
import { startRedis } from '../support/redis-server.ts'
import { temporaryFolder } from '../support/tools.ts'
import { type Hear, persistently, type System } from './system.ts'

const CHANNELS = ['a', 'b', 'short']

export async function startCentrifuge(): Promise<System> {
  const peer = centrifugo()
  const missing = await peer.prepare()
  if (missing !== undefined) throw new Error(missing)
  const redis = await startRedis()
  const dir = temporaryFolder()
  const start = () =>
    persistently(() => peer.start({ redisUrl: redis.url, dir, throughRedis: true, heartbeats: true }))
  // Events are published through an undisturbed server: its API has no idempotency key, so a retry could publish twice.
  const [entrance, ...nodes] = await Promise.all([start(), start(), start()])
  let turn = 0
  return {
    name: 'centrifuge-js',
    fromStart: false,
    channels: CHANNELS,
    port: () => portOf(nodes[turn++ % nodes.length]),
    async publish(_url, channel, data) {
      const body = JSON.stringify({ channel, data })
      const { ok, status } = await fetch(`http://127.0.0.1:${portOf(entrance)}/api/publish`, {
        method: 'POST',
        body,
      })
      if (!ok) throw new Error(`publish: ${status}`)
    },
    follow,
    async disturb(random) {
      const i = random.below(nodes.length)
      await nodes[i]?.server.kill()
      nodes[i] = await start()
      return 'node killed'
    },
    async stop() {
      await Promise.all([entrance, ...nodes].map(node => node.server.kill()))
      await redis.stop()
    },
  }
}

const portOf = (peer: RunningPeer | undefined) => peer?.port ?? 0

/** The adapter: the harness's interface to a client. */
function follow(url: string, hear: Hear) {
  const client = new Centrifuge(`${url.replace(/^http/, 'ws')}/connection/websocket`, {
    websocket: WebSocket,
    minReconnectDelay: 20,
    maxReconnectDelay: 300,
  })
  for (const channel of CHANNELS) {
    const delays = { minResubscribeDelay: 20, maxResubscribeDelay: 300 }
    const subscription = client.newSubscription(channel, { positioned: true, recoverable: true, ...delays })
    subscription.on('subscribed', ({ wasRecovering, recovered }) => {
      if (wasRecovering && !recovered) hear.gap(channel)
    })
    subscription.on('publication', ({ data }) => hear.event(channel, data as number))
    subscription.subscribe()
  }
  client.connect()
  return { close: () => client.disconnect() }
}
