// `npm run bench:restart`: a load across restarts. Cut clients reconnect with their cursors, the publisher retries
// unacknowledged events, and reported gaps are counted.

import t from 'tap'
import { freePort } from '../../infra/local/ports.ts'
import { Crew } from '../../bench/load/crew.ts'
import { now } from '../../bench/load/marker.ts'
import { type LoadOrder, type Tally, WIRES, type WireName } from '../../bench/load/order.ts'
import type { PublisherMethods } from '../../bench/load/publisher.ts'
import { Remote, sibling } from '../../bench/load/remote.ts'
import { startNode } from '../support/node.ts'
import { anyRedis } from '../support/redis-server.ts'

const CLIENTS = 4
const CHANNELS = ['restarted-0', 'restarted-1']
/** Events per channel. */
const EVENTS = 300
const RATE = 200
/** Deadline for publishing, and for the last events to arrive, µs. */
const WITHIN = 40e6
const PUBLISHER = sibling(import.meta.url, '../../bench/load/publisher')

/** Runs all wires at once while the node restarts. Returns their tallies. `settleWithin`: for the last events, µs. */
async function overRestart(
  env: Readonly<Record<string, string>>,
  settleWithin: number,
): Promise<Map<WireName, Tally>> {
  const settings = {
    ...env,
    PORT: `${await freePort()}`,
    FANWIRE_H2C_PORT: `${await freePort()}`,
    FANWIRE_SOCKET_IO: '1',
  }
  let node = await startNode({ env: settings })
  const publisher = new Remote<PublisherMethods>(PUBLISHER)
  const crews = new Map(WIRES.map(wire => [wire, new Crew(1)]))
  try {
    const order = {
      clients: CLIENTS,
      channels: CHANNELS,
      every: 1,
      wait: 5,
      rampUp: 0,
      after: 0,
      limit: 1000,
    }
    const h2c = `http://127.0.0.1:${settings.FANWIRE_H2C_PORT}`
    for (const [wire, crew] of crews) {
      const target: LoadOrder['target'] = { url: wire === 'push' ? h2c : node.url }
      const { failed, reason } = await crew.connect({ ...order, wire, target })
      if (failed > 0) throw new Error(`${wire}: ${reason}`)
      await crew.begin()
    }
    const sink = { kind: 'fanwire', target: { url: node.url }, lasting: true } as const
    await publisher.call('open', { name: 'main', sink })
    const deadline = now() + WITHIN
    const streams = [{ sink: 'main', channels: CHANNELS, rate: RATE, size: 64, count: 2 * EVENTS, first: 1 }]
    const publishing = publisher.call('publish', { streams, deadline })
    while ((await publisher.call('sent', undefined)) < EVENTS) await new Promise(setImmediate)
    await node.kill()
    node = await startNode({ env: settings })
    const published = await publishing
    if (published.acknowledged < 2 * EVENTS)
      throw new Error(`not all published: ${JSON.stringify(published)}`)
    const last = now() + settleWithin
    const tallies = [...crews].map(async ([wire, crew]) => {
      await crew.settle(EVENTS, last)
      return [wire, await crew.tally()] as const
    })
    return new Map(await Promise.all(tallies))
  } finally {
    await Promise.all([publisher.close(), ...[...crews.values()].map(crew => crew.close())])
    await node.kill()
  }
}

t.test('log in Redis: nothing is lost or repeated', async t => {
  const redis = await anyRedis()
  t.teardown(() => redis.stop())
  const settings = { REDIS_URL: redis.url, FANWIRE_REDIS_PREFIX: 'bench-restart' }
  for (const [wire, tally] of await overRestart(settings, WITHIN)) {
    const { received, missing, repeated, reordered, gaps } = tally
    t.strictSame(
      { received, missing, repeated, reordered, gaps },
      { received: EVENTS * CLIENTS, missing: 0, repeated: 0, reordered: 0, gaps: 0 },
      wire,
    )
    t.match(tally, { open: CLIENTS, cut: CLIENTS, resumed: CLIENTS }, wire)
  }
})

t.test('log in memory: every client receives a gap', async t => {
  for (const [wire, tally] of await overRestart({}, 8e6)) {
    // A client that retries a cut response receives the gap again.
    t.ok(tally.gaps >= CLIENTS, wire)
    t.match(tally, { open: CLIENTS, cut: CLIENTS, resumed: CLIENTS }, wire)
    const { received, missing, repeated } = tally
    t.equal(
      received + missing - repeated,
      EVENTS * CLIENTS,
      `${wire}: events that did not arrive count as missing`,
    )
  }
})
