// Which cells of a result may be compared, where several lines were measured, and when values count as equal.

import type { CellResult, Line, Quantiles, TransportsResult } from '../result.ts'

/** Costs within this share of each other are equal. */
const COST_NOISE = 0.1
/** Delays are equal within this share of them, or this many ms. */
const DELAY_NOISE = { p50: { share: 0.2, ms: 0.5 }, p99: { share: 0.25, ms: 2 } } as const
/** An event within this delay, ms, arrived promptly: people perceive it as immediate. */
export const PROMPT = 250
/** The number of clients that a report shows if it must choose one. */
const MAIN_CLIENTS = 1000

/** Common properties of comparable lines. */
export interface Place {
  readonly clients: number
  readonly rate: number
  readonly nodes: number
}

export type Want = Partial<Pick<Line, 'wire' | 'every' | 'priority'>>

export function readers({ cells }: TransportsResult): CellResult[] {
  return cells.filter(({ line }) => line.wire !== 'publish')
}

export function publishers({ cells }: TransportsResult): CellResult[] {
  return cells.filter(({ line }) => line.wire === 'publish')
}

/** Whether the cell kept up and lost nothing, so that its costs and delays are comparable. */
export function sound(cell: CellResult): boolean {
  return cell.saturated === undefined && cell.missing <= cell.expected * 0.001
}

/** Whether its events arrived promptly; without events, whether they would not have to wait for a timer. */
export function prompt({ line, latency }: CellResult): boolean {
  return latency === undefined ? line.every === undefined : latency.p99 <= PROMPT
}

export function is(cell: CellResult, want: Want): boolean {
  return (Object.keys(want) as (keyof Want)[]).every(key => cell.line[key] === want[key])
}

export function samePlace(a: Place, b: Place): boolean {
  return a.clients === b.clients && a.rate === b.rate && a.nodes === b.nodes
}

/** Sorts one node before several, then the main number of clients before others, then by rate. */
function byPlace(a: Place, b: Place): number {
  const far = ({ clients }: Place) => Math.abs(Math.log(clients / MAIN_CLIENTS))
  return a.nodes - b.nodes || far(a) - far(b) || a.rate - b.rate
}

/** Places where all wanted lines were measured and are sound; `cells` in the order of `wants`. */
export function together(
  cells: readonly CellResult[],
  ...wants: readonly Want[]
): (Place & { readonly cells: readonly CellResult[] })[] {
  const usable = cells.filter(sound)
  const [first, ...others] = wants
  if (first === undefined) return []
  return usable
    .filter(cell => is(cell, first))
    .flatMap(cell => {
      const rest = others.map(want => usable.find(other => samePlace(other, cell) && is(other, want)))
      const found = rest.filter(other => other !== undefined)
      const { clients, rate, nodes } = cell
      return found.length < others.length ? [] : [{ clients, rate, nodes, cells: [cell, ...found] }]
    })
    .sort(byPlace)
}

/** The places of one node and one number of clients, the main one if possible, by rate. */
export function mainly<T extends Place>(places: readonly T[]): T[] {
  const [first] = [...places].sort(byPlace)
  return places
    .filter(({ clients, nodes }) => clients === first?.clients && nodes === first.nodes)
    .sort((a, b) => a.rate - b.rate)
}

/** Groups items with the same key, in the order of their first. */
export function groupBy<T>(all: readonly T[], key: (each: T) => string): T[][] {
  const groups = new Map<string, T[]>()
  for (const each of all) {
    const own = groups.get(key(each))
    if (own === undefined) groups.set(key(each), [each])
    else own.push(each)
  }
  return [...groups.values()]
}

/** All cells, by nodes and clients. */
export function grouped(cells: readonly CellResult[]): {
  readonly clients: number
  readonly nodes: number
  readonly cells: readonly CellResult[]
}[] {
  return groupBy(cells, ({ clients, nodes }) => `${nodes} ${clients}`)
    .map(own => ({ clients: own[0]?.clients ?? 0, nodes: own[0]?.nodes ?? 0, cells: own }))
    .sort((a, b) => a.nodes - b.nodes || a.clients - b.clients)
}

/** Bytes on the wire, both ways, per client and second. */
export function bytesPerClient(cell: CellResult): number {
  return cell.bytesInPerClient + cell.bytesOutPerClient
}

/** Bytes on the wire, both ways, per delivered event. */
export function bytesPerDelivery(cell: CellResult): number | undefined {
  if (cell.bytesInPerDelivery === undefined) return undefined
  return cell.bytesInPerDelivery + (cell.bytesOutPerDelivery ?? 0)
}

/** -1: `a` costs less than `b`, 1: more, 0: about the same. */
export function compareCosts(a: number, b: number): -1 | 0 | 1 {
  if (a <= b * (1 + COST_NOISE) && b <= a * (1 + COST_NOISE)) return 0
  return a < b ? -1 : 1
}

/** -1: `a` is faster than `b` in one quantile and not slower in the other, 1: slower, 0: undecided. */
export function compareDelays(a: Quantiles, b: Quantiles): -1 | 0 | 1 {
  const signs = (['p50', 'p99'] as const).map(name => compareDelay(name, a[name], b[name]))
  const sum = signs.reduce<number>((all, sign) => all + sign, 0)
  return sum < 0 ? -1 : sum > 0 ? 1 : 0
}

export function compareDelay(name: 'p50' | 'p99', a: number, b: number): -1 | 0 | 1 {
  const { share, ms } = DELAY_NOISE[name]
  const noise = Math.max(Math.min(a, b) * share, ms)
  return Math.abs(a - b) <= noise ? 0 : a < b ? -1 : 1
}
