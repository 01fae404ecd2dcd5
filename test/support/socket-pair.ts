// Both ends of a TCP connection within the test's process.

import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import type { Test } from 'tap'

/** Both ends of a connection, until the end of the test; the client does not read yet. */
export async function socketPair(t: Test): Promise<{ server: Socket; client: Socket }> {
  const listener = createServer({ noDelay: true }).listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const client = connect((listener.address() as AddressInfo).port, '127.0.0.1')
  const [[server]] = await Promise.all([once(listener, 'connection'), once(client, 'connect')])
  t.teardown(() => {
    for (const socket of [server, client]) socket.destroy()
    listener.close()
  })
  return { server, client }
}
