// A small channel beside a hot one: measures how much the hot channel delays its reader.

import { Arena, type Generator } from '../arena.ts'
import { atMost, ratio, wrongOf } from '../figures.ts'
import { now } from '../load/marker.ts'
import type { Peer, RunningPeer } from '../peers/peer.ts'
import { type Bench, type Case, caveats, delivered, type Result } from './case.ts'

const READERS = 5000
const HOT_RATE = 200
const SMALL_RATE = 10
const SIZE = 64
/** Seconds of warm-up; below, seconds for events still in flight after the last publish. */
const WARM_SECONDS = 3
const GRACE = 5

const SAME = 'on the same node'
const OTHER = 'on another node'

function follow(generator: Generator, peer: RunningPeer, group: string, channel: string, count: number) {
  const { wire, path } = peer.reading('ws', channel)
  const order = { group, port: peer.port, wire, paths: [path], count, after: 0 }
  return generator.call('connect', { ...order, sampleEvery: count === 1 ? 1 : 16 })
}

/** Measures with the small channel's reader and publisher on the node of the hot channel, or on a separate one. */
function measure(peer: Peer, bench: Bench, label: typeof SAME | typeof OTHER): Promise<Result> {
  return Arena.with(peer, { profile: bench.profileOf(label) }, async arena => {
    const { generator, publisher } = arena
    const seconds = bench.quick ? 5 : 20
    const quiet = label === SAME ? arena.peer : await arena.another()
    const apart = arena.anotherGenerator()
    await publisher.call('open', { name: 'small', sink: quiet.sink })
    await follow(generator, arena.peer, 'hot', 'hot', READERS)
    await follow(apart, quiet, 'small', 'small', 1)

    const publish = (seconds: number, first: { hot: number; small: number }, deadline: number) =>
      publisher.call('publish', {
        streams: [
          {
            sink: 'main',
            channels: ['hot'],
            rate: HOT_RATE,
            count: HOT_RATE * seconds,
            size: SIZE,
            first: first.hot,
          },
          {
            sink: 'small',
            channels: ['small'],
            rate: SMALL_RATE,
            count: SMALL_RATE * seconds,
            size: SIZE,
            first: first.small,
          },
        ],
        deadline,
      })
    const warm = { hot: HOT_RATE * WARM_SECONDS, small: SMALL_RATE * WARM_SECONDS }
    const warmUntil = now() + (WARM_SECONDS + GRACE) * 1e6
    await publish(WARM_SECONDS, { hot: 1, small: 1 }, warmUntil)
    await generator.call('settle', { group: 'hot', upto: warm.hot, deadline: warmUntil })

    bench.progress(`measuring ${label}`)
    await generator.call('begin', { group: 'hot' })
    await apart.call('begin', { group: 'small' })
    const upto = { hot: warm.hot + HOT_RATE * seconds, small: warm.small + SMALL_RATE * seconds }
    const deadline = now() + (seconds + GRACE) * 1e6
    const publishing = publish(seconds, { hot: warm.hot + 1, small: warm.small + 1 }, deadline)
    await apart.call('settle', { group: 'small', upto: upto.small, deadline })
    await generator.call('settle', { group: 'hot', upto: upto.hot, deadline })
    const small = await apart.call('report', { group: 'small', upto: upto.small })
    const hot = await generator.call('report', { group: 'hot', upto: upto.hot })
    const published = await publishing
    return {
      label,
      figures: {
        ...delivered(small, published),
        missing: small.missing + small.outstanding + hot.missing + hot.outstanding,
        repeated: small.repeated + hot.repeated,
        reordered: small.reordered + hot.reordered,
        deliveriesPerSecond: hot.received / seconds,
        generatorCpu: hot.cpu * 100,
      },
      notes: caveats(hot, published),
    }
  })
}

export const neighbour: Case = {
  name: 'neighbour',
  title: `One reader of a small channel (${SMALL_RATE} events/s) beside ${READERS.toLocaleString('en')} readers of a hot one (${HOT_RATE} events/s): latency of the small one`,
  peers: ['fanwire'],
  async run(peer, bench) {
    return [await measure(peer, bench, SAME), await measure(peer, bench, OTHER)]
  },
  bars(find) {
    const same = find('fanwire', SAME)
    const other = find('fanwire', OTHER)
    const wrong = wrongOf(same)
    return [
      atMost('missing, repeated or reordered', wrong, { bar: 0 }),
      atMost('times its p99 on another node', ratio(same?.p99, other?.p99), { digits: 2, bar: 3, goal: 2 }),
    ]
  },
}
