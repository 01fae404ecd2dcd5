// Ports of this machine for processes of the project's own.

import { createServer } from 'node:net'

/** Whoever has one may not listen yet. */
const given = new Set<number>()

/**
 * A port of 127.0.0.1 that nobody listens on, below those that the kernel gives to connections: while whoever has it
 * is down, nobody else gets it.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 12_000)
    if (given.has(port)) continue
    const server = createServer()
    const free = await new Promise<boolean>(resolve => {
      server.once('error', () => resolve(false)).listen(port, '127.0.0.1', () => resolve(true))
    })
    await new Promise(resolve => server.close(resolve))
    if (!free) continue
    given.add(port)
    return port
  }
}
