// Connections that a server accepts per second, as when all clients reconnect at once to a node that has restarted.

import { Arena, Meter } from '../arena.ts'
import { atLeast, ratio } from '../figures.ts'
import { now } from '../load/marker.ts'
import type { Peer, WireName } from '../peers/peer.ts'
import { connectAll } from './broadcast.ts'
import type { Bench, Case, Result } from './case.ts'

const CHANNELS = 100
/** The first connections are not counted: they make the server load and compile code. */
const FIRST = 1000

async function measure(peer: Peer, wire: WireName, bench: Bench): Promise<Result> {
  const count = bench.quick ? 2000 : 8000
  return Arena.with(peer, { profile: bench.profileOf(wire) }, async arena => {
    const connect = (group: string, count: number) => connectAll(arena, wire, CHANNELS, group, count)
    await connect('first', FIRST)
    const meter = new Meter(arena)
    const began = now()
    const { failed, reason } = await connect('accepted', count)
    const seconds = (now() - began) / 1e6
    const { cpu } = meter.read()
    meter.stop()
    if (failed > 0) return { label: wire, figures: {}, notes: [`${failed} of ${count} failed: ${reason}`] }
    return { label: wire, figures: { acceptedPerSecond: count / seconds, cpuPerConnection: cpu / count } }
  })
}

export const accept: Case = {
  name: 'accept',
  title: 'Connections taken in',
  peers: ['fanwire', 'nchan', 'centrifugo', 'ws', 'socket.io'],
  against: ['ws'],
  async run(peer, bench) {
    const results: Result[] = []
    for (const wire of peer.wires) results.push(await measure(peer, wire, bench))
    return results
  },
  bars(find) {
    return (['ws', 'sse'] as const).map(wire => {
      const times = ratio(find('fanwire', wire)?.acceptedPerSecond, find('ws', wire)?.acceptedPerSecond)
      return atLeast(`times the ${wire} connections/s of plain ws and http`, times, {
        digits: 2,
        bar: 0.8,
        goal: 1,
      })
    })
  },
}
