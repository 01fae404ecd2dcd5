// The costs of a delivery and of an idle connection if every reader has a token.

import { atMost, ratio } from '../figures.ts'
import { broadcast } from './broadcast.ts'
import type { Case, Result } from './case.ts'
import { measureIdle } from './idle.ts'

const RATE = 4000
/** After this time, a node has forgotten verified tokens that were not used again. */
const FORGOTTEN_MS = 65_000
const VARIANTS = [
  ['hot', 'idle', false],
  ['hot, with tokens', 'idle, with tokens', true],
] as const

export const tokens: Case = {
  name: 'tokens',
  title: 'ws readers with a token each: 1,000 of one channel at 4,000 events/s, and 10,000 idle ones',
  peers: ['fanwire'],
  async run(peer, bench) {
    const results: Result[] = []
    for (const [hot, idle, withTokens] of VARIANTS) {
      const order = { wire: 'ws', readers: 1000, channels: 1, rate: RATE, sampleEvery: 16 } as const
      const seconds = bench.quick ? 3 : 8
      const arena = { tokens: withTokens }
      results.push(await broadcast(peer, bench, { ...order, label: hot, seconds, arena }))
      const settle = bench.quick ? 5000 : FORGOTTEN_MS
      results.push(await measureIdle(peer, 'ws', bench, { label: idle, tokens: withTokens, settle }))
    }
    return results
  },
  bars(find) {
    const of = (label: string) => find('fanwire', label)
    const times = ratio(of('hot, with tokens')?.cpuPerDelivery, of('hot')?.cpuPerDelivery)
    const [without, with_] = [of('idle'), of('idle, with tokens')].map(row => row?.collectedPerConnection)
    const more = without === undefined || with_ === undefined ? undefined : 1024 * (with_ - without)
    return [
      atMost('times the CPU per ws delivery without tokens', times, { digits: 2, bar: 1.03 }),
      atMost('more memory of an idle ws connection', more, { unit: ' bytes', bar: 200 }),
    ]
  },
}
