// A publisher for servers: what waits goes into one request, and what failed is repeated with the same key, so that
// nothing is published twice. Order within a channel is kept.

import { backoff } from './backoff.ts'
import { Credentials } from './credentials.ts'
import { errorOf, FanwireError, Unauthorized } from './errors.ts'
import { ask, type Env } from './link.ts'
import { pause, within } from './pause.ts'
import { newKey } from './publish.ts'
import type { Options, PublishOptions, Receipt } from './types.ts'

export { FanwireError, Unauthorized } from './errors.ts'
export type { PublishOptions, Receipt } from './types.ts'

export interface PublisherOptions extends Pick<Options, 'getToken' | 'fetch'> {
  /** An API key, in place of `getToken`. */
  readonly key?: string
  /** Events of one request. */
  readonly batch?: number
  /** Events that may wait: `ready()` resolves below that. */
  readonly waiting?: number
  /** The longest pause after the first failure, and after any, ms. */
  readonly backoff?: number
  readonly maxBackoff?: number
}

/** What is published: an entry of `POST /v1/events`. */
export interface Entry extends Omit<PublishOptions, 'transient'> {
  readonly channel: string
  readonly data: unknown
}

interface Waiting {
  readonly entry: Entry
  readonly resolve: (receipt: Receipt) => void
  readonly reject: (error: unknown) => void
}

type Result = Receipt & { readonly error?: Parameters<typeof errorOf>[0] }

const ANSWER_MS = 30_000

export class Publisher {
  readonly #env: Env
  #batch: number
  readonly #most: number
  readonly #stop = new AbortController()
  readonly #waiting: Waiting[] = []
  #roomFor: (() => void)[] = []
  #sending: Promise<void> | undefined

  constructor(url: string, options: PublisherOptions = {}) {
    const { key, getToken = key === undefined ? undefined : () => key, batch = 100, waiting = 1000 } = options
    const { backoff = 200, maxBackoff = 10_000 } = options
    const unused = { open: 0, silence: 0, upgrade: 0, poll: 0 }
    this.#batch = batch
    this.#most = waiting
    this.#env = {
      url: url.replace(/\/+$/, ''),
      credentials: new Credentials(getToken),
      timing: { backoff, maxBackoff, ...unused },
      fetch: options.fetch ?? ((input, init) => fetch(input, init)),
      WebSocket: undefined,
      pages: { limit: 100 },
    }
  }

  /** Resolves once the log holds the event. Rejects with what can not succeed. */
  publish(channel: string, data: unknown, options: Omit<PublishOptions, 'transient'> = {}): Promise<Receipt> {
    return this.send({ channel, data, ...options })
  }

  send(entry: Entry): Promise<Receipt> {
    if (this.#stop.signal.aborted) return Promise.reject(new Error('the publisher is closed'))
    return new Promise((resolve, reject) => {
      this.#waiting.push({ entry: { idempotencyKey: newKey(), ...entry }, resolve, reject })
      this.#sending ??= this.#sendAll()
    })
  }

  /** Resolves when there is room for more. */
  async ready(): Promise<void> {
    while (this.#waiting.length >= this.#most) await new Promise<void>(resolve => this.#roomFor.push(resolve))
  }

  /** Publishes all of it, taking no more than fits, and yields the receipts in order. Raises the first failure. */
  async *all(entries: Iterable<Entry> | AsyncIterable<Entry>): AsyncGenerator<Receipt, void, undefined> {
    const sent: Promise<Receipt>[] = []
    for await (const entry of entries) {
      const receipt = this.send(entry)
      receipt.catch(() => {})
      sent.push(receipt)
      if (sent.length < this.#most) continue
      yield* await Promise.all(sent.splice(0, this.#most / 2))
    }
    for (const receipt of sent) yield await receipt
  }

  /** Resolves when nothing waits any more. */
  async flush(): Promise<void> {
    while (this.#sending) await this.#sending
  }

  /** Rejects what still waits; call `flush` before. */
  close(): void {
    this.#stop.abort()
  }

  /** One request at a time keeps the order. */
  async #sendAll(): Promise<void> {
    // What is published in one turn goes together.
    await undefined
    const { signal } = this.#stop
    for (let failures = 0; this.#waiting.length > 0;) {
      const batch = this.#waiting.slice(0, this.#batch)
      const { hint, failed } = await this.#request(batch)
      for (const resolve of this.#roomFor.splice(0)) resolve()
      failures = failed ? failures + 1 : 0
      if (signal.aborted) {
        for (const { reject } of this.#waiting.splice(0)) reject(new Error('the publisher is closed'))
      } else if (failed) await pause(backoff(failures - 1, hint, this.#env.timing), signal)
    }
    // In the same turn as the look: what is sent from now on begins anew.
    this.#sending = undefined
  }

  /** Whether something has to be repeated, and not before which time. */
  async #request(batch: readonly Waiting[]): Promise<{ readonly failed: boolean; readonly hint: number }> {
    try {
      const { results } = await within(ANSWER_MS, this.#stop.signal, async signal => {
        const response = await ask(this.#env, '/v1/events', {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({ events: batch.map(({ entry }) => entry) }),
          signal,
        })
        return (await response.json()) as { results: Result[] }
      })
      return this.#settle(batch, results)
    } catch (error) {
      const told = error instanceof FanwireError ? error : undefined
      if (told?.status === 413 && batch.length > 1) {
        this.#batch = batch.length >> 1
        return { failed: false, hint: 0 }
      }
      const final = told ? told.retry === undefined : error instanceof Unauthorized
      if (final) for (const { reject } of this.#waiting.splice(0, batch.length)) reject(error)
      return { failed: !final, hint: told?.retry ?? 0 }
    }
  }

  /** Entries that may succeed later stay, before everything that came after them. */
  #settle(batch: readonly Waiting[], results: readonly Result[]) {
    const again: Waiting[] = []
    let hint = 0
    for (const [i, waiting] of batch.entries()) {
      const result = results[i]
      if (result !== undefined && result.error === undefined) waiting.resolve(result)
      else {
        const told = errorOf(result?.error ?? { code: 'FW_NOT_TRIED', message: 'there is no result' })
        if (told.retry === undefined) waiting.reject(told)
        else {
          again.push(waiting)
          hint = Math.max(hint, told.retry)
        }
      }
    }
    this.#waiting.splice(0, batch.length, ...again)
    return { failed: again.length > 0, hint }
  }
}

/** A publisher to the node at `url`. */
export function createPublisher(url: string, options: PublisherOptions = {}): Publisher {
  return new Publisher(url, options)
}
