// A client that has sent a close frame has gone, on each wire that speaks WebSocket, even if its TCP connection lasts.

import { once } from 'node:events'
import type { Socket } from 'node:net'
import t from 'tap'
import { APP, appsFile } from '../../support/pusher.ts'
import { until } from '../../support/until.ts'
import { startMemoryNode } from '../../contract/node.ts'
import { codeOf, frame, handshake } from './ws-by-hand.ts'

const node = await startMemoryNode({ CENTRIFUGE: '1', PUSHER_APPS: appsFile() })
t.teardown(() => node.close())

const PATHS = {
  ws: '/v1/ws',
  pusher: `/app/${APP.key}?protocol=7`,
  centrifuge: '/connection/websocket',
}
const FRAMES = {
  'a close frame': frame(0x88, Buffer.from([0x03, 0xe8])),
  'an invalid frame': frame(0x83, ''),
}

for (const [wire, path] of Object.entries(PATHS)) {
  for (const [name, bytes] of Object.entries(FRAMES)) {
    t.test(`${wire}: ${name}`, async t => {
      const connected = once(node.app.server, 'connection')
      const raw = handshake(node, path)
      const [socket] = (await connected) as [Socket]
      await until('it is a connection', () => [...node.hub.connections].length === 1)
      // It does not notice that the node ends the connection, and so does not end it either.
      raw.socket.pause()
      raw.send(bytes)
      await until('it has gone', () => [...node.hub.connections].length === 0)
      t.notOk(socket.destroyed, 'its connection lasts')
      raw.socket.resume()
      await raw.ended
      t.equal(codeOf(raw.text), name === 'a close frame' ? 1000 : 1002)
    })
  }
}
