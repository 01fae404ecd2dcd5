// One hot channel: the maximum delivery rate of a server, and the cost of a delivery at a moderate rate.

import { atLeast, atMost, ratio, wrongOf } from '../figures.ts'
import { overWebSocket } from '../peers/centrifuge-reading.ts'
import type { WireName } from '../peers/peer.ts'
import { broadcast, events } from './broadcast.ts'
import type { Case, Result } from './case.ts'

const RATE = 4000
/** Events per second for servers that keep up with `RATE`, which would otherwise limit them. */
const MORE = 8000

const hot = (wire: WireName, peers: readonly string[]): Case => ({
  name: `hot-${wire}`,
  title: `1,000 ${wire} readers of one channel, ${events(RATE)}`,
  peers,
  async run(peer, bench) {
    const results: Result[] = []
    for (const rate of peer.name === 'fanwire' ? [RATE, MORE] : [RATE]) {
      const seconds = bench.quick ? 3 : 8
      const order = { wire, readers: 1000, channels: 1, rate, seconds, sampleEvery: 16, arena: {} }
      results.push(await broadcast(peer, bench, { ...order, label: events(rate) }))
    }
    return results
  },
  bars(find) {
    const own = find('fanwire', events(RATE))
    const more = find('fanwire', events(MORE))
    const wrong = wrongOf(own)
    const against = (peer: string, title: string, limits: { bar: number; goal: number }) => {
      const other = find(peer)?.deliveriesPerSecond
      return [
        atLeast(`times ${title}'s deliveries/s`, ratio(own?.deliveriesPerSecond, other), limits),
        atLeast(`the same, fanwire at ${events(MORE)}`, ratio(more?.deliveriesPerSecond, other), limits),
      ]
    }
    return [
      atMost('missing, repeated or reordered', wrong, { bar: 0 }),
      atLeast('delivered', own?.delivered, { unit: ' %', bar: 100 }),
      atMost('p99', own?.p99, { unit: ' ms', bar: 500, goal: 100 }),
      ...against('nchan', 'Nchan', { bar: 8, goal: 12 }),
      ...(peers.includes('socket.io') ? against('socket.io', 'Socket.IO', { bar: 20, goal: 40 }) : []),
    ]
  },
})

export const hotWs = hot('ws', ['fanwire', 'nchan', 'centrifugo', 'ws', 'socket.io'])
export const hotSse = hot('sse', ['fanwire', 'nchan', 'ws'])

const [OWN, FOREIGN] = ['ws', "Centrifugo's protocol"] as const

export const hotCentrifuge: Case = {
  name: 'hot-centrifuge',
  title: `1,000 readers of one channel in Centrifugo's protocol, ${events(RATE)}`,
  peers: ['fanwire', 'centrifugo'],
  async run(peer, bench) {
    const seconds = bench.quick ? 3 : 8
    const arena = { env: { FANWIRE_CENTRIFUGE: '1' } }
    const order = {
      wire: 'ws',
      readers: 1000,
      channels: 1,
      rate: RATE,
      seconds,
      sampleEvery: 16,
      arena,
    } as const
    const results: Result[] = []
    if (peer.name !== 'centrifugo') results.push(await broadcast(peer, bench, { ...order, label: OWN }))
    results.push(await broadcast(peer, bench, { ...order, label: FOREIGN, reading: overWebSocket }))
    return results
  },
  bars(find) {
    const [own, foreign] = [find('fanwire', OWN), find('fanwire', FOREIGN)]
    const other = find('centrifugo')?.deliveriesPerSecond
    return [
      atMost('missing, repeated or reordered', wrongOf(foreign), { bar: 0 }),
      atLeast('delivered', foreign?.delivered, { unit: ' %', bar: 100 }),
      atMost('times the CPU of a ws delivery', ratio(foreign?.cpuPerDelivery, own?.cpuPerDelivery), {
        digits: 2,
        bar: 1.2,
      }),
      atLeast("times Centrifugo's deliveries/s", ratio(foreign?.deliveriesPerSecond, other), { bar: 1 }),
    ]
  },
}

export const calm: Case = {
  name: 'calm',
  title: '1,000 readers of one channel, 50 events/s, through Redis',
  peers: ['fanwire', 'nchan', 'centrifugo', 'ws', 'socket.io'],
  against: ['nchan'],
  async run(peer, bench) {
    const arena = { throughRedis: true }
    const order = { readers: 1000, channels: 1, rate: 50, sampleEvery: 1, arena } as const
    const seconds = bench.quick ? 4 : 12
    const results: Result[] = []
    for (const wire of peer.wires) results.push(await broadcast(peer, bench, { ...order, wire, seconds }))
    return results
  },
  bars: find =>
    (['ws', 'sse'] as const).map(wire => {
      const times = ratio(find('fanwire', wire)?.cpuPerDelivery, find('nchan', wire)?.cpuPerDelivery)
      return atMost(`times Nchan's CPU per ${wire} delivery`, times, { digits: 2, bar: 1, goal: 0.85 })
    }),
}

const MANY_READERS = 5000

export const large: Case = {
  name: 'large',
  title: `${MANY_READERS.toLocaleString('en')} ws readers of one channel, 10 events/s`,
  peers: ['fanwire', 'nchan', 'centrifugo', 'ws', 'socket.io'],
  against: ['nchan'],
  async run(peer, bench) {
    const order = {
      wire: 'ws',
      readers: MANY_READERS,
      channels: 1,
      rate: 10,
      sampleEvery: 1,
      arena: {},
    } as const
    return [await broadcast(peer, bench, { ...order, seconds: bench.quick ? 4 : 12 })]
  },
  bars(find) {
    const times = ratio(find('fanwire')?.cpuPerDelivery, find('nchan')?.cpuPerDelivery)
    return [atMost("times Nchan's CPU per delivery", times, { digits: 2, bar: 0.6, goal: 0.5 })]
  },
}
