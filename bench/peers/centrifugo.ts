// Centrifugo: its own binary if one is given, otherwise a program based on its library (centrifuge/main.go), built
// here. It keeps a history from which readers recover, so that its work equals fanwire's. It runs on one core, like the
// others.

import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { delimiter, dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { freePort } from '../../infra/local/ports.ts'
import { Server, type ServerOrder } from '../processes/server.ts'
import { hello, overWebSocket, SUBSCRIBED } from './centrifuge-reading.ts'
import type { Peer, PeerOptions, RunningPeer, WireName } from './peer.ts'

const SOURCES = fileURLToPath(new URL('./centrifuge/', import.meta.url))
const PROGRAM = fileURLToPath(new URL('../../.cache/bench/centrifuge', import.meta.url))
/** Maximum ms for fetching the modules and compiling them. */
const BUILD_WITHIN_MS = 300_000

const POST = {
  path: '/api/publish',
  headers: 'Content-Type: application/json\r\n',
  body: '{"channel":"{channel}","data":{data}}',
}

/** `binary`: path of Centrifugo 6. */
export function centrifugo(binary?: string): Peer {
  return {
    name: 'centrifugo',
    title: binary === undefined ? 'Centrifugo (its library)' : 'Centrifugo',
    wires: ['ws', 'sse'],
    cursors: false,
    publishes: ['POST'],
    prepare: () => (binary === undefined ? build() : isThere(binary)),
    async start(options) {
      const port = await freePort()
      const order = binary === undefined ? program(port, options) : await installed(binary, port, options)
      return running(await Server.start({ ...order, env: { GOMAXPROCS: '1', HOME: options.dir } }), port)
    },
  }
}

function running(server: Server, port: number): RunningPeer {
  return {
    server,
    port,
    sink: { kind: 'post', port, by: POST },
    publishing: { POST },
    reading: (wire: WireName, channel: string) =>
      wire === 'sse'
        ? {
            wire: { kind: 'sse', cursor: SUBSCRIBED },
            path: `/connection/sse?cf_connect=${encodeURIComponent(hello(channel))}`,
          }
        : overWebSocket(channel),
    collect: () => false,
  }
}

function program(port: number, { redisUrl, throughRedis, heartbeats }: PeerOptions): ServerOrder {
  const redis = throughRedis ? [`-redis=${redisUrl}`] : []
  const args = [`-listen=127.0.0.1:${port}`, `-pings=${heartbeats}`, ...redis]
  return { command: PROGRAM, args, ready: /listening on \d+/ }
}

async function installed(
  binary: string,
  port: number,
  { dir, redisUrl, throughRedis, heartbeats }: PeerOptions,
): Promise<ServerOrder> {
  const file = join(dir, 'centrifugo.json')
  const engine = throughRedis ? { type: 'redis', redis: { address: redisUrl } } : { type: 'memory' }
  const configuration = {
    http_server: { address: '127.0.0.1', port: `${port}` },
    http_api: { insecure: true },
    sse: { enabled: true },
    client: {
      allow_anonymous_connect_without_token: true,
      ping_interval: heartbeats ? '25s' : '1h',
      // Readers of the bench do not answer pings among the events.
      pong_timeout: '20s',
    },
    channel: {
      without_namespace: {
        history_size: 10_000,
        history_ttl: '1h',
        force_recovery: true,
        force_positioning: true,
        allow_subscribe_for_anonymous: true,
        allow_subscribe_for_client: true,
      },
    },
    engine,
  }
  await writeFile(file, JSON.stringify(configuration))
  return {
    command: resolve(binary),
    args: [`--config=${file}`],
    ready: /serving websocket|listening|running/i,
  }
}

async function isThere(binary: string): Promise<string | undefined> {
  return existsSync(binary) ? undefined : `${binary} does not exist`
}

async function build(): Promise<string | undefined> {
  const go = goCommand()
  if (go === undefined) return 'it needs its binary (--centrifugo PATH) or an installed Go'
  try {
    await mkdir(dirname(PROGRAM), { recursive: true })
    const args = ['build', '-ldflags=-s -w', '-o', PROGRAM, '.']
    const env = { ...process.env, GOTOOLCHAIN: 'local' }
    await promisify(execFile)(go, args, { cwd: SOURCES, env, timeout: BUILD_WITHIN_MS })
    return undefined
  } catch (error) {
    return `it could not be built: ${error instanceof Error ? error.message.trim() : error}`
  }
}

function goCommand(): string | undefined {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/local/go/bin']
  return folders.map(folder => join(folder, 'go')).find(path => existsSync(path))
}
