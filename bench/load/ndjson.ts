// Publishes to fanwire: one streamed NDJSON request to `POST /v1/events`. A lasting one survives cut connections,
// restarts and rejections: unacknowledged events are published again, with the same idempotency keys.

import { randomBytes } from 'node:crypto'
import { type ClientRequest, request } from 'node:http'
import { request as requestTls } from 'node:https'
import { addressOf } from './address.ts'
import type { Target } from './order.ts'
import type { Sink } from './sinks.ts'
import { jitter, reasonOf } from './wires/follower.ts'

export interface NdjsonOrder {
  readonly target: Target
  /** Bearer key. */
  readonly key?: string
  readonly priority?: 'low'
  /** Retries unacknowledged events. */
  readonly lasting?: boolean
}

/** Ms before it reconnects. */
const COME_BACK = 300
/** Retryable codes: the same entry may succeed later. */
const PASSES =
  /"code":"FW_(?:LOG_UNAVAILABLE|NOT_TRIED|NOT_READY|DRAINING|TOO_MANY_\w+|RESULTS_UNREAD|INTERNAL)"/

export class NdjsonSink implements Sink {
  acknowledged = 0
  failed = 0
  trouble: string | undefined
  readonly #order: NdjsonOrder
  readonly #name = randomBytes(6).toString('hex')
  #request: ClientRequest | undefined
  #lines = ''
  #rest = ''
  /** Lines without a result, and the number of results. */
  #pending: string[] = []
  #settled = 0
  #published = 0
  #again: NodeJS.Timeout | undefined
  #closed = false

  constructor(order: NdjsonOrder) {
    this.#order = order
    this.#open()
  }

  publish(channel: string, data: string): void {
    const { priority, lasting = false } = this.#order
    const more = priority === undefined ? '' : `,"priority":"${priority}"`
    const key = lasting ? `,"idempotencyKey":"${this.#name}-${this.#published++}"` : ''
    const line = `{"channel":"${channel}","data":${data}${more}${key}}\n`
    if (lasting) this.#pending.push(line)
    this.#lines += line
  }

  flush(): void {
    if (this.#request === undefined) return
    if (this.#lines !== '') this.#request.write(this.#lines)
    this.#lines = ''
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#again)
    this.#request?.destroy()
  }

  #open(): void {
    const { target, key } = this.#order
    const { host, port, tls, authority, prefix, headers } = addressOf(target)
    const asked = (tls === undefined ? request : requestTls)({
      ...tls,
      host,
      port,
      path: `${prefix}/v1/events`,
      method: 'POST',
      agent: false,
      headers: {
        ...headers,
        host: authority,
        'content-type': 'application/x-ndjson',
        ...(key === undefined ? {} : { authorization: `Bearer ${key}` }),
      },
    })
    this.#request = asked
    this.#rest = ''
    asked.on('response', response => {
      response.setEncoding('latin1')
      const status = response.statusCode ?? 0
      if (status !== 200) this.#trouble(`HTTP ${status}`)
      else response.on('data', (text: string) => this.#request === asked && this.#read(text))
      if (status !== 200) response.resume()
      response.on('end', () => asked.destroy())
      response.on('error', () => {})
    })
    asked.on('error', error => this.#trouble(reasonOf(error)))
    asked.on('close', () => {
      if (this.#request === asked) this.#lost()
    })
  }

  #trouble(what: string): void {
    this.trouble = what
    if (!this.#order.lasting && !this.#closed) console.error(`publisher: ${what}`)
  }

  /** The connection has ended, or is abandoned. */
  #lost(): void {
    const asked = this.#request
    this.#request = undefined
    asked?.destroy()
    if (this.#closed || !this.#order.lasting) return
    this.#again = setTimeout(() => {
      this.#pending = this.#pending.slice(this.#settled)
      this.#settled = 0
      this.#lines = this.#pending.join('')
      this.#open()
      this.flush()
    }, jitter(COME_BACK))
  }

  #read(text: string): void {
    const lines = (this.#rest + text).split('\n')
    this.#rest = lines.pop() ?? ''
    for (const line of lines) {
      const error = line.includes('"error"')
      if (error) this.#trouble(/"code":"(\w+)"/.exec(line)?.[1] ?? line)
      // Later entries fail too, untried, and all of them are retried in order.
      if (error && this.#order.lasting && PASSES.test(line)) return this.#lost()
      if (error) this.failed++
      else this.acknowledged++
      this.#settled++
    }
    if (this.#settled > 10_000) {
      this.#pending = this.#pending.slice(this.#settled)
      this.#settled = 0
    }
  }
}
