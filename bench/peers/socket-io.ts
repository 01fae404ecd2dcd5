// Socket.IO with its Redis adapter, fed by its emitter. The bench installs it into a separate folder.

import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { COLLECT, COLLECTABLE } from '../processes/garbage.ts'
import { Server } from '../processes/server.ts'
import type { Peer, PeerOptions, RunningPeer } from './peer.ts'

const run = promisify(execFile)
const FILE = fileURLToPath(new URL('./socket-io-server.ts', import.meta.url))
const FOLDER = fileURLToPath(new URL('../../.cache/bench/socket.io', import.meta.url))
const MODULES = join(FOLDER, 'package.json')
const DEPENDENCIES = {
  'socket.io': '4.8.4',
  '@socket.io/redis-adapter': '8.3.0',
  '@socket.io/redis-emitter': '5.1.0',
}

export const socketIo: Peer = {
  name: 'socket.io',
  title: 'Socket.IO, Redis adapter',
  wires: ['ws'],
  cursors: false,
  async prepare() {
    const missing = Object.keys(DEPENDENCIES).some(name => !existsSync(join(FOLDER, 'node_modules', name)))
    if (!missing) return undefined
    try {
      await mkdir(FOLDER, { recursive: true })
      await writeFile(MODULES, JSON.stringify({ private: true, dependencies: DEPENDENCIES }))
      await run('npm', ['install', '--no-audit', '--no-fund', '--silent'], { cwd: FOLDER })
      return undefined
    } catch (error) {
      return `it could not be installed: ${error instanceof Error ? error.message.trim() : error}`
    }
  },
  async start({ redisUrl, heartbeats }: PeerOptions): Promise<RunningPeer> {
    const server = await Server.start({
      command: process.execPath,
      args: [...COLLECTABLE, '--import', 'tsx', FILE, redisUrl, MODULES, String(heartbeats)],
      ready: /listening on \d+/,
    })
    return {
      server,
      port: Number(/listening on (\d+)/.exec(server.output)?.[1]),
      sink: { kind: 'socket.io', url: redisUrl, modules: MODULES },
      reading: (_wire, channel) => ({
        wire: { kind: 'socket.io' },
        path: `/socket.io/?EIO=4&transport=websocket&channel=${channel}`,
      }),
      collect() {
        server.signal(COLLECT)
        return true
      },
    }
  },
}
