// WebSocket connections that begin and end in unusual ways; ws.test.ts has the other tests of the wire.

import { once } from 'node:events'
import type { Socket } from 'node:net'
import t, { type Test } from 'tap'
import type { HubOptions } from '../../../services/broker/fanout/hub.ts'
import { type Target, WsClient } from '../../contract/clients.ts'
import { type Node, type Settings, startMemoryNode } from '../../contract/node.ts'
import { Gate } from '../broker/fanout/scripted-log.ts'
import { stopClock } from '../../support/stopped-clock.ts'
import { until } from '../../support/until.ts'
import { APP, appsFile } from '../../support/pusher.ts'
import { codeOf, frame, handshake } from './ws-by-hand.ts'

// Beginnings, and lost clients --------------------------------------------------------------------------------

async function nodeWith(t: Test, settings: Settings = {}, options: Partial<HubOptions> = {}): Promise<Node> {
  const node = await startMemoryNode(settings, options)
  t.teardown(() => node.close())
  return node
}

type Options = ConstructorParameters<typeof WsClient>[2]

async function connect(node: Node, target: Partial<Target> = {}, options?: Options): Promise<WsClient> {
  const all = { channels: [], ...target }
  return new WsClient(node, all, options).connect(all)
}

t.test('the cursor comes first, however early a command arrives', async t => {
  const node = await nodeWith(t)
  const gate = new Gate()
  const follow = node.log.follow.bind(node.log)
  node.log.follow = async (channel, follower) => {
    await gate.pass()
    return follow(channel, follower)
  }
  const client = new WsClient(node, { channels: ['a'] })
  client.socket.on('open', () => {
    client.send({ ref: 1, ping: true })
    client.send('garbage')
    client.send({ ref: 2, publish: { channel: 'b', data: 1 } })
  })
  await until('the channel is opened', () => gate.waiting === 1)
  const stranger = await connect(node)
  await stranger.ask({ ping: true })
  gate.open()
  await until('all is answered', () => client.log.length === 4)
  t.match(client.log[0], /^\{"open":/)
  client.cut()
  stranger.cut()
})

t.test('a node that cannot open the channels sends a retryable error', async t => {
  const node = await nodeWith(t, { MAX_FOLLOWED: '1' })
  const first = await connect(node, { channels: ['a'] })
  const second = new WsClient(node, { channels: ['b'] })
  t.match(await second.next(), { close: { code: 1013 } })
  t.match(await first.ask({ ref: 1, subscribe: 'b' }), { ref: 1, error: { code: 'FW_TOO_MANY_FOLLOWED' } })
  await until('only one is left', () => node.hub.stats().wires.ws?.connections === 1)
  first.cut()
})

t.test('a client that answers no ping is cut, one that answers stays', async t => {
  const clock = stopClock(t)
  const node = await nodeWith(t, { HEARTBEAT: '200ms' }, { heartbeatAnswer: 300 })
  const silent = await connect(node, { channels: ['a'] }, { autoPong: false })
  const answers = await connect(node, { channels: ['a'] })
  // The clock advances only between turns of the event loop: an answer is not late because the machine is busy.
  await until('it is gone', () => {
    clock.forward(10)
    return node.hub.stats().readers === 1
  })
  t.match(await silent.next(), { close: { code: 1006 } })
  await node.append('a', '1')
  await answers.event()
  answers.cut()
})

// Close frames ------------------------------------------------------------------------------------------------

// On each WebSocket wire, a client that has sent a close frame has left, even if its TCP connection is open.

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
    t.test(`${wire}: a client has left after ${name}`, async t => {
      const connected = once(node.app.server, 'connection')
      const raw = handshake(node, path)
      const [socket] = (await connected) as [Socket]
      await until('the node has the connection', () => [...node.hub.connections].length === 1)
      // The client does not notice that the node ends the connection, and so does not end it either.
      raw.socket.pause()
      raw.send(bytes)
      await until('the client has left', () => [...node.hub.connections].length === 0)
      t.notOk(socket.destroyed, 'the TCP connection stays open')
      raw.socket.resume()
      await raw.ended
      t.equal(codeOf(raw.text), name === 'a close frame' ? 1000 : 1002)
    })
  }
}
