// Code shared by the rules about claims: evidence for and against a claim, and its figures.

import type { CellResult } from '../result.ts'
import { events, ms, short, whole } from './print.ts'
import {
  bytesPerDelivery,
  compareCosts,
  compareDelays,
  groupBy,
  is,
  mainly,
  sound,
  together,
  type Want,
} from './select.ts'

/** The evidence at one place: for the claim, against it, or undecided. */
export type Sign = 'for' | 'against' | 'tie'

export interface Evidence {
  readonly signs: readonly Sign[]
  /** The figures, one sentence each. */
  readonly figures: readonly string[]
}

export const POLL: Want = { wire: 'poll' }
export const LONG_POLL: Want = { wire: 'long-poll', priority: 'high' }
export const LONG_POLL_LOW: Want = { wire: 'long-poll', priority: 'low' }
export const SSE: Want = { wire: 'sse' }
export const STREAM: Want = { wire: 'stream' }
export const WS: Want = { wire: 'ws' }

/** Evidence for a claim that a value is less. `sign`: -1, 0 or 1 of a comparison. */
export function less(sign: -1 | 0 | 1): Sign {
  return sign < 0 ? 'for' : sign > 0 ? 'against' : 'tie'
}

export const dearer = (a: number, b: number): Sign => less(compareCosts(b, a))
export const cheaper = (a: number, b: number): Sign => less(compareCosts(a, b))

export const faster = (a: CellResult, b: CellResult): Sign =>
  a.latency && b.latency ? less(compareDelays(a.latency, b.latency)) : 'tie'

/** Evidence for a claim that a value is not worse: equality is in favour. */
export const noWorse = (sign: Sign): Sign => (sign === 'against' ? 'against' : 'for')

export function bothDelays({ latency }: CellResult): string {
  return latency === undefined ? '' : `p50 ${ms(latency.p50)}, p99 ${ms(latency.p99)}`
}

export function merged(...all: readonly Evidence[]): Evidence {
  return {
    signs: all.flatMap(({ signs }) => signs),
    figures: [...new Set(all.flatMap(({ figures }) => figures))],
  }
}

/** All lines of `want` at the main number of clients on one node: a list of cells per line, by rate. */
export function lines(cells: readonly CellResult[], want: Want): (readonly [CellResult, ...CellResult[]])[] {
  const own = cells.filter(cell => is(cell, want) && sound(cell))
  return groupBy(own, ({ line }) => line.name).flatMap(each => {
    const [first, ...rest] = mainly(each)
    return first === undefined ? [] : [[first, ...rest] as const]
  })
}

/** The polling intervals of a wire, seconds. */
export function intervals(cells: readonly CellResult[], want: Want): number[] {
  const every = cells.filter(cell => is(cell, want)).flatMap(({ line }) => line.every ?? [])
  return [...new Set(every)].sort((a, b) => a - b)
}

/** The places where all of these wires were measured with events, by rate. */
export function happenings(cells: readonly CellResult[], ...wants: readonly Want[]) {
  return mainly(together(cells, ...wants).filter(({ rate }) => rate > 0))
}

/** Delays, CPU and bytes of each wire, over the rates. */
function series(places: ReturnType<typeof together>): string[] {
  const [first] = places
  if (first === undefined) return []
  const over = <T>(all: readonly T[], print: (each: T) => string) => all.map(print).join(' / ')
  const rates =
    places.length === 1 ? events(first.rate) : `${over(places, ({ rate }) => short(rate))} events/s`
  const at = `${whole(first.clients)} clients, ${rates}`
  return first.cells.map((wire, i) => {
    const own = places.flatMap(({ cells }) => cells[i] ?? [])
    const delays = `p50 ${over(own, each => short(each.latency?.p50))} ms, p99 ${over(own, each => short(each.latency?.p99))} ms`
    const cpu = over(own, each => short(each.cpuPerDelivery))
    const bytes = over(own, each => whole(bytesPerDelivery(each)))
    return `${at}: ${wire.line.name} ${delays}, a delivery ${cpu} µs of CPU and ${bytes} B`
  })
}

/** `a` compared with `b`, at all rates. */
export function beside(
  cells: readonly CellResult[],
  a: Want,
  b: Want,
  sign: (a: CellResult, b: CellResult) => Sign,
): Evidence {
  const places = happenings(cells, a, b)
  const signs = places.flatMap(({ cells: [one, other] }) => (one && other ? [sign(one, other)] : []))
  return { signs, figures: series(places) }
}
