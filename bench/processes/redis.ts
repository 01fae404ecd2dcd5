// A Redis of the bench's own, without persistence, on a free port.

import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { freePort } from '../../infra/ports.ts'
import { Server } from './server.ts'

export interface RunningRedis {
  readonly url: string
  readonly server: Server
}

export async function startRedis(dir: string): Promise<RunningRedis> {
  const command = binary()
  const port = await freePort()
  const args = ['--port', `${port}`, '--bind', '127.0.0.1', '--dir', dir, '--save', '', '--appendonly', 'no']
  const server = await Server.start({
    command,
    // A reader of the peers that is behind is the peer's own affair, not for Redis to cut.
    args: [...args, '--client-output-buffer-limit', 'pubsub', '0', '0', '0'],
    ready: /Ready to accept connections/,
  })
  return { url: `redis://127.0.0.1:${port}`, server }
}

function binary(): string {
  for (const name of ['redis-server', 'valkey-server']) {
    for (const dir of (process.env.PATH ?? '').split(delimiter)) {
      if (dir !== '' && existsSync(join(dir, name))) return join(dir, name)
    }
  }
  throw new Error('the bench needs a redis-server or valkey-server on the PATH: apt-get install redis-server')
}
