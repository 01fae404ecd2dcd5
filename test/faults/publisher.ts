// A reliable publisher: gives every event an idempotency key, and retries it with the same key until it is
// acknowledged. It repeats some acknowledged events, like a publisher that restarts after a crash.

import { setMaxListeners } from 'node:events'
import { Agent, request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Account } from './account.ts'

/** Deadline for a response, ms. */
const ANSWER_WITHIN_MS = 10_000
/** Delay before a retry, ms. */
const RETRY_MS = 250
/** Maximum number of unanswered events. */
const MAX_UNANSWERED = 100
/** One in this many answered events is repeated. */
const REPEATED = 10
/** Maximum delay before an answered event is repeated, ms. */
const REPEATED_WITHIN = 2000

export interface PublisherOptions {
  readonly account: Account
  /** Ports of the load balancers on 127.0.0.1, used in turn. */
  readonly ports: readonly number[]
  /** Events per second over all channels. */
  readonly rate: number
  /** The channel of the `n`th event. */
  channel(n: number): string
}

interface Answer {
  readonly status: number
  readonly body: string
  readonly replayed: boolean
}

export class Publisher {
  /** Attempts that were answered with 503 or another retryable error, or not answered. */
  refused = 0
  unanswered = 0
  /** Events that were repeated although they had been answered. */
  repeated = 0
  readonly #options: PublisherOptions
  // Connections opened because of a slow response do not stay open.
  readonly #agent = new Agent({ keepAlive: true, maxFreeSockets: 1 })
  readonly #timer: NodeJS.Timeout
  readonly #publishing = new Set<Promise<void>>()
  readonly #given = new AbortController()
  #waiting = 0
  #n = 0

  constructor(options: PublisherOptions) {
    this.#options = options
    setMaxListeners(0, this.#given.signal)
    const began = performance.now()
    let skipped = 0
    this.#timer = setInterval(() => {
      const due = ((performance.now() - began) * options.rate) / 1000 - skipped
      for (; this.#n < due; this.#n++) {
        if (this.#waiting >= MAX_UNANSWERED) {
          skipped += due - this.#n
          break
        }
        const publishing = this.#publish(this.#n + 1).finally(() => this.#publishing.delete(publishing))
        this.#publishing.add(publishing)
      }
    }, 10)
  }

  /** Stops publishing, and returns once everything is answered. Gives up after `ms`: the account shows the rest. */
  async stop(ms: number): Promise<void> {
    clearInterval(this.#timer)
    const timer = setTimeout(() => this.#given.abort(), ms)
    while (this.#publishing.size > 0) await Promise.all(this.#publishing)
    clearTimeout(timer)
    this.#agent.destroy()
  }

  async #publish(n: number): Promise<void> {
    const { account } = this.#options
    const channel = this.#options.channel(n)
    account.sent(channel, n)
    this.#waiting++
    const first = await this.#until(channel, n)
    this.#waiting--
    if (first === undefined || Math.random() > 1 / REPEATED) return
    const { signal } = this.#given
    await sleep(Math.random() * REPEATED_WITHIN, undefined, { signal }).catch(() => {})
    this.repeated++
    await this.#until(channel, n, first)
  }

  /** Retries until the event is answered. Returns its id. */
  async #until(channel: string, n: number, known?: string): Promise<string | undefined> {
    const { account, ports } = this.#options
    const { signal } = this.#given
    for (let attempt = 0; !signal.aborted; attempt++) {
      const port = ports[(n + attempt) % ports.length] ?? 0
      const answer = await this.#try(port, channel, n).catch(() => undefined)
      if (answer === undefined) this.unanswered++
      else if (answer.status === 201) {
        const { id, time } = JSON.parse(answer.body) as { id: string; time: number }
        account.acknowledged({ channel, n, id, time })
        if (known === id && !answer.replayed)
          account.fault(`${channel} ${id} was a duplicate, but not reported as one`)
        return id
      } else if (answer.status < 500) {
        account.fault(`publishing ${channel}/${n} was answered ${answer.status} ${answer.body}`)
        return undefined
      } else this.refused++
      await sleep(RETRY_MS * (0.5 + Math.random()), undefined, { signal }).catch(() => {})
    }
    return undefined
  }

  #try(port: number, channel: string, n: number): Promise<Answer> {
    const body = JSON.stringify({ n, text: 'the quick brown fox jumps over the lazy dog' })
    return new Promise((resolve, reject) => {
      const asked = request({
        host: '127.0.0.1',
        port,
        method: 'POST',
        path: `/v1/channels/${channel}/events?type=count`,
        headers: {
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(body),
          'idempotency-key': `${channel}/${n}`,
        },
        agent: this.#agent,
      })
      asked.setTimeout(ANSWER_WITHIN_MS, () => asked.destroy(new Error('silence')))
      asked.on('error', reject)
      asked.once('response', async answer => {
        const pieces: Buffer[] = []
        try {
          for await (const piece of answer) pieces.push(piece)
        } catch (error) {
          return reject(error)
        }
        resolve({
          status: answer.statusCode ?? 0,
          body: Buffer.concat(pieces).toString(),
          replayed: answer.headers['idempotency-replayed'] === 'true',
        })
      })
      asked.end(body)
    })
  }
}
