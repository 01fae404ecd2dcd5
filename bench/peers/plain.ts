// Plain `ws` with a loop of `send`, fed by Redis pub/sub; for SSE, a loop of `write`.

import { fileURLToPath } from 'node:url'
import { COLLECT, COLLECTABLE } from '../processes/garbage.ts'
import { Server } from '../processes/server.ts'
import type { Peer, PeerOptions, RunningPeer } from './peer.ts'

const FILE = fileURLToPath(new URL('./plain-server.ts', import.meta.url))

export const plain: Peer = {
  name: 'ws',
  title: 'plain ws / http, loop of send',
  wires: ['ws', 'sse'],
  cursors: false,
  async prepare() {
    return undefined
  },
  async start({ redisUrl }: PeerOptions): Promise<RunningPeer> {
    const server = await Server.start({
      command: process.execPath,
      args: [...COLLECTABLE, '--import', 'tsx', FILE, redisUrl],
      ready: /listening on \d+/,
    })
    return {
      server,
      port: Number(/listening on (\d+)/.exec(server.output)?.[1]),
      sink: { kind: 'redis', url: redisUrl },
      reading: (wire, channel) => ({ wire: { kind: wire }, path: `/?channel=${channel}` }),
      collect() {
        server.signal(COLLECT)
        return true
      },
    }
  },
}
