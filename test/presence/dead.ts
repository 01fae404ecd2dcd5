// Measures the effect of an application that fails to answer hooks on clients of channels without a hook. The ways to
// fail take turns for several rounds, each beside an application that answers.

import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { WebSocket } from 'ws'
import { median } from '../../bench/figures.ts'
import { Remote } from '../../bench/load/remote.ts'
import { startRedis } from '../support/redis-server.ts'
import type { ApplicationMethods } from './application.ts'
import { Rooms } from './members.ts'

export interface DeadRow {
  readonly application: string
  /** p99 of the delays of events in a channel without a hook, ms; the median of the rounds. */
  readonly p99: number
  /** p99 divided by the p99 with an application that answers, in the same round; the median of the rounds. */
  readonly ratio: number
  /** Number of responses for channels with a hook, by status and code. */
  readonly refused: string
  /** Duration of the slowest request, ms. */
  readonly longest: number
}

const APPLICATION = fileURLToPath(new URL('./application.ts', import.meta.url))
const ROUNDS = 7
const READERS = 50
/** Events per second in the channel without a hook. */
const RATE = 100
/** Requests per second for channels with a hook. */
const ASKED = 20
/** Duration of a measurement, s. */
const SECONDS = 3
/** The timeout of the hook, ms. */
export const TIMEOUT_MS = 500

export async function dead(say: (text: string) => void): Promise<DeadRow[]> {
  const redis = await startRedis()
  const application = new Remote<ApplicationMethods>(APPLICATION)
  let rooms: Rooms | undefined
  try {
    const ways = await application.call('listen', undefined)
    rooms = new Rooms({ REDIS_URL: redis.url }, rulesOf(ways.map(([, port]) => port)))
    const others = new Others((await rooms.start()).url)
    await others.open()
    const measured = ways.map(([way]) => new Measured(way))
    for (let round = 0; round < ROUNDS; round++) {
      for (const [i, each] of measured.entries()) await each.add(others, `ask-${i}-${round}`)
      say(`round ${round + 1}: p99 ${measured.map(({ p99s }) => p99s.at(-1)?.toFixed(1)).join(', ')} ms`)
    }
    others.close()
    return measured.map(each => each.row(measured[0]?.p99s ?? []))
  } finally {
    await rooms?.close()
    await application.close()
    await redis.stop()
  }
}

/** Each round has its own URLs: a circuit breaker knows an application by its URL, and is closed at first. */
function rulesOf(ports: readonly number[]): string {
  const rules = ports.flatMap((port, i) =>
    Array.from({ length: ROUNDS }, (_, round) => {
      const url = `http://127.0.0.1:${port}/${round}`
      return `  - { match: "ask-${i}-${round}:*", subscribe: hook, hook: { url: "${url}", timeout: ${TIMEOUT_MS}ms } }`
    }),
  )
  return rules.join('\n')
}

/** The measurements with one application. */
class Measured {
  readonly p99s: number[] = []
  readonly #application: string
  readonly #answers = new Map<string, number>()
  #longest = 0

  constructor(application: string) {
    this.#application = application
  }

  /** Measures the delays while clients request channels that this application decides about. */
  async add(others: Others, channels: string): Promise<void> {
    const asked: Promise<void>[] = []
    const asking = setInterval(
      () => asked.push(this.#ask(`${others.url}/v1/poll?channel=${channels}:${asked.length}`)),
      1000 / ASKED,
    )
    this.p99s.push(await others.p99())
    clearInterval(asking)
    await Promise.all(asked)
  }

  row(answering: readonly number[]): DeadRow {
    return {
      application: this.#application,
      p99: median(this.p99s),
      ratio: median(this.p99s.map((p99, round) => p99 / (answering[round] ?? p99))),
      refused: [...this.#answers].map(([name, count]) => `${name}: ${count}`).join(', '),
      longest: this.#longest,
    }
  }

  async #ask(url: string): Promise<void> {
    const from = performance.now()
    const answer = await fetch(url)
    const body = (await answer.json()) as { error?: { code: string } }
    const name = `${answer.status} ${body.error?.code ?? ''}`.trim()
    this.#answers.set(name, (this.#answers.get(name) ?? 0) + 1)
    this.#longest = Math.max(this.#longest, performance.now() - from)
  }
}

/** Readers of a channel without a hook. */
class Others {
  readonly url: string
  readonly #sockets: WebSocket[] = []
  #delays: number[] = []

  constructor(url: string) {
    this.url = url
  }

  async open(): Promise<void> {
    for (let i = 0; i < READERS; i++) {
      const socket = new WebSocket(`${this.url.replace('http', 'ws')}/v1/ws?channel=open:1`)
      socket.on('message', data => {
        const { data: sent } = JSON.parse(String(data)) as { data?: number }
        if (sent !== undefined) this.#delays.push(performance.now() - sent)
      })
      this.#sockets.push(socket)
    }
    await Promise.all(this.#sockets.map(socket => once(socket, 'message')))
    // Warms up: the node's code is compiled.
    await this.p99()
  }

  /** Publishes for some seconds. Returns the p99 of the delays, ms. */
  async p99(): Promise<number> {
    this.#delays = []
    for (let i = 0; i < SECONDS * RATE; i++) {
      void fetch(`${this.url}/v1/channels/open:1/events`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: `${performance.now()}`,
      }).then(answer => answer.arrayBuffer())
      await sleep(1000 / RATE)
    }
    const delays = this.#delays.sort((a, b) => a - b)
    return delays[Math.floor(delays.length * 0.99)] ?? 0
  }

  close(): void {
    for (const socket of this.#sockets) socket.terminate()
  }
}
