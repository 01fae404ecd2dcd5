// Checks the load generator against a server with known faults: its report must match the real deliveries on each wire.

import { setTimeout as sleep } from 'node:timers/promises'
import { Crew } from './load/crew.ts'
import { Histogram } from './load/histogram.ts'
import { now } from './load/marker.ts'
import { type Tally, type WireName, WIRES } from './load/order.ts'
import type { Faults } from './self-check/bad-log.ts'
import { BadServer } from './self-check/bad-server.ts'

export interface Check {
  readonly faults: Faults
  /** A multiple of 100, so that one in a hundred is exact. */
  readonly events: number
  readonly rate: number
  readonly clients: number
  readonly processes: number
}

const WHOLE: Check = {
  faults: { lose: true, repeat: true, reorder: true, delay: 50 },
  events: 1000,
  rate: 250,
  clients: 50,
  processes: 2,
}
/** Number of push clients. With more, the server would be the bottleneck, because pushes are expensive. */
const PUSHED_TO = 10
/** Seconds without an event after which none is in flight. */
const GRACE = 10

/** Requested faults and the load's report: shares of the events 0 to 1, times in ms. */
export interface Row {
  readonly wire: WireName
  readonly lossAsked: number
  readonly lossSeen: number
  readonly repeatedAsked: number
  readonly repeatedSeen: number
  readonly reorderedAsked: number
  readonly reorderedSeen: number
  readonly delayAsked: number
  /** As written by the server, and as received by the load. */
  readonly p50Written: number
  readonly p50Seen: number
  readonly leastSeen: number
  /** The report matches the request. */
  readonly right: boolean
}

/** One wire against a bad server: the load's report, and the server's knowledge. */
export async function against(
  wire: WireName,
  { faults, events, rate, clients, processes }: Check,
): Promise<{ tally: Tally; written: Histogram }> {
  const server = await BadServer.start(faults)
  const crew = new Crew(processes)
  try {
    const { failed, reason } = await crew.connect({
      target: { url: server.urlOf(wire) },
      wire,
      clients,
      channels: ['c'],
      every: 1,
      // A self-reloading page must have room for all events since the last load, otherwise it never shows some of them.
      ...(wire === 'refresh' ? { limit: 2 * events } : {}),
      wait: 5,
      rampUp: 0,
      after: 0,
    })
    if (failed > 0) throw new Error(`${wire}: ${failed} clients failed: ${reason}`)
    await crew.begin()
    await server.publish(events, rate)
    // Events are lost, so the load is never complete: waits until all written events have arrived.
    const published = now()
    const each = events * (1 - (faults.lose ? 0.01 : 0) + (faults.repeat ? 0.01 : 0))
    let tally = await crew.tally()
    while (
      tally.received < Math.round(each * clients) &&
      now() < Math.max(published, tally.lastAt) + GRACE * 1e6
    ) {
      await sleep(50)
      tally = await crew.tally()
    }
    return { tally, written: server.written }
  } finally {
    await crew.close()
    await server.close()
  }
}

/** Checks each wire with real load processes. */
export async function selfCheck(check: Check = WHOLE): Promise<Row[]> {
  const rows: Row[] = []
  for (const wire of WIRES) {
    const clients = wire === 'push' ? Math.min(PUSHED_TO, check.clients) : check.clients
    rows.push(await rowOf(wire, { ...check, clients }))
  }
  return rows
}

async function rowOf(wire: WireName, check: Check): Promise<Row> {
  const { tally, written } = await against(wire, check)
  const { faults, events, clients } = check
  const all = events * clients
  const seen = new Histogram()
  seen.addAll(tally.latency)
  const least = tally.latency[0]?.[0] ?? 0
  const share = (fault: boolean | undefined) => (fault ? 0.01 : 0)
  const row = {
    wire,
    lossAsked: share(faults.lose),
    lossSeen: tally.missing / all,
    repeatedAsked: share(faults.repeat),
    repeatedSeen: tally.repeated / all,
    reorderedAsked: share(faults.reorder),
    reorderedSeen: tally.reordered / all,
    delayAsked: faults.delay,
    p50Written: written.quantile(0.5) / 1000,
    p50Seen: seen.quantile(0.5) / 1000,
    leastSeen: least / 1000,
  }
  const right =
    row.lossSeen === row.lossAsked &&
    row.repeatedSeen === row.repeatedAsked &&
    row.reorderedSeen === row.reorderedAsked &&
    seen.count === tally.received &&
    written.count === tally.received &&
    row.leastSeen >= row.delayAsked &&
    row.p50Seen >= row.p50Written
  return { ...row, right }
}

/** The formatted rows. */
export function selfCheckText(rows: readonly Row[]): string {
  const percent = (share: number) => `${(share * 100).toFixed(2)} %`
  return rows
    .map(
      row =>
        `${row.wire.padEnd(10)} ${row.right ? 'right' : 'WRONG'}` +
        `  lost: asked ${percent(row.lossAsked)}, seen ${percent(row.lossSeen)}` +
        `  repeated: ${percent(row.repeatedAsked)}, ${percent(row.repeatedSeen)}` +
        `  reordered: ${percent(row.reorderedAsked)}, ${percent(row.reorderedSeen)}` +
        `  delay: asked ${row.delayAsked} ms, least seen ${row.leastSeen.toFixed(1)} ms, ` +
        `p50 written ${row.p50Written.toFixed(1)} ms, seen ${row.p50Seen.toFixed(1)} ms`,
    )
    .join('\n')
}
