// One client of a load, whatever its wire, and what all clients of a process count together.

import type { Address, Traffic } from '../address.ts'
import { Histogram } from '../histogram.ts'
import type { LoadOrder } from '../order.ts'
import type { Scanner } from '../scan.ts'

export interface Follower {
  readonly scanner: Scanner
  readonly traffic: Traffic
  /** Connected now, or answered lately. */
  readonly isOpen: boolean
  /** When events came last, µs. */
  readonly lastAt: number
  start(): void
  /** Leaves for good. */
  close(): void
}

/** What happens to a client, told once: it is connected, or could not be at its first attempt. */
export interface Begun {
  opened(): void
  failed(reason: string): void
}

/** One client's part of an order. */
export interface Part {
  readonly order: LoadOrder
  readonly address: Address
  readonly channel: string
  /** Where it stands among all clients of the order, 0 to 1. */
  readonly phase: number
  readonly scanner: Scanner
  readonly account: Account
  readonly begun: Begun
}

/** What is counted over all clients of a process. */
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

/** What went wrong, in the word that it is counted by: a status, an error's code. */
export function kindOf(reason: string): string {
  const status = /^HTTP\/[\d.]+ (\d{3})/.exec(reason)?.[1]
  if (status !== undefined) return status === '200' ? 'told to come back' : `HTTP ${status}`
  return /^[A-Z][A-Z0-9_]{3,}(?=:)/.exec(reason)?.[0] ?? reason
}

export function reasonOf(error: Error): string {
  return 'code' in error ? `${error.code}: ${error.message}` : error.message
}

/** `ms` give or take half of it, so that many clients don't come back at once. */
export function jitter(ms: number): number {
  return ms * (0.5 + Math.random())
}

/** Ms before a client that was cut or refused comes back, unless the server says when. */
export const COME_BACK = 1000
