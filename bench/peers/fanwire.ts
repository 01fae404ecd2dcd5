// fanwire itself: one node of the built broker, both roles, with its log in Redis.

import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { CURSORS } from '../load/wires/streams.ts'
import { COLLECT, COLLECTABLE } from '../processes/garbage.ts'
import { Server } from '../processes/server.ts'
import { tokenIssuer } from './token.ts'
import type { Peer, PeerOptions, RunningPeer } from './peer.ts'

const MAIN = 'dist/services/main.js'
const [POST, KEY, TOKEN, WS] = ['POST', 'with an Idempotency-Key', 'with a token', 'over ws'] as const
const EVENTS = '/v1/channels/{channel}/events'
const JSON_TYPE = 'Content-Type: application/json\r\n'

export const fanwire = builtIn('fanwire', 'fanwire', fileURLToPath(new URL('../../', import.meta.url)))

/** Another built checkout of fanwire, to compare a change in one run. */
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
    publishes: [POST, KEY, TOKEN, WS],
    async prepare() {
      return existsSync(main) ? undefined : `${folder} is not built: run \`npm ci && npm run build\` there`
    },
    start: options => start(main, options),
  }
}

async function start(main: string, options: PeerOptions): Promise<RunningPeer> {
  const profile = options.profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${options.profile}`]
  const { issue, env } = options.tokens ? tokenIssuer(options.dir) : { issue: () => '', env: {} }
  const server = await Server.start({
    command: process.execPath,
    args: [...COLLECTABLE, ...profile, main],
    env: {
      PORT: '0',
      REDIS_URL: options.redisUrl,
      FANWIRE_DRAIN: '0',
      ...(options.heartbeats ? {} : { FANWIRE_HEARTBEAT: '10m' }),
      ...env,
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
    ...(options.tokens && {
      tokensOf: (users: number) => Array.from({ length: users }, (_, i) => issue(`user-${i}`)),
    }),
    publishing: {
      [POST]: { path: EVENTS, headers: JSON_TYPE },
      [KEY]: { path: EVENTS, headers: `${JSON_TYPE}Idempotency-Key: {n}\r\n` },
      [TOKEN]: { path: EVENTS, headers: `${JSON_TYPE}Authorization: Bearer ${issue('bench')}\r\n` },
      [WS]: { path: '/v1/ws', message: '{"ref":{n},"publish":{"channel":"{channel}","data":{data}}}' },
    },
    collect() {
      server.signal(COLLECT)
      return true
    },
  }
}
