// Many channels with one reader each: there is nothing to share, so what counts is what an event costs.

import { atMost, ratio } from '../figures.ts'
import { broadcast } from './broadcast.ts'
import type { Case } from './case.ts'

export const many: Case = {
  name: 'many',
  title: '1,000 channels with one ws reader each, 5,000 events/s, through Redis',
  peers: ['fanwire', 'nchan', 'ws', 'socket.io'],
  async run(peer, bench) {
    const order = { wire: 'ws', readers: 1000, channels: 1000, rate: 5000, sampleEvery: 1 } as const
    const arena = { throughRedis: true }
    return [await broadcast(peer, bench, { ...order, arena, seconds: bench.quick ? 4 : 10 })]
  },
  bars(find) {
    const own = find('fanwire')
    const other = find('nchan')
    const wrong = own && (own.missing ?? 0) + (own.repeated ?? 0) + (own.reordered ?? 0)
    return [
      atMost('missing, repeated or reordered', wrong, { bar: 0 }),
      atMost("times Nchan's p99", ratio(own?.p99, other?.p99), { digits: 2, bar: 1, goal: 0.5 }),
      atMost("times Nchan's CPU per event", ratio(own?.cpuPerEvent, other?.cpuPerEvent), {
        digits: 2,
        bar: 1,
        goal: 0.5,
      }),
    ]
  },
}
