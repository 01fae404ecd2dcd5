// A connection that is left over is reported with the program at its other end.

import { once } from 'node:events'
import { type AddressInfo, connect, createServer } from 'node:net'
import t from 'tap'
import { peersOf } from '../support/peers.ts'

t.test('both ends of a connection are found', async t => {
  const before = peersOf(process.pid).length
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const client = connect(port, '127.0.0.1')
  t.teardown(() => [client.destroy(), server.close()])
  await Promise.all([once(client, 'connect'), once(server, 'connection')])
  const peers = peersOf(process.pid)
  t.equal(peers.length, before + 2)
  t.ok(
    peers.some(peer => peer.endsWith(` ${process.pid}:${port}`)),
    String(peers),
  )
  t.ok(
    peers.some(peer => peer.endsWith(` ${process.pid}:${client.localPort}`)),
    String(peers),
  )
})
