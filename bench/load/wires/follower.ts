// One client of a load, on any wire, and the shared counts of all clients of a process.

import type { Address, Traffic } from '../address.ts'
import { Histogram } from '../histogram.ts'
import type { LoadOrder } from '../order.ts'
import type { Scanner } from '../scan.ts'

export interface Follower {
  readonly scanner: Scanner
  readonly traffic: Traffic
  /** Currently connected, or recently answered. */
  readonly isOpen: boolean
  /** When the last events arrived, µs. */
  readonly lastAt: number
  start(): void
  /** Disconnects for good. */
  close(): void
}

/** Outcome of a client's first attempt, reported once: connected or failed. */
export interface Begun {
  opened(): void
  failed(reason: string): void
}

/** One client's part of an order. */
export interface Part {
  readonly order: LoadOrder
  readonly address: Address
  readonly channel: string
  /** Its place among all clients of the order, 0 to 1. */
  readonly phase: number
  readonly scanner: Scanner
  readonly account: Account
  readonly begun: Begun
}

/** Counts over all clients of a process. */
export class Account {
  readonly latency = new Histogram()
  readonly answering = new Histogram()
  readonly errors = new Map<string, number>()
  gaps = 0
  requests = 0
  empty = 0
  cut = 0
  resumed = 0

  wrong(reason: string): void {
    const kind = kindOf(reason)
    this.errors.set(kind, (this.errors.get(kind) ?? 0) + 1)
  }

  clear(): void {
    this.latency.clear()
    this.answering.clear()
    this.errors.clear()
    this.gaps = 0
    this.requests = 0
    this.empty = 0
    this.cut = 0
    this.resumed = 0
  }
}

/** The key under which a failure is counted: a status, or an error's code. */
export function kindOf(reason: string): string {
  const status = /^HTTP\/[\d.]+ (\d{3})/.exec(reason)?.[1]
  if (status !== undefined) return status === '200' ? 'retry requested' : `HTTP ${status}`
  return /^[A-Z][A-Z0-9_]{3,}(?=:)/.exec(reason)?.[0] ?? reason
}

export function reasonOf(error: Error): string {
  return 'code' in error ? `${error.code}: ${error.message}` : error.message
}

/** `ms` plus or minus half of it, so that many clients do not reconnect at once. */
export function jitter(ms: number): number {
  return ms * (0.5 + Math.random())
}

/** Ms before a cut or rejected client reconnects, unless the server sets the delay. */
export const COME_BACK = 1000
