// The well-behaved clients: a ws and an sse client and a publisher, as in the fault suite. Measures the delay of each
// event from its publish to each client.

import { setTimeout as sleep } from 'node:timers/promises'
import { Account, type Given, type Ledger } from '../faults/account.ts'
import { Publisher } from '../faults/publisher.ts'
import type { Reader } from '../faults/readers/reader.ts'
import { SseReader } from '../faults/readers/sse.ts'
import { WsReader } from '../faults/readers/ws.ts'
import { get } from '../support/footprint.ts'
import { until } from '../support/until.ts'

/** Events a second. */
const RATE = 50
/** Interval between two visitors, and the time that each waits for its response, ms. */
const VISIT_EVERY = 500
const VISIT_WITHIN = 5000
/** Deadline for all publishes to be answered and all events received, ms. */
const ANSWERED_WITHIN = 20_000
const ARRIVED_WITHIN = 20_000

interface Delay {
  /** Time of the publish by performance.now(), ms. */
  readonly at: number
  readonly ms: number
}

class TimedAccount extends Account {
  readonly delays: Delay[] = []
  readonly #sent = new Map<number, number>()

  override sent(channel: string, n: number): void {
    super.sent(channel, n)
    this.#sent.set(n, performance.now())
  }

  override given(ledger: Ledger, event: Given): void {
    super.given(ledger, event)
    const at = this.#sent.get(event.data.n)
    if (at !== undefined) this.delays.push({ at, ms: performance.now() - at })
  }
}

export class GoodClients {
  readonly account = new TimedAccount()
  /** Polls of visitors that were not answered with 200. */
  turnedAway = 0
  readonly #port: number
  readonly #channel: string
  readonly #readers: Reader[] = []
  #publisher: Publisher | undefined
  #visiting: Promise<void> = Promise.resolve()

  constructor(port: number, channel: string) {
    this.#port = port
    this.#channel = channel
  }

  async begin(): Promise<void> {
    await Promise.all(this.#join('client', 'earliest', this.account).map(({ opened }) => opened))
    this.#publisher = new Publisher({
      account: this.account,
      ports: [this.#port],
      rate: RATE,
      channel: () => this.#channel,
    })
  }

  /** Visitors arrive one after the other, each on a new connection, until `signal`. */
  visit(signal: AbortSignal): void {
    const path = `/v1/poll?channel=${this.#channel}&limit=1`
    const run = async () => {
      while (!signal.aborted) {
        const answer = await get(this.#port, path, VISIT_WITHIN).catch(() => undefined)
        if (answer?.status !== 200) this.turnedAway++
        await sleep(VISIT_EVERY, undefined, { signal }).catch(() => {})
      }
    }
    this.#visiting = run()
  }

  /** Returns when a new client of each kind has been accepted, or `signal` is aborted. The new clients leave again. */
  async newcomers(signal: AbortSignal): Promise<boolean> {
    const readers = this.#join('newcomer', 'latest', new Account())
    const late = new Promise<boolean>(resolve => {
      signal.addEventListener('abort', () => resolve(false), { once: true })
    })
    const opened = Promise.all(readers.map(({ opened }) => opened)).then(() => true)
    const all = await Promise.race([opened, late])
    await Promise.all(readers.map(reader => this.#leave(reader)))
    return all
  }

  /** The number of publish attempts that were refused or not answered. */
  get refused(): number {
    return (this.#publisher?.refused ?? 0) + (this.#publisher?.unanswered ?? 0)
  }

  /** The number of connections of the two clients that ended. */
  get ends(): number {
    return this.#readers.reduce((sum, { ends }) => sum + ends, 0)
  }

  /** The 99th percentile of the delays of events published between two times, ms. NaN without events. */
  p99(from: number, to: number): number {
    const within = this.account.delays.filter(({ at }) => at >= from && at < to).map(({ ms }) => ms)
    return within.sort((a, b) => a - b)[Math.ceil(0.99 * within.length) - 1] ?? Number.NaN
  }

  /** Disconnects; if `patient`, first waits until all publishes are answered and all events have arrived. */
  async end(patient: boolean): Promise<void> {
    await this.#visiting
    await this.#publisher?.stop(patient ? ANSWERED_WITHIN : 0)
    if (patient) {
      const arrived = () => this.account.missing() === 0
      await until('all events have arrived', arrived, ARRIVED_WITHIN).catch(() => {})
    }
    await Promise.all(this.#readers.map(reader => this.#leave(reader)))
  }

  #join(role: string, begin: 'earliest' | 'latest', account: Account): Reader[] {
    const readers = [WsReader, SseReader].map(
      (Kind, number) =>
        new Kind({
          name: `${Kind === WsReader ? 'ws' : 'sse'} ${role}`,
          ports: [this.#port],
          channels: [this.#channel],
          begin,
          account,
          number,
        }),
    )
    if (role === 'client') this.#readers.push(...readers)
    return readers
  }

  /** Stops a reader, or gives up after a timeout. */
  async #leave(reader: Reader): Promise<void> {
    const patience = new AbortController()
    const late = sleep(5000, undefined, { signal: patience.signal }).catch(() => {})
    await Promise.race([reader.stop(), late])
    patience.abort()
  }
}
