// A proxy that cuts a client's first response at a given byte, as a network may.

import { createServer, connect as dial, type Socket } from 'node:net'

export interface CuttingProxy {
  readonly url: string
  close(): void
}

/**
 * Proxies to `port` of 127.0.0.1. Holds the first response until `place` returns the offset at which to cut it.
 * Everything after the cut passes unchanged.
 */
export async function startCuttingProxy(
  port: number,
  place: (response: string) => number | undefined,
): Promise<CuttingProxy> {
  const sockets = new Set<Socket>()
  let cut = false
  const server = createServer(client => {
    const node = dial(port, '127.0.0.1')
    let held = Buffer.alloc(0)
    const hold = (bytes: Buffer) => {
      if (cut) {
        client.write(Buffer.concat([held, bytes]))
        held = Buffer.alloc(0)
        return
      }
      held = Buffer.concat([held, bytes])
      const at = place(held.toString('latin1'))
      if (at === undefined) return
      cut = true
      node.destroy()
      client.end(held.subarray(0, at))
    }
    node.on('data', hold).on('end', () => client.end())
    client.on('data', bytes => node.write(bytes)).on('end', () => node.end())
    for (const [socket, other] of [
      [client, node],
      [node, client],
    ] as const) {
      sockets.add(socket)
      socket.setNoDelay(true)
      socket.on('error', () => other.destroy()).on('close', () => sockets.delete(socket))
    }
    client.on('close', () => node.destroy())
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  return {
    url: `http://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`,
    close() {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}
