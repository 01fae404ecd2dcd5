// Clients are not cut for time in which the node did not run.

import { once } from 'node:events'
import { setImmediate } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { AwakeClock, PatienceTimer } from '../../../services/broker/patience.ts'
import { type Client, WIRES, type Wire } from '../../contract/clients.ts'
import { http2Wires } from '../../contract/http2.ts'
import { type Node, startMemoryNode } from '../../contract/node.ts'
import { fresh, idOf, noise } from '../../contract/wires.ts'
import { socketPair } from '../../support/socket-pair.ts'
import { stopClock } from '../../support/stopped-clock.ts'
import { until } from '../../support/until.ts'

/** The node of this process does not run for that long. */
function block(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}

t.test('an awake clock counts a limited time between two ticks', async t => {
  const real = stopClock(t)
  const clock = new AwakeClock(500)
  const start = clock.now
  const passed = (ms: number) => {
    real.forward(ms)
    return clock.now - start
  }
  t.equal(passed(400), 400)
  clock.tick()
  t.equal(passed(500), 900)
  t.equal(passed(1), 900)
  clock.tick()
  t.equal(passed(3_600_000), 1400)
  t.equal(passed(1), 1400, 'and stands until the next tick')
  clock.tick()
  t.equal(passed(7), 1407)
  clock.tick()
  t.equal(passed(-60_000), 1407, 'it never goes back')
  clock.tick()
  t.equal(passed(1), 1408)
})

t.test('a patience timer that is late handles first what has arrived', async t => {
  const { server, client } = await socketPair(t)
  let over = 0
  const timer = new PatienceTimer(20, () => over++)
  t.teardown(() => timer.clear())
  server.on('data', () => timer.refresh())
  client.write('1')
  block(60)
  await once(server, 'data')
  t.equal(over, 0)
  await until('it ends without more data', () => over === 1)
  timer.refresh()
  await until('and again', () => over === 2)
})

t.test('a cleared patience timer does not call back, even when it was due', async t => {
  let over = 0
  const timer = new PatienceTimer(1, () => over++)
  // Runs after the timer, and before its immediate.
  const between = new Promise<void>(resolve => setTimeout(resolve, 1))
  block(10)
  await between
  timer.clear()
  await new Promise(resolve => setTimeout(resolve, 10))
  t.equal(over, 0)
})

/** Clients are checked every 75 ms, and sessions receive PINGs after 150 ms. */
const aCheckLater = () => new Promise(resolve => setTimeout(resolve, 110))

const named = (wires: readonly Wire[], name: string) => wires.find(wire => wire.name === name) as Wire

async function connectTo(t: Test, wire: Wire): Promise<readonly [Node, string, Client]> {
  const node = await startMemoryNode({ STALL: '300ms', H2C_PORT: '0', HEARTBEAT: '10s' })
  const channel = fresh()
  const [start = ''] = await node.append(channel, '0')
  const client = await wire.connect(node, { channels: [channel], cursor: start })
  t.teardown(async () => {
    client.cut()
    await node.close()
  })
  return [node, channel, client]
}

t.test('a quiet HTTP/2 session outlives a pause of the node', async t => {
  const [node, channel, client] = await connectTo(t, named(http2Wires('cleartext HTTP/2'), 'sse'))
  for (let pause = 0; pause < 3; pause++) {
    await aCheckLater()
    block(900)
    await aCheckLater()
    const [id] = await node.append(channel, '"on"')
    t.equal(idOf(await client.event()), id)
  }
})

t.test('a client whose socket was full during a pause of the node does not count as stalled', async t => {
  const [node, channel, client] = await connectTo(t, named(WIRES, 'ws'))
  client.pause()
  const data = noise(256 * 1024)
  const ids: string[] = []
  const { connections } = node.hub
  const fill = async () => {
    while (connections.full.size === 0) {
      ids.push(...(await node.append(channel, data)))
      await setImmediate()
    }
  }
  // The kernel's buffers may grow meanwhile.
  for (let full: object | undefined; full === undefined; [full] = connections.full) {
    await fill()
    await aCheckLater()
  }
  block(900)
  client.resume()
  await aCheckLater()
  ids.push(...(await node.append(channel, '"on"')))
  for (const id of ids) t.equal(idOf(await client.event()), id)
})
