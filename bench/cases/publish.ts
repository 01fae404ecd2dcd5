// One event per request, as most applications publish: 50 persistent connections, each with one request in flight.

import { fileURLToPath } from 'node:url'
import { Arena, Meter } from '../arena.ts'
import { atLeast, atMost, ratio } from '../figures.ts'
import type { OneByOneMethods } from '../load/one-by-one.ts'
import { Remote } from '../load/remote.ts'
import type { Peer } from '../peers/peer.ts'
import { channelNames } from './broadcast.ts'
import { type Bench, type Case, GENERATOR_LIMIT, type Result } from './case.ts'

const LOAD = fileURLToPath(new URL('../load/one-by-one.ts', import.meta.url))
const CONNECTIONS = 50
const SIZE = 64
/** Enough requests for the server's code to be compiled. */
const WARM_COUNT = 10_000

async function measure(peer: Peer, label: string, bench: Bench): Promise<Result> {
  return Arena.with(
    peer,
    { throughRedis: true, tokens: label.includes('token'), profile: bench.profileOf(label) },
    async arena => {
      const by = arena.peer.publishing?.[label]
      if (by === undefined) return { label, figures: {}, notes: ['it has no such way to publish'] }
      const load = new Remote<OneByOneMethods>(LOAD)
      try {
        const { port } = arena.peer
        const order = { port, by, connections: CONNECTIONS, channels: channelNames(1000), size: SIZE }
        await load.call('run', { ...order, count: WARM_COUNT })
        const meter = new Meter(arena)
        const { published, seconds, p50, p99, cpu } = await load.call('run', {
          ...order,
          count: bench.quick ? 5000 : 60_000,
        })
        const { cpu: server, redisCpu } = meter.read()
        meter.stop()
        return {
          label,
          figures: {
            requestsPerSecond: published / seconds,
            p50,
            p99,
            cpuPerEvent: server / published,
            redisCpuPerEvent: redisCpu / published,
            allCpuPerEvent: (server + redisCpu) / published,
            generatorCpu: cpu * 100,
          },
          notes: cpu > GENERATOR_LIMIT ? ['the load generator used more than 90 % of a core'] : [],
        }
      } finally {
        await load.close()
      }
    },
  )
}

export const publish: Case = {
  name: 'publish',
  title: `Publishing one by one over ${CONNECTIONS} connections, through Redis`,
  peers: ['fanwire', 'nchan', 'centrifugo'],
  against: ['centrifugo'],
  async run(peer, bench) {
    const results: Result[] = []
    const labels = bench.barsOnly ? ['POST'] : (peer.publishes ?? [])
    for (const label of labels) results.push(await measure(peer, label, bench))
    return results
  },
  bars(find) {
    const own = find('fanwire', 'POST')
    const other = find('centrifugo')?.requestsPerSecond
    return [
      atLeast("times Centrifugo's requests/s", ratio(own?.requestsPerSecond, other), {
        digits: 2,
        bar: 1,
        goal: 1.5,
      }),
      atMost('CPU of the server for each', own?.cpuPerEvent, { unit: ' µs', bar: 30, goal: 22 }),
    ]
  },
}
