// Many channels with one reader each: readers share nothing, so the case measures the cost of an event.

import { atMost, ratio, wrongOf } from '../figures.ts'
import { broadcast, events } from './broadcast.ts'
import type { Case, Result } from './case.ts'

/** Events/s at which an event costs more than waking up; below, events/s that show whether a server keeps up. */
const RATE = 5000
const MORE = 10_000
const BY_POST = `${events(RATE)}, a POST each`

export const many: Case = {
  name: 'many',
  title: `1,000 channels with one ws reader each, ${events(RATE)}, through Redis`,
  peers: ['fanwire', 'nchan', 'centrifugo', 'ws', 'socket.io'],
  against: ['nchan', 'centrifugo'],
  async run(peer, bench) {
    const results: Result[] = []
    for (const rate of !bench.barsOnly && ['fanwire', 'nchan'].includes(peer.name) ? [RATE, MORE] : [RATE]) {
      const order = { wire: 'ws', readers: 1000, channels: 1000, rate, sampleEvery: 1 } as const
      const arena = { throughRedis: true }
      const seconds = bench.quick ? 4 : 10
      results.push(await broadcast(peer, bench, { ...order, label: events(rate), arena, seconds }))
      // Some peers have only one way to publish.
      if (peer.publishes === undefined || peer.publishes.length === 1 || rate !== RATE) continue
      results.push(await broadcast(peer, bench, { ...order, label: BY_POST, arena, seconds, byPost: true }))
    }
    return results
  },
  bars(find) {
    const own = find('fanwire', events(RATE))
    const other = find('nchan', events(RATE))
    const wrong = wrongOf(own)
    const [ownAtMore, otherAtMore] = [find('fanwire', events(MORE)), find('nchan', events(MORE))]
    const posted = find('fanwire', BY_POST)
    const centrifugo = find('centrifugo', events(RATE))
    return [
      atMost('missing, repeated or reordered', wrong, { bar: 0 }),
      atMost(
        "times Centrifugo's CPU per event with Redis, a POST each",
        ratio(posted?.allCpuPerEvent, centrifugo?.allCpuPerEvent),
        { digits: 2, bar: 1 },
      ),
      atMost(
        "times Nchan's CPU per event with Redis, a POST each",
        ratio(posted?.allCpuPerEvent, other?.allCpuPerEvent),
        { digits: 2, bar: 1.2, goal: 1 },
      ),
      atMost("times Nchan's p99, a POST each", ratio(posted?.p99, other?.p99), {
        digits: 2,
        bar: 2,
        goal: 1,
      }),
      atMost(
        "times Nchan's CPU per event with Redis, in bulk",
        ratio(own?.allCpuPerEvent, other?.allCpuPerEvent),
        {
          digits: 2,
          bar: 0.8,
          goal: 0.6,
        },
      ),
      atMost("times Nchan's p99", ratio(own?.p99, other?.p99), { digits: 2, bar: 1, goal: 0.5 }),
      ...(ownAtMore === undefined
        ? []
        : [
            atMost(`the same at ${events(MORE)}`, ratio(ownAtMore.p99, otherAtMore?.p99), {
              digits: 2,
              bar: 1,
              goal: 0.5,
            }),
          ]),
      atMost("times Nchan's CPU per event", ratio(own?.cpuPerEvent, other?.cpuPerEvent), {
        digits: 2,
        bar: 1,
        goal: 0.5,
      }),
    ]
  },
}
