// The pub/sub channels that one connection listens to: asked for together once a tick, and again whenever the
// connection is a new one.

import { LogUnavailable } from './log.ts'
import type { Argument, Deferred } from './redis-connection.ts'
import { deferred } from './redis-connection.ts'

/** Names in one command. */
const BATCH = 1000

/** Ms before names that Redis refused are tried again. */
const RETRY = 1000

export interface SubscriptionsOptions {
  /** Sends a command over the connection. */
  send(command: 'subscribe' | 'unsubscribe', names: Argument[]): Promise<unknown>
  /** These were listened to before the connection broke, and are now again: what came between is missing. */
  renewed(names: readonly string[]): void
}

export class Subscriptions {
  readonly #options: SubscriptionsOptions
  readonly #wanted = new Set<string>()
  /** What this connection was asked for. */
  readonly #asked = new Set<string>()
  readonly #changed = new Set<string>()
  readonly #waiting = new Map<string, Deferred<void>>()
  #flush: NodeJS.Immediate | undefined
  readonly #retries = new Set<NodeJS.Timeout>()

  constructor(options: SubscriptionsOptions) {
    this.#options = options
  }

  /** Returns once Redis has confirmed it. Raises LogUnavailable; the name stays wanted even so. */
  subscribe(name: string): Promise<void> {
    this.#wanted.add(name)
    const waiting = this.#waiting.get(name) ?? deferred<void>()
    this.#waiting.set(name, waiting)
    this.#change(name)
    return waiting.promise
  }

  unsubscribe(name: string): void {
    this.#wanted.delete(name)
    this.#change(name)
  }

  /** The connection is a new one: it listens to nothing yet. */
  renew(): void {
    this.#asked.clear()
    this.#changed.clear()
    for (const names of batches([...this.#wanted])) this.#ask(names, true)
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
      for (const names of batches(changed.filter(each => this.#wanted.has(each)))) this.#ask(names, false)
      const left = changed.filter(each => !this.#wanted.has(each) && this.#asked.delete(each))
      // Where that fails the connection is gone, and its subscriptions with it.
      for (const names of batches(left)) this.#options.send('unsubscribe', names).catch(() => {})
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
      // On a new connection `renew` asks for them; this is for a Redis that refused.
      const retry = setTimeout(() => {
        this.#retries.delete(retry)
        const left = names.filter(name => this.#wanted.has(name) && !this.#asked.has(name))
        if (left.length > 0) this.#ask(left, true)
      }, RETRY)
      retry.unref()
      this.#retries.add(retry)
      return
    }
    for (const each of waiting) each?.resolve()
    if (again) this.#options.renewed(names)
  }
}

function batches(names: readonly string[]): string[][] {
  const result: string[][] = []
  for (let at = 0; at < names.length; at += BATCH) result.push(names.slice(at, at + BATCH))
  return result
}
