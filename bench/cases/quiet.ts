// Followed channels without events: the cost for the node and Redis of checking that nothing happened.

import { setTimeout as sleep } from 'node:timers/promises'
import { Arena, Meter } from '../arena.ts'
import { atMost, ratio } from '../figures.ts'
import type { Peer } from '../peers/peer.ts'
import { channelNames } from './broadcast.ts'
import type { Bench, Case, Result } from './case.ts'

/** Channels per connection. */
const EACH = 50
/** Connections opened at once: each has many channels to open. */
const AT_ONCE = 50
const SETTLE_MS = 3000
/** Seconds of measurement: two rounds, because a node compares all heads once in 8 s. */
const SECONDS = 16

const MOST = 49_000

const labelOf = (channels: number) => `${channels.toLocaleString('en')} channels`

async function measure(peer: Peer, channels: number, bench: Bench): Promise<Result> {
  const label = labelOf(channels)
  return Arena.with(peer, { profile: bench.profileOf(label) }, async arena => {
    const names = channelNames(channels)
    const paths = Array.from({ length: channels / EACH }, (_, i) => {
      const own = names.slice(i * EACH, (i + 1) * EACH)
      return arena.peer.reading('ws', own.join('&channel=')).path
    })
    const { wire } = arena.peer.reading('ws', '')
    const { port } = arena.peer
    for (let from = 0; from < paths.length; from += AT_ONCE) {
      const some = paths.slice(from, from + AT_ONCE)
      const order = { group: `readers ${from}`, port, wire, paths: some, count: some.length, sampleEvery: 1 }
      const { failed, reason } = await arena.generator.call('connect', order)
      if (failed > 0) return { label, figures: {}, notes: [`${failed} readers failed: ${reason}`] }
    }
    await sleep(SETTLE_MS)
    const meter = new Meter(arena)
    const seconds = bench.quick ? SECONDS / 2 : SECONDS
    await sleep(seconds * 1000)
    const { cpu, redisCpu } = meter.read()
    meter.stop()
    return { label, figures: { idleCpu: cpu / 1000 / seconds, idleRedisCpu: redisCpu / 1000 / seconds } }
  })
}

export const quiet: Case = {
  name: 'quiet',
  title: `Quiet channels, ${EACH} to a ws connection`,
  peers: ['fanwire'],
  against: ['before'],
  async run(peer, bench) {
    const results: Result[] = []
    for (const channels of bench.barsOnly ? [MOST] : [1000, 10_000, MOST])
      results.push(await measure(peer, channels, bench))
    return results
  },
  bars(find) {
    const [own, before] = ['fanwire', 'before'].map(peer => find(peer, labelOf(MOST))?.idleRedisCpu)
    if (before === undefined) return []
    return [
      atMost(`times the CPU of Redis before, ${labelOf(MOST)}`, ratio(own, before), { digits: 2, bar: 0.1 }),
    ]
  },
}
