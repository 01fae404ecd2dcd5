// Chooses, for a number of clients and events, the cheapest and the fastest wire, and compares short polling with them.

import type { CellResult, TransportsResult } from '../result.ts'
import { ms, short, where, whole } from './print.ts'
import {
  bytesPerClient,
  compareCosts,
  compareDelay,
  groupBy,
  prompt,
  PROMPT,
  readers,
  sound,
} from './select.ts'
import type { Table } from './tables.ts'

export interface Best {
  /** The best one first, then those indistinguishable from it. */
  readonly names: readonly string[]
  readonly value: number
}

/** Costs per client and second: µs and bytes; below, relative to the cheapest prompt wire. `p50` in ms. */
export interface Polling {
  readonly name: string
  readonly cpu: number
  readonly bytes: number
  readonly cpuTimes: number | undefined
  readonly bytesTimes: number | undefined
  readonly p50: number | undefined
}

/** The choice for one node. Figures that were not measured are absent. */
export interface Choice {
  readonly clients: number
  readonly rate: number
  /** Least server CPU, µs per client and second: of all wires; below, of the prompt ones. */
  readonly cpu?: Best
  readonly promptCpu?: Best
  /** Fewest bytes per client and second, of the prompt ones. */
  readonly bytes?: Best
  /** Lowest p99, ms. */
  readonly fastest?: Best
  readonly polling: readonly Polling[]
  /** Lines that were saturated, and so cannot be chosen. */
  readonly saturated: readonly string[]
}

export function chooser(result: TransportsResult): Choice[] {
  const cells = readers(result).filter(({ nodes }) => nodes === 1)
  return groupBy(cells, ({ clients, rate }) => `${clients} ${rate}`)
    .filter(own => own.filter(sound).length > 1)
    .map(choose)
    .sort((a, b) => a.clients - b.clients || a.rate - b.rate)
}

function choose(cells: readonly CellResult[]): Choice {
  const usable = cells.filter(sound)
  const prompts = usable.filter(prompt)
  const polls = usable.filter(({ line }) => line.wire === 'poll')
  const cpu = best(usable, each => each.cpuPerClient)
  const promptCpu = best(prompts, each => each.cpuPerClient)
  const bytes = best(prompts, bytesPerClient)
  const fastest = best(
    usable,
    each => each.latency?.p99,
    (a, b) => compareDelay('p99', a, b),
  )
  return {
    clients: cells[0]?.clients ?? 0,
    rate: cells[0]?.rate ?? 0,
    ...(cpu && { cpu }),
    ...(promptCpu && { promptCpu }),
    ...(bytes && { bytes }),
    ...(fastest && { fastest }),
    polling: polls.map(each => ({
      name: each.line.name,
      cpu: each.cpuPerClient,
      bytes: bytesPerClient(each),
      cpuTimes: over(each.cpuPerClient, promptCpu?.value),
      bytesTimes: over(bytesPerClient(each), bytes?.value),
      p50: each.latency?.p50,
    })),
    saturated: cells.filter(each => each.saturated !== undefined).map(({ line }) => line.name),
  }
}

function over(value: number, least: number | undefined): number | undefined {
  return least === undefined || least <= 0 ? undefined : value / least
}

function best(
  cells: readonly CellResult[],
  of: (cell: CellResult) => number | undefined,
  compare: (a: number, b: number) => number = compareCosts,
): Best | undefined {
  const values = cells
    .flatMap(cell => {
      const value = of(cell)
      return value === undefined ? [] : [{ name: cell.line.name, value }]
    })
    .sort((a, b) => a.value - b.value)
  const [first] = values
  if (first === undefined) return undefined
  const ties = values.filter(({ value }) => compare(value, first.value) <= 0)
  return { names: ties.map(({ name }) => name), value: first.value }
}

export function chooserTable(result: TransportsResult): Table {
  const named = (found: Best | undefined, print: (value: number) => string) =>
    found === undefined ? '' : `${found.names.join(' = ')} (${print(found.value)})`
  return {
    title: 'Which wire for how many clients and events',
    header: [
      'clients',
      'events/s',
      'least CPU, µs a client and s',
      `of those with p99 ≤ ${PROMPT} ms`,
      'their fewest bytes a client and s',
      'lowest p99',
      'short polling there, times theirs',
    ],
    rows: chooser(result).map(choice => ({
      cells: [
        whole(choice.clients),
        short(choice.rate),
        named(choice.cpu, short),
        named(choice.promptCpu, short),
        named(choice.bytes, short),
        named(choice.fastest, ms),
        choice.polling.map(pollingText).join('; '),
      ],
      marks:
        choice.saturated.length === 0
          ? []
          : [`${where({ ...choice, nodes: 1 })}: saturated, so not compared: ${choice.saturated.join('; ')}`],
    })),
    text: [2, 3, 4, 5, 6],
  }
}

/** Such as `every 1 s: 9.3 × CPU, 31 × bytes, p50 501 ms`. */
function pollingText({ name, cpuTimes, bytesTimes, p50 }: Polling): string {
  const parts = [
    ...(cpuTimes === undefined ? [] : [`${short(cpuTimes)} × CPU`]),
    ...(bytesTimes === undefined ? [] : [`${short(bytesTimes)} × bytes`]),
    ...(p50 === undefined ? [] : [`p50 ${ms(p50)}`]),
  ]
  return `${name.replace(/^poll /, '')}: ${parts.join(', ')}`
}
