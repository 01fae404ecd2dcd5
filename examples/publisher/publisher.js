// Publishes events in order: pending events share one request, and failed ones are retried with the same key.

import { once } from 'node:events'
import { randomUUID } from 'node:crypto'
import { createInterface } from 'node:readline'
import { setTimeout as wait } from 'node:timers/promises'

/** Maximum entries of one request. */
const BATCH = 100
const FIRST_DELAY_MS = 200
const LAST_DELAY_MS = 10_000
/** Retryable errors of single entries; `FW_NOT_TRIED` follows another failure in its channel. */
const RETRYABLE = new Set(['FW_LOG_UNAVAILABLE', 'FW_NOT_READY', 'FW_DRAINING', 'FW_NOT_TRIED'])

export class Publisher {
  #url
  #headers
  /** Pending events without a result, in order. */
  #waiting = []
  #sending = false

  constructor({ url, key }) {
    this.#url = `${url}/v1/events`
    this.#headers = { 'content-type': 'application/json', ...(key ? { authorization: `Bearer ${key}` } : {}) }
  }

  /** Resolves with the event's id and time once the log has stored it. Rejects if it cannot succeed. */
  publish(channel, data, { type } = {}) {
    return new Promise((resolve, reject) => {
      const entry = { channel, data, type, idempotencyKey: randomUUID() }
      this.#waiting.push({ entry, resolve, reject })
      if (!this.#sending) void this.#send()
    })
  }

  /** Sends one request at a time to keep the order. */
  async #send() {
    this.#sending = true
    for (let failures = 0; this.#waiting.length > 0;) {
      const batch = this.#waiting.slice(0, BATCH)
      const outcome = await this.#request(batch.map(({ entry }) => entry)).catch(error => ({
        error,
        retryable: true,
      }))
      if (outcome.results === undefined) {
        if (!outcome.retryable)
          for (const { reject } of this.#waiting.splice(0, batch.length)) reject(outcome.error)
        else await backOff(++failures)
        continue
      }
      const failed = this.#settle(batch, outcome.results)
      failures = failed ? failures + 1 : 0
      if (failed) await backOff(failures)
    }
    this.#sending = false
  }

  async #request(events) {
    const response = await fetch(this.#url, {
      method: 'POST',
      headers: this.#headers,
      body: JSON.stringify({ events }),
      signal: AbortSignal.timeout(30_000),
    })
    if (response.ok) return await response.json()
    const retryable = response.status >= 500
    return { error: new Error(`${response.status} ${await response.text()}`), retryable }
  }

  /** Keeps retryable entries ahead of all later ones. Returns whether there are any. */
  #settle(batch, results) {
    const again = []
    for (const [i, waiting] of batch.entries()) {
      const { error, ...receipt } = results[i]
      if (error === undefined) waiting.resolve(receipt)
      else if (RETRYABLE.has(error.code)) again.push(waiting)
      else waiting.reject(new Error(`${error.code}: ${error.message}`))
    }
    this.#waiting.splice(0, batch.length, ...again)
    return again.length > 0
  }
}

/** Doubles the delay after each failure, with jitter, so that publishers do not return together. */
function backOff(failures) {
  const delay = Math.min(LAST_DELAY_MS, FIRST_DELAY_MS * 2 ** (failures - 1))
  return wait(delay * (0.5 + Math.random()))
}

if (process.argv[1] === import.meta.filename) {
  const publisher = new Publisher({
    url: process.env.FANWIRE_URL ?? 'http://127.0.0.1:8080',
    key: process.env.FANWIRE_PUBLISH_KEY,
  })
  const lines = createInterface({ input: process.stdin })
  const done = []
  lines.on('line', line => {
    if (line.trim() === '') return
    const { channel, data, type } = JSON.parse(line)
    done.push(
      publisher.publish(channel, data, { type }).then(receipt => console.log(JSON.stringify(receipt))),
    )
  })
  await once(lines, 'close')
  await Promise.all(done)
}
