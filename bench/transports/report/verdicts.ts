// Verdicts on the claims, by rules over the figures. The result of another machine may change them.

import type { TransportsResult } from '../result.ts'
import { CLAIMS } from './claims.ts'
import type { Sign } from './evidence.ts'
import { readers } from './select.ts'

export type Word = 'supported' | 'refuted' | 'not settled' | 'not measured'

export interface Verdict {
  readonly technique: string
  readonly claim: string
  readonly verdict: Word
  readonly figures: readonly string[]
}

export const RULE =
  'Supported: at least one comparison speaks for the claim and none against it; refuted: the other way round; not ' +
  'settled: they disagree, or lie within noise (costs 10 %; p50 20 % or 0.5 ms, p99 25 % or 2 ms). Cells that were ' +
  'saturated or lost events are not compared.'

/** Further claims, which no load can judge. */
export const BESIDES =
  'Claims that no load can judge: that auto-refresh annoys people, that clocks drift apart under short polling (fanwire asks by ' +
  'position, not by time), that long polling is complex, that streams are one-way, that WebSocket has trouble with proxies.'

export function verdicts(result: TransportsResult): Verdict[] {
  const cells = readers(result)
  return CLAIMS.map(({ technique, claim, judge }) => {
    const { signs, figures } = judge(cells)
    return { technique, claim, verdict: settle(signs), figures }
  })
}

export function settle(signs: readonly Sign[]): Word {
  if (signs.length === 0) return 'not measured'
  const [pro, contra] = [signs.includes('for'), signs.includes('against')]
  if (pro === contra) return 'not settled'
  return pro ? 'supported' : 'refuted'
}
