// The costs for planning, combined from the measurements of the benches.

import type { WireName } from '../load/order.ts'
import { groupBy, sound } from './report/select.ts'
import type { CellResult, TransportsResult } from './result.ts'

/** The costs of a client, as far as they depend on its events. */
export interface Point {
  /** Events per second; for a timed request wire, events per response. */
  readonly events: number
  /** Node CPU in µs, and bytes to and from the client: per second; with a timer, per request. */
  readonly cpu: number
  readonly in: number
  readonly out: number
}

export interface WireCosts {
  /** Whether its clients send requests at a fixed interval. */
  readonly timed: boolean
  /** Resident memory that a client adds to its node, KB; omitted: not measured. */
  readonly memory?: number
  /** Ascending, in events and in all costs. */
  readonly points: readonly Point[]
  /** The wire whose idle client was measured instead, if this one's was not. */
  readonly idleOf?: WireName
}

/** Costs that do not depend on the wire. CPU in µs, memory in bytes. */
export interface CommonCosts {
  /** Writer CPU of one event, published by a separate request. */
  readonly publish: number
  /** Node CPU of an event that reaches a node, without its deliveries. */
  readonly event: number
  /** Resident memory of a node without clients, and of each followed channel. */
  readonly nodeMemory: number
  readonly channelMemory: number
  /** Cut clients that one process reconnects per second. */
  readonly comeback: number
  readonly redis: {
    /** CPU of an event's append, and of its delivery to one subscriber. */
    readonly event: number
    readonly message: number
    /** Memory of a channel that has had an event, and of an event of the measured size. */
    readonly channelMemory: number
    readonly eventMemory: number
  }
}

export interface Costs extends CommonCosts {
  readonly machine: string
  readonly node: string
  readonly date: string
  /** The commands that measured it. */
  readonly commands: readonly string[]
  /** Bytes of an event's data. */
  readonly size: number
  readonly wires: Partial<Record<WireName, WireCosts>>
}

/** Compared cells have about this number of clients. */
const CLIENTS = 1000

export function wireCosts({ cells }: TransportsResult): Partial<Record<WireName, WireCosts>> {
  const usable = cells.filter(
    cell => sound(cell) && cell.nodes === 1 && cell.line.wire !== 'publish' && cell.line.priority === 'high',
  )
  const byWire = groupBy(usable, ({ line }) => line.wire).flatMap(own => {
    const name = own[0]?.line.wire
    return name === undefined || name === 'publish' ? [] : [[name, costsOf(own)] as const]
  })
  const idle = byWire.find(([name, { points }]) => name === 'sse' && points[0]?.events === 0)?.[1].points[0]
  return Object.fromEntries(
    byWire.map(([name, costs]) => {
      const borrows = idle !== undefined && !costs.timed && costs.points[0]?.events !== 0
      if (!borrows) return [name, costs]
      return [name, { ...costs, idleOf: 'sse', points: ascending([idle, ...costs.points]) }]
    }),
  )
}

function costsOf(cells: readonly CellResult[]): WireCosts {
  const timed = cells.some(({ line }) => line.every !== undefined)
  const far = ({ clients }: CellResult) => Math.abs(Math.log(clients / CLIENTS))
  // If there are several numbers of clients, uses the one nearest to CLIENTS.
  const chosen = groupBy(cells, cell => `${eventsOf(cell)}`).flatMap(same => {
    const least = Math.min(...same.map(far))
    return same.filter(cell => far(cell) === least)
  })
  const memory = cells
    .filter(({ residentPerClient }) => residentPerClient !== undefined)
    .toSorted((a, b) => b.clients - a.clients || a.rate - b.rate)[0]?.residentPerClient
  const points = chosen.map(cell => {
    const every = cell.line.every ?? 1
    return {
      events: eventsOf(cell),
      cpu: cell.cpuPerClient * every,
      in: cell.bytesInPerClient * every,
      out: cell.bytesOutPerClient * every,
    }
  })
  return { timed, ...(memory === undefined ? {} : { memory }), points: ascending(points) }
}

/** Events of a client, per second or per response. */
function eventsOf({ rate, line }: CellResult): number {
  return rate * (line.every ?? 1)
}

/** More events never cost less: a contradiction is noise. */
function ascending(points: readonly Point[]): Point[] {
  const most = { cpu: 0, in: 0, out: 0 }
  return points
    .toSorted((a, b) => a.events - b.events)
    .map(({ events, ...costs }) => {
      for (const name of ['cpu', 'in', 'out'] as const) most[name] = Math.max(most[name], costs[name])
      return { events, ...most }
    })
}

/** The cost of a client at a rate per second, or per response: interpolated; beyond the measurements, in proportion. */
export function costAt(points: readonly Point[], events: number): Omit<Point, 'events'> {
  const after = points.findIndex(point => point.events >= events)
  const to = points[after]
  const last = points.at(-1)
  if (last === undefined) throw new Error('no costs were measured')
  if (to === undefined) {
    // The cost of an idle client does not determine the cost of events.
    const share = last.events > 0 ? events / last.events : 1
    return { cpu: last.cpu * share, in: last.in * share, out: last.out * share }
  }
  // Below all measurements, the cost is that of the smallest one.
  const from = points[after - 1] ?? to
  const share = to.events === from.events ? 1 : (events - from.events) / (to.events - from.events)
  const between = (a: number, b: number) => a + share * (b - a)
  return { cpu: between(from.cpu, to.cpu), in: between(from.in, to.in), out: between(from.out, to.out) }
}
