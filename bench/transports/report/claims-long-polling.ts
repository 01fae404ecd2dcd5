// Claims about long polling, and about batching for it.

import type { CellResult } from '../result.ts'
import { describe, type Point } from './crossing.ts'
import {
  bothDelays,
  cheaper,
  dearer,
  type Evidence,
  happenings,
  intervals,
  less,
  LONG_POLL,
  LONG_POLL_LOW,
  POLL,
  type Sign,
  SSE,
} from './evidence.ts'
import { cpuTime, ms, traffic, where, whole } from './print.ts'
import { bytesPerClient, compareDelay, is, mainly, PROMPT, samePlace, sound, together } from './select.ts'

/** Costs of two wires at places where both were measured, as points for a crossing. */
function points(places: ReturnType<typeof together>, of: (cell: CellResult) => number): Point[] {
  return places.flatMap(({ rate, cells: [a, b] }) => (a && b ? [{ rate, a: of(a), b: of(b) }] : []))
}

export function longPollIsPrompt(cells: readonly CellResult[]): Evidence {
  const own = mainly(cells.filter(cell => is(cell, LONG_POLL) && cell.rate > 0))
  const signs = own.flatMap((cell): Sign[] => {
    if (!sound(cell)) return cell.saturated?.by === 'server' ? ['against'] : []
    return cell.latency === undefined ? [] : [cell.latency.p99 <= PROMPT ? 'for' : 'against']
  })
  const figures = own.flatMap(cell => {
    if (!sound(cell))
      return [`${where(cell)}: it could not keep up here (${cell.saturated?.by ?? 'events are missing'})`]
    const sse = cells.find(each => is(each, SSE) && sound(each) && samePlace(each, cell))
    const beside = sse && `, sse ${bothDelays(sse)}`
    return [`${where(cell)}: ${bothDelays(cell)}${beside ?? ''}`]
  })
  return { signs, figures }
}

export function longPollLoads(cells: readonly CellResult[]): Evidence {
  const judged = intervals(cells, POLL).flatMap(every => {
    const places = mainly(together(cells, LONG_POLL, { ...POLL, every }))
    const last = places.at(-1)
    const [long, polled] = last?.cells ?? []
    if (long === undefined || polled === undefined) return []
    const at = `${where(long)}: long-poll ${traffic(bytesPerClient(long))} and ${cpuTime(long.cpuPerClient)} of CPU a client and second`
    return [
      {
        // The claim is about frequent events and the network, so bytes at the highest rate decide.
        sign: dearer(bytesPerClient(long), bytesPerClient(polled)),
        figures: [
          `${at}, ${polled.line.name} ${traffic(bytesPerClient(polled))} and ${cpuTime(polled.cpuPerClient)}`,
          `against ${polled.line.name}: in bytes ${describe(points(places, bytesPerClient))}; ` +
            `in CPU ${describe(points(places, each => each.cpuPerClient))}`,
        ],
      },
    ]
  })
  // A server that cannot answer this many requests, while short polling works, is evidence as well.
  const lost = cells.filter(cell => is(cell, LONG_POLL) && cell.saturated?.by === 'server')
  const beaten = lost.filter(cell =>
    cells.some(each => is(each, POLL) && sound(each) && samePlace(each, cell)),
  )
  return {
    signs: [...judged.map(({ sign }) => sign), ...beaten.map((): Sign => 'for')],
    figures: [
      ...judged.flatMap(({ figures }) => figures),
      ...beaten.map(
        cell => `${where(cell)}: the server can't keep up with long-poll, as it can with short polling`,
      ),
    ],
  }
}

export function batchingTames(cells: readonly CellResult[]): Evidence {
  const costs: readonly [string, (cell: CellResult) => number | undefined, (value: number) => string][] = [
    ['requests/s', each => each.requestsPerSecond, whole],
    ['CPU a client and second', each => each.cpuPerClient, cpuTime],
    ['bytes a client and second', bytesPerClient, traffic],
  ]
  const places = happenings(cells, LONG_POLL_LOW, LONG_POLL)
  const pairs = places.map(({ cells: [low, high], ...place }) => ({
    place,
    costs: costs.flatMap(([name, of, print]) => {
      const [a, b] = [low && of(low), high && of(high)]
      if (a === undefined || b === undefined) return []
      return [{ sign: cheaper(a, b), text: `${name} ${print(a)} instead of ${print(b)}` }]
    }),
  }))
  return {
    signs: pairs.flatMap(each => each.costs.map(({ sign }) => sign)),
    figures: pairs.map(each => `${where(each.place)}: ${each.costs.map(({ text }) => text).join(', ')}`),
  }
}

export function batchingDelays(cells: readonly CellResult[]): Evidence {
  const pairs = happenings(cells, LONG_POLL_LOW, LONG_POLL).flatMap(({ cells: [low, high], ...place }) =>
    low?.latency && high?.latency ? [{ place, low: low.latency, high: high.latency }] : [],
  )
  return {
    signs: pairs.map(({ low, high }) => less(compareDelay('p50', high.p50, low.p50))),
    figures: pairs.map(
      ({ place, low, high }) =>
        `${where(place)}: p50 ${ms(low.p50)} instead of ${ms(high.p50)}, p99 ${ms(low.p99)} instead of ${ms(high.p99)}`,
    ),
  }
}
