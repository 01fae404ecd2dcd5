// How much one address may do at once and in the long run, where each time costs the node more than the client.

import { isIPv6, type Socket } from 'node:net'

/** So many at once, and so many a second in the long run. */
export interface Allowance {
  readonly burst: number
  readonly perSecond: number
}

/** A bucket of tokens an address. */
export class Quota {
  readonly #allowance: Allowance
  /** The least recently used first; full ones are dropped. */
  readonly #buckets = new Map<string, { left: number; at: number }>()

  constructor(allowance: Allowance) {
    this.#allowance = allowance
  }

  /** Addresses that are remembered. */
  get size(): number {
    return this.#buckets.size
  }

  /** Uses one up; false where there is none left. `now`: ms since 1970. */
  take(address: string, now = Date.now()): boolean {
    const left = this.#left(address, now)
    this.#set(address, left >= 1 ? left - 1 : left, now)
    this.#forget(now)
    return left >= 1
  }

  /** Leaves none for a second. */
  exhaust(address: string, now = Date.now()): void {
    this.#set(address, -this.#allowance.perSecond, now)
  }

  /** Whether there is one left. */
  has(address: string, now = Date.now()): boolean {
    return this.#left(address, now) >= 1
  }

  #left(address: string, now: number): number {
    const { burst, perSecond } = this.#allowance
    const bucket = this.#buckets.get(address)
    return bucket === undefined
      ? burst
      : Math.min(burst, bucket.left + ((now - bucket.at) / 1000) * perSecond)
  }

  #set(address: string, left: number, at: number): void {
    this.#buckets.delete(address)
    this.#buckets.set(address, { left, at })
  }

  #forget(now: number): void {
    const { burst, perSecond } = this.#allowance
    for (const [address, { at }] of this.#buckets) {
      if (now - at < (1 + burst / perSecond) * 1000) return
      this.#buckets.delete(address)
    }
  }
}

/** What stands for the owner of an address: an IPv4 address, or the first 64 bits of an IPv6 one. */
export function ownerOf({ remoteAddress = '' }: Socket): string {
  const address = remoteAddress.replace(/^::ffff:(?=\d+\.)/, '')
  if (!isIPv6(address)) return address
  const [head = '', tail = ''] = address.split('::')
  const before = head.split(':')
  const after = tail === '' ? [] : tail.split(':')
  const zeros = new Array<string>(Math.max(0, 8 - before.length - after.length)).fill('0')
  return [...before, ...zeros, ...after].slice(0, 4).join(':')
}
