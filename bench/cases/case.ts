// Definition of a case, and what all cases share.

import type { Bar, Figures, Result, Row } from '../figures.ts'
import type { Report } from '../load/generator.ts'
import type { Published } from '../load/publisher.ts'
import type { Peer } from '../peers/peer.ts'

export interface Bench {
  /** One short run, which shows whether a case works, not how well. */
  readonly quick: boolean
  /** Only the rows that the goals compare. */
  readonly barsOnly: boolean
  /** A folder for the CPU profiles of a row's nodes, if requested. */
  profileOf(label: string): string | undefined
  /** Reports progress. */
  progress(text: string): void
}

export interface Case {
  readonly name: string
  readonly title: string
  /** Names of the peers that the case applies to. */
  readonly peers: readonly string[]
  /** Names of the peers that its goals compare; empty if it makes no statement about cost. */
  readonly against?: readonly string[]
  /** One run; one result per row of the table. */
  run(peer: Peer, bench: Bench): Promise<Result[]>
  /** The goals. `find` returns the row of a peer; `label` chooses one of several. */
  bars(find: (peer: string, label?: string) => Figures | undefined): Bar[]
}

/** Above this share of a core, the load generator may be the bottleneck. */
export const GENERATOR_LIMIT = 0.9

/** Figures of every case that delivers events. */
export function delivered(report: Report, published: Published): Figures {
  return {
    missing: report.missing,
    repeated: report.repeated,
    reordered: report.reordered,
    p50: report.latency.p50 / 1000,
    p95: report.latency.p95 / 1000,
    p99: report.latency.p99 / 1000,
    max: report.latency.max / 1000,
    bytesPerDelivery: report.bytes / Math.max(1, report.received),
    generatorCpu: report.cpu * 100,
    publisherLate: published.late,
  }
}

/** Notes about the generated load. */
export function caveats(report: Report, published: Published): string[] {
  const notes: string[] = []
  if (report.cpu > GENERATOR_LIMIT) notes.push('the load generator used more than 90 % of a core')
  if (published.failed > 0) notes.push(`${published.failed} publishes failed`)
  if (report.cut > 0) notes.push(`${report.cut} connections were cut by the server`)
  return notes
}

export type { Bar, Figures, Result, Row }
