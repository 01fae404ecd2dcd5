// A publisher for servers. It sends waiting events in one request, and retries failed ones with the same idempotency
// key, so that nothing is published twice. It preserves the order within a channel.

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
  /** An API key, instead of `getToken`. */
  readonly key?: string
  /** The maximum events per request. */
  readonly batch?: number
  /** The number of waiting events below which `ready()` resolves. */
  readonly waiting?: number
  /** The longest pause after the first failure, ms; below, after any failure. */
  readonly backoff?: number
  readonly maxBackoff?: number
}

/** An event to publish: an entry of `POST /v1/events`. */
export interface Entry extends Omit<PublishOptions, 'transient'> {
  readonly channel: string
  /** A Uint8Array is published as bytes. */
  readonly data?: unknown
  /** The data as JSON text, which is published unchanged, instead of `data`. */
  readonly json?: string
  /** Set for data that is already base64. */
  readonly encoding?: 'base64'
}

interface Waiting {
  /** The entry, as JSON text. */
  readonly text: string
  readonly resolve: (receipt: Receipt) => void
  readonly reject: (error: unknown) => void
}

type Result = Receipt & { readonly error?: Parameters<typeof errorOf>[0] }

/** The maximum time for a response, ms. */
const ANSWER_MS = 30_000
/** The maximum characters of one request, unless its only entry is larger. */
const BATCH_LENGTH = 2 ** 20
/** The maximum characters of waiting entries. */
const MOST_LENGTH = 8 * 2 ** 20

const lengthOf = (batch: readonly Waiting[]) => batch.reduce((sum, { text }) => sum + text.length, 0)

const base64 = (bytes: Uint8Array) => btoa(Array.from(bytes, byte => String.fromCharCode(byte)).join(''))

function printed({ json, data, ...rest }: Entry): string {
  if (json !== undefined) return `${JSON.stringify(rest).slice(0, -1)},"data":${json}}`
  if (!(data instanceof Uint8Array)) return JSON.stringify({ ...rest, data })
  return JSON.stringify({ ...rest, encoding: 'base64', data: base64(data) })
}

export class Publisher {
  readonly #env: Env
  #batch: number
  /** Whether the token was renewed since the last batch that the node took. */
  #renewed = false
  readonly #most: number
  readonly #stop = new AbortController()
  readonly #waiting: Waiting[] = []
  /** The total length of the waiting texts. */
  #length = 0
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

  /** Publishes an event. Resolves once the log holds it. Rejects with permanent errors. */
  publish(channel: string, data: unknown, options: Omit<PublishOptions, 'transient'> = {}): Promise<Receipt> {
    return this.send({ channel, data, ...options })
  }

  send(entry: Entry): Promise<Receipt> {
    if (this.#stop.signal.aborted) return Promise.reject(new Error('the publisher is closed'))
    return new Promise((resolve, reject) => {
      const text = printed({ idempotencyKey: newKey(), ...entry })
      this.#waiting.push({ text, resolve, reject })
      this.#length += text.length
      this.#sending ??= this.#sendAll()
    })
  }

  get #full(): boolean {
    return this.#waiting.length >= this.#most || this.#length >= MOST_LENGTH
  }

  /** Resolves when there is room for more. */
  async ready(): Promise<void> {
    while (this.#full) await new Promise<void>(resolve => this.#roomFor.push(resolve))
  }

  /**
   * Publishes all entries, and takes them only as fast as there is room. Yields the receipts in order, as soon as the node
   * has answered. Raises the first failure after the receipts of the entries before it.
   */
  async *all(entries: Iterable<Entry> | AsyncIterable<Entry>): AsyncGenerator<Receipt, void, undefined> {
    /** The receipts in order; the last promise resolves to `undefined`, or rejects if `entries` fails. */
    const sent: Promise<Receipt | undefined>[] = []
    let stopped = false
    // Only one side waits at a time: the loop below while `sent` is empty, `sendAll` while it is full.
    let wake = () => {}
    const changed = () => new Promise<void>(resolve => (wake = resolve))
    const sendAll = async (): Promise<undefined> => {
      for await (const entry of entries) {
        if (stopped) return
        const receipt = this.send(entry)
        receipt.catch(() => {})
        sent.push(receipt)
        wake()
        while (sent.length >= this.#most && !stopped) await changed()
        if (this.#full) await this.ready()
      }
    }
    const sending = sendAll()
    const end = () => {
      sent.push(sending)
      wake()
    }
    sending.then(end, end)
    try {
      for (;;) {
        while (sent.length === 0) await changed()
        const receipt = await sent[0]
        if (receipt === undefined) return
        sent.shift()
        wake()
        yield receipt
      }
    } finally {
      // Ends `sendAll`, for a slow source at its next entry, which is not published.
      stopped = true
      wake()
    }
  }

  /** Resolves when no events are waiting. */
  async flush(): Promise<void> {
    while (this.#sending) await this.#sending
  }

  /** Rejects all waiting events; call `flush` before. */
  close(): void {
    this.#stop.abort()
  }

  /** Sends one request at a time, which preserves the order. */
  async #sendAll(): Promise<void> {
    // Events published in one turn are sent together.
    await undefined
    const { signal } = this.#stop
    for (let failures = 0; this.#waiting.length > 0;) {
      const batch = this.#next()
      const { hint, failed } = await this.#request(batch)
      for (const resolve of this.#roomFor.splice(0)) resolve()
      failures = failed ? failures + 1 : 0
      if (signal.aborted) {
        for (const { reject } of this.#waiting.splice(0)) reject(new Error('the publisher is closed'))
      } else if (failed) await pause(backoff(failures - 1, hint, this.#env.timing), signal)
    }
    // Cleared in the same turn as the check, so that later events start a new loop.
    this.#sending = undefined
  }

  /** The content of the next request. */
  #next(): readonly Waiting[] {
    let count = 0
    let length = 0
    for (const { text } of this.#waiting.slice(0, this.#batch)) {
      length += text.length
      if (count > 0 && length > BATCH_LENGTH) break
      count++
    }
    return this.#waiting.slice(0, count)
  }

  /** Removes a batch from the queue, except the entries that are retried. */
  #drop(batch: readonly Waiting[], again: readonly Waiting[] = []): void {
    this.#waiting.splice(0, batch.length, ...again)
    this.#length -= lengthOf(batch) - lengthOf(again)
  }

  /** Sends a batch. Returns whether entries must be retried, and the delay that the node requests, ms. */
  async #request(batch: readonly Waiting[]): Promise<{ readonly failed: boolean; readonly hint: number }> {
    try {
      const { results } = await within(ANSWER_MS, this.#stop.signal, async signal => {
        const response = await ask(this.#env, '/v1/events', {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: `{"events":[${batch.map(({ text }) => text).join()}]}`,
          signal,
        })
        return (await response.json()) as { results: Result[] }
      })
      this.#renewed = false
      return this.#settle(batch, results)
    } catch (error) {
      const failure = error instanceof FanwireError ? error : undefined
      if (failure?.status === 413 && batch.length > 1) {
        this.#batch = batch.length >> 1
        return { failed: false, hint: 0 }
      }
      // The token may have expired.
      if (failure?.status === 401 && this.#env.credentials.renewable && !this.#renewed) {
        this.#renewed = true
        return { failed: false, hint: 0 }
      }
      const final = failure ? failure.retry === undefined : error instanceof Unauthorized
      if (final) {
        this.#drop(batch)
        for (const { reject } of batch) reject(error)
      }
      return { failed: !final, hint: failure?.retry ?? 0 }
    }
  }

  /** Settles a batch. Retryable entries stay, before all later ones. */
  #settle(batch: readonly Waiting[], results: readonly Result[]) {
    const again: Waiting[] = []
    let hint = 0
    for (const [i, waiting] of batch.entries()) {
      const result = results[i]
      if (result !== undefined && result.error === undefined) waiting.resolve(result)
      else {
        const failure = errorOf(result?.error ?? { code: 'FW_NOT_TRIED', message: 'there is no result' })
        if (failure.retry === undefined) waiting.reject(failure)
        else {
          again.push(waiting)
          hint = Math.max(hint, failure.retry)
        }
      }
    }
    this.#drop(batch, again)
    return { failed: again.length > 0, hint }
  }
}

/** A publisher to the node at `url`. */
export function createPublisher(url: string, options: PublisherOptions = {}): Publisher {
  return new Publisher(url, options)
}
