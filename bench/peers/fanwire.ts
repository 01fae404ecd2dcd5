// fanwire itself: one node of the built broker, both roles, with its log in Redis.

import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { CURSORS } from '../load/wires/streams.ts'
import { COLLECT, COLLECTABLE } from '../processes/garbage.ts'
import { Server } from '../processes/server.ts'
import type { Peer, PeerOptions, RunningPeer } from './peer.ts'

const MAIN = 'dist/services/main.js'
export const fanwire = builtIn('fanwire', 'fanwire', fileURLToPath(new URL('../../', import.meta.url)))

/** Another checkout of fanwire, built: what a change costs, side by side in one run. */
export function fanwireBefore(folder: string): Peer {
  return builtIn('before', 'fanwire before', resolve(folder))
}

function builtIn(name: string, title: string, folder: string): Peer {
  const main = join(folder, MAIN)
  return {
    name,
    title,
    wires: ['ws', 'sse'],
    cursors: true,
    async prepare() {
      return existsSync(main) ? undefined : `${folder} is not built: run \`npm ci && npm run build\` there`
    },
    start: options => start(main, options),
  }
}

async function start(main: string, options: PeerOptions): Promise<RunningPeer> {
  const profile = options.profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${options.profile}`]
  const server = await Server.start({
    command: process.execPath,
    args: [...COLLECTABLE, ...profile, main],
    env: {
      PORT: '0',
      REDIS_URL: options.redisUrl,
      FANWIRE_DRAIN: '0',
      ...(options.heartbeats ? {} : { FANWIRE_HEARTBEAT: '10m' }),
      ...options.env,
    },
    ready: /listening on http/,
  })
  const port = Number(/listening on http:\/\/[^"]*:(\d+)/.exec(server.output)?.[1])
  return {
    server,
    port,
    sink: { kind: 'fanwire', target: { url: `http://127.0.0.1:${port}` } },
    reading: (wire, channel) => ({
      wire: { kind: wire, cursor: CURSORS[wire] },
      path: `/v1/${wire}?channel=${channel}`,
      resume: '&cursor=',
    }),
    collect() {
      server.signal(COLLECT)
      return true
    },
  }
}
