// Channels that are followed and in which nothing happens: what it costs the node and Redis to know that.

import { setTimeout as sleep } from 'node:timers/promises'
import { Arena, Meter } from '../arena.ts'
import type { Peer } from '../peers/peer.ts'
import { channelNames } from './broadcast.ts'
import type { Bench, Case, Result } from './case.ts'

/** Channels of one connection. */
const EACH = 50
const SETTLE_MS = 3000
/** All heads are compared once in 8 s. */
const SECONDS = 16

async function measure(peer: Peer, channels: number, bench: Bench): Promise<Result> {
  const label = `${channels.toLocaleString('en')} channels`
  return Arena.with(peer, { profile: bench.profile }, async arena => {
    const names = channelNames(channels)
    const paths = Array.from({ length: channels / EACH }, (_, i) => {
      const own = names.slice(i * EACH, (i + 1) * EACH)
      return arena.peer.reading('ws', own.join('&channel=')).path
    })
    const { wire } = arena.peer.reading('ws', '')
    const { port } = arena.peer
    const order = { group: 'readers', port, wire, paths, count: paths.length, sampleEvery: 1 }
    const { failed, reason } = await arena.generator.call('connect', order)
    if (failed > 0) return { label, figures: {}, notes: [`${failed} readers failed: ${reason}`] }
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
  async run(peer, bench) {
    const results: Result[] = []
    for (const channels of [1000, 10_000, 49_000]) results.push(await measure(peer, channels, bench))
    return results
  },
  bars: () => [],
}
