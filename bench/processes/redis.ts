// A Redis for the bench on a free port, without persistence unless requested.

import { program } from '../../infra/local/packages.ts'
import { freePort } from '../../infra/local/ports.ts'
import { Server } from './server.ts'

export interface RunningRedis {
  readonly url: string
  readonly server: Server
}

export async function startRedis(
  dir: string,
  persistence: readonly string[] = ['--appendonly', 'no'],
): Promise<RunningRedis> {
  const { path: command, env } = await program('redis')
  const port = await freePort()
  const args = ['--port', `${port}`, '--bind', '127.0.0.1', '--dir', dir, '--save', '', ...persistence]
  const server = await Server.start({
    command,
    env,
    // Redis must not cut a slow subscriber: slow readers are the peer's responsibility.
    args: [...args, '--client-output-buffer-limit', 'pubsub', '0', '0', '0'],
    ready: /Ready to accept connections/,
  })
  return { url: `redis://127.0.0.1:${port}`, server }
}
