// One hot channel: how much a server delivers at most, and what a delivery costs when it is not pressed.

import { atLeast, atMost, ratio } from '../figures.ts'
import type { WireName } from '../peers/peer.ts'
import { broadcast } from './broadcast.ts'
import type { Case } from './case.ts'

const hot = (wire: WireName, peers: readonly string[]): Case => ({
  name: `hot-${wire}`,
  title: `1,000 ${wire} readers of one channel, 4,000 events/s`,
  peers,
  async run(peer, bench) {
    const order = { wire, readers: 1000, channels: 1, rate: 4000, sampleEvery: 16, arena: {} }
    return [await broadcast(peer, bench, { ...order, seconds: bench.quick ? 3 : 8 })]
  },
  bars(find) {
    const own = find('fanwire')
    const wrong = own && (own.missing ?? 0) + (own.repeated ?? 0) + (own.reordered ?? 0)
    const times = (peer: string) => ratio(own?.deliveriesPerSecond, find(peer)?.deliveriesPerSecond)
    return [
      atMost('missing, repeated or reordered', wrong, { bar: 0 }),
      atLeast('delivered', own?.delivered, { unit: ' %', bar: 100 }),
      atMost('p99', own?.p99, { unit: ' ms', bar: 500, goal: 100 }),
      atLeast("times Nchan's deliveries/s", times('nchan'), { bar: 8, goal: 12 }),
      ...(peers.includes('socket.io')
        ? [atLeast("times Socket.IO's deliveries/s", times('socket.io'), { bar: 20, goal: 40 })]
        : []),
    ]
  },
})

export const hotWs = hot('ws', ['fanwire', 'nchan', 'ws', 'socket.io'])
export const hotSse = hot('sse', ['fanwire', 'nchan', 'ws'])

export const calm: Case = {
  name: 'calm',
  title: '1,000 ws readers of one channel, 50 events/s',
  peers: ['fanwire', 'nchan', 'ws', 'socket.io'],
  async run(peer, bench) {
    const order = { wire: 'ws', readers: 1000, channels: 1, rate: 50, sampleEvery: 1, arena: {} } as const
    return [await broadcast(peer, bench, { ...order, seconds: bench.quick ? 4 : 12 })]
  },
  bars(find) {
    const times = ratio(find('fanwire')?.cpuPerDelivery, find('nchan')?.cpuPerDelivery)
    return [atMost("times Nchan's CPU per delivery", times, { digits: 2, bar: 1.2, goal: 1 })]
  },
}
