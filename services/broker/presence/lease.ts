// A node's lease on its members. It is renewed while the node lives, and expires soon after the node dies.

import { randomBytes } from 'node:crypto'
import type { Logger } from '../logger.ts'
import { LEASE_MS, type MemberStore } from './store.ts'

/** The renewal interval: a node that is cut off for 10 s keeps its lease. */
const RENEW_MS = 2000
const RETRY_MS = 500
/** A lease is not used in the last second of its validity. */
const MARGIN_MS = 1000

export interface LeaseEvents {
  /** Called when the lease was replaced: nothing is stored under the new one yet. */
  changed(): void
  /** Called when leases of other nodes have ended. */
  ended(leases: readonly string[]): void
}

export class Lease {
  /** The lease's id in the store. */
  id = newId()
  /** Until when it is certainly valid, by the store's clock; 0 if it is not yet. */
  until = 0
  /** All leases at the time of the last renewal. */
  known: ReadonlySet<string> = new Set()
  readonly #store: MemberStore
  readonly #logger: Logger
  readonly #events: LeaseEvents
  readonly #every: number
  #begun = false
  #timer: NodeJS.Timeout | undefined
  #renewing: Promise<void> | undefined
  #closed = false

  constructor(store: MemberStore, logger: Logger, events: LeaseEvents, every = RENEW_MS) {
    this.#store = store
    this.#logger = logger
    this.#events = events
    this.#every = every
  }

  /** Renews it now, or after the renewal in progress. Does not raise. */
  renew(): Promise<void> {
    this.#renewing ??= this.#renew().finally(() => {
      this.#renewing = undefined
    })
    return this.#renewing
  }

  /** Lets it expire after that many ms. Does not raise. */
  async close(within: number): Promise<void> {
    this.#closed = true
    clearTimeout(this.#timer)
    await this.#renewing
    if (this.#begun) await this.#store.end(this.id, within).catch(() => {})
  }

  async #renew(): Promise<void> {
    clearTimeout(this.#timer)
    let next = this.#every
    try {
      await this.#ask()
    } catch (error) {
      next = Math.min(RETRY_MS, this.#every)
      this.#logger.debug({ reason: String(error) }, 'the lease on members could not be renewed')
    }
    if (this.#closed) return
    this.#timer = setTimeout(() => void this.renew(), next).unref()
  }

  async #ask(): Promise<void> {
    let renewal = await this.#store.renew(this.id, !this.#begun)
    const lost = !renewal.held
    if (lost) {
      this.id = newId()
      renewal = await this.#store.renew(this.id, true)
    }
    this.#begun = true
    this.until = renewal.now + LEASE_MS - MARGIN_MS
    this.known = new Set(renewal.leases)
    if (lost) {
      this.#logger.info({}, 'the lease on members had expired: the members are stored again')
      this.#events.changed()
    }
    if (renewal.ended.length > 0) this.#events.ended(renewal.ended)
  }
}

/** A random id for a lease. */
export function newId(): string {
  return randomBytes(9).toString('base64url')
}
