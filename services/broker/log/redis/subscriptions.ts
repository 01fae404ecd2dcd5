// The pub/sub subscriptions of one connection. They are sent together once a tick, and again after each reconnect.

import { LogUnavailable } from '../log.ts'
import type { Deferred } from './connection.ts'
import type { Argument } from './resp.ts'
import { deferred } from './connection.ts'
import { bySlot } from './slots.ts'

/** The maximum number of names in one command. */
const BATCH = 1000

/** The delay before names that Redis refused are retried, ms. */
const RETRY_MS = 1000

export interface SubscriptionsOptions {
  /** Sends a command over the connection. */
  send(command: 'subscribe' | 'unsubscribe', names: Argument[]): Promise<unknown>
  /** Only names of one slot may be sent in one command. */
  slot(name: string): number
  /** Called when names are subscribed again after a reconnect: messages in between are missing. */
  renewed(names: readonly string[]): void
  /** Called when Redis refused names, which are retried. */
  refused?(error: unknown): void
}

export class Subscriptions {
  readonly #options: SubscriptionsOptions
  readonly #wanted = new Set<string>()
  /** The names that were sent since the last connect. */
  readonly #asked = new Set<string>()
  readonly #changed = new Set<string>()
  readonly #waiting = new Map<string, Deferred<void>>()
  #flush: NodeJS.Immediate | undefined
  readonly #retries = new Set<NodeJS.Timeout>()

  constructor(options: SubscriptionsOptions) {
    this.#options = options
  }

  /** Returns once Redis has confirmed the subscription. Raises LogUnavailable; even then it is retried. */
  subscribe(name: string): Promise<void> {
    this.#wanted.add(name)
    const waiting = this.#waiting.get(name) ?? deferred<void>()
    this.#waiting.set(name, waiting)
    this.#change(name)
    return waiting.promise
  }

  unsubscribe(name: string): void {
    if (!this.#wanted.delete(name)) return
    this.#change(name)
    this.#waiting.get(name)?.reject(new LogUnavailable('the subscription was cancelled'))
    this.#waiting.delete(name)
  }

  /** The names that are subscribed or will be. */
  get wanted(): ReadonlySet<string> {
    return this.#wanted
  }

  /** Subscribes to names of another connection, and calls `renewed`, since messages are missing. */
  take(names: readonly string[]): void {
    for (const name of names) this.#wanted.add(name)
    for (const batch of this.#batches(names)) this.#ask(batch, true)
  }

  /** Subscribes to a name again: a message was missed although the connection is up, so Redis may have lost it. */
  doubt(name: string): void {
    if (this.#asked.has(name)) this.#ask([name], true)
  }

  /** Sends all subscriptions on a new connection. */
  renew(): void {
    this.#asked.clear()
    this.#changed.clear()
    for (const names of this.#batches(this.#wanted)) this.#ask(names, true)
  }

  close(): void {
    this.#wanted.clear()
    this.#changed.clear()
    clearImmediate(this.#flush)
    for (const waiting of this.#waiting.values()) waiting.reject(new LogUnavailable('the log is closed'))
    this.#waiting.clear()
    for (const retry of this.#retries) clearTimeout(retry)
  }

  #change(name: string): void {
    this.#changed.add(name)
    this.#flush ??= setImmediate(() => {
      this.#flush = undefined
      const changed = [...this.#changed]
      this.#changed.clear()
      const added = changed.filter(each => this.#wanted.has(each))
      for (const names of this.#batches(added)) this.#ask(names, false)
      const left = changed.filter(each => !this.#wanted.has(each) && this.#asked.delete(each))
      // If that fails, the connection is closed, and its subscriptions with it.
      for (const names of this.#batches(left)) this.#options.send('unsubscribe', names).catch(() => {})
    })
  }

  async #ask(names: readonly string[], again: boolean): Promise<void> {
    for (const name of names) this.#asked.add(name)
    const waiting = names.map(name => this.#waiting.get(name))
    for (const name of names) this.#waiting.delete(name)
    try {
      await this.#options.send('subscribe', [...names])
    } catch (error) {
      for (const each of waiting) each?.reject(error)
      for (const name of names) this.#asked.delete(name)
      this.#options.refused?.(error)
      // After a reconnect, `renew` sends them. This retries names that Redis refused.
      const retry = setTimeout(() => {
        this.#retries.delete(retry)
        const left = names.filter(name => this.#wanted.has(name) && !this.#asked.has(name))
        if (left.length > 0) this.#ask(left, true)
      }, RETRY_MS)
      retry.unref()
      this.#retries.add(retry)
      return
    }
    for (const each of waiting) each?.resolve()
    if (again) this.#options.renewed(names)
  }

  #batches(names: Iterable<string>): string[][] {
    return bySlot(names, this.#options.slot, BATCH)
  }
}
