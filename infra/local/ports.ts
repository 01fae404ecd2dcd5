// Ports of this machine for the project's processes.

import { createServer } from 'node:net'

/** A port in this set is reserved, even if nothing listens on it yet. */
const given = new Set<number>()

/**
 * A free port of 127.0.0.1 below the kernel's ephemeral range, so that no other process gets it while its
 * owner is down.
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
