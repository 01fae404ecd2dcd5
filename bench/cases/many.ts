// Many channels with one reader each: there is nothing to share, so what counts is what an event costs.

import { atMost, ratio, wrongOf } from '../figures.ts'
import { broadcast, events } from './broadcast.ts'
import type { Case, Result } from './case.ts'

const RATE = 5000
/** At which it shows what an event costs more than what waking up costs, and whether a server still keeps up. */
const MORE = 10_000

export const many: Case = {
  name: 'many',
  title: `1,000 channels with one ws reader each, ${events(RATE)}, through Redis`,
  peers: ['fanwire', 'nchan', 'ws', 'socket.io'],
  async run(peer, bench) {
    const results: Result[] = []
    for (const rate of ['fanwire', 'nchan'].includes(peer.name) ? [RATE, MORE] : [RATE]) {
      const order = { wire: 'ws', readers: 1000, channels: 1000, rate, sampleEvery: 1 } as const
      const arena = { throughRedis: true }
      const seconds = bench.quick ? 4 : 10
      results.push(await broadcast(peer, bench, { ...order, label: events(rate), arena, seconds }))
    }
    return results
  },
  bars(find) {
    const own = find('fanwire', events(RATE))
    const other = find('nchan', events(RATE))
    const wrong = wrongOf(own)
    const more = ratio(find('fanwire', events(MORE))?.p99, find('nchan', events(MORE))?.p99)
    return [
      atMost('missing, repeated or reordered', wrong, { bar: 0 }),
      atMost("times Nchan's p99", ratio(own?.p99, other?.p99), { digits: 2, bar: 1, goal: 0.5 }),
      atMost(`the same at ${events(MORE)}`, more, { digits: 2, bar: 1, goal: 0.5 }),
      atMost("times Nchan's CPU per event", ratio(own?.cpuPerEvent, other?.cpuPerEvent), {
        digits: 2,
        bar: 1,
        goal: 0.5,
      }),
    ]
  },
}
