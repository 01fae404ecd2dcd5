// Users that join and leave a room over WebSocket and server-sent events: each stays for a while, reconnects as needed,
// leaves, and returns a while later.

import { setTimeout as sleep } from 'node:timers/promises'
import { WebSocket } from 'ws'
import { until } from '../../support/until.ts'
import type { Application } from './application.ts'
import type { LivesVerdict } from './notifications.ts'
import { pollAll } from '../../support/poll-all.ts'

const USERS = 8
/** How long a user stays, ms: 0.3 to 1.3 times this. */
const STAY = 3000
/** How long a user is away at most, ms: sometimes less than the grace period. */
const AWAY = 3000
/** Delay before a user whose connection ended reconnects, ms: 0.5 to 1.5 times this. */
const RECONNECT_MS = 150
/** Deadline for the application to receive everything, ms. It allows for lease expiry and downtime. */
const RECEIVED_WITHIN = 60_000

export class Members {
  readonly room: string
  readonly #application: Application
  readonly #ports: readonly number[]
  readonly #stopped = new AbortController()
  readonly #running: Promise<unknown>

  constructor(room: string, application: Application, ports: readonly number[], random: () => number) {
    this.room = room
    this.#application = application
    this.#ports = ports
    application.look()
    application.notifications.begin()
    application.disturb(random)
    this.#running = Promise.all(Array.from({ length: USERS }, (_, i) => this.#user(i)))
  }

  /** Makes all users leave, and judges the webhooks that the application received. */
  async end(gaps: 'none' | 'may'): Promise<LivesVerdict & { readonly wrong: readonly string[] }> {
    this.#stopped.abort()
    await this.#running
    await this.#application.calm()
    const judge = async () => {
      const log = await this.#log()
      this.#application.look()
      return this.#application.notifications.judge(this.room, log, gaps)
    }
    await until(
      'all webhooks are received',
      async () => (await judge()).wrong.length === 0,
      RECEIVED_WITHIN,
    ).catch(() => {})
    return judge()
  }

  async #user(number: number): Promise<void> {
    const { signal } = this.#stopped
    while (!signal.aborted) {
      const over = AbortSignal.any([signal, AbortSignal.timeout(Math.round(STAY * (0.3 + Math.random())))])
      for (let turn = number; !over.aborted; turn++) {
        const port = this.#ports[turn % this.#ports.length] ?? 0
        await (number % 2 === 0 ? this.#socket(port, number, over) : this.#events(port, number, over))
        if (!over.aborted) await rest(RECONNECT_MS * (0.5 + Math.random()), over)
      }
      await rest(AWAY * Math.random(), signal)
    }
  }

  /** Keeps a connection open until it ends or its time is over. */
  async #socket(port: number, number: number, over: AbortSignal): Promise<void> {
    const url = `ws://127.0.0.1:${port}/v1/ws?channel=${this.room}`
    const socket = new WebSocket(url, { headers: this.#headers(number), handshakeTimeout: 5000 })
    socket.on('error', () => {})
    const end = () => socket.close()
    over.addEventListener('abort', end)
    await new Promise(resolve => socket.once('close', resolve))
    over.removeEventListener('abort', end)
  }

  async #events(port: number, number: number, signal: AbortSignal): Promise<void> {
    const url = `http://127.0.0.1:${port}/v1/sse?channel=${this.room}`
    const answer = await fetch(url, { headers: this.#headers(number), signal }).catch(() => undefined)
    await answer?.text().catch(() => {})
  }

  #headers(number: number): Record<string, string> {
    return { authorization: `Bearer ${this.#application.token(`u${number}`)}` }
  }

  /** The joins and leaves of the room in Redis. */
  async #log(): Promise<string[]> {
    const headers = { authorization: `Bearer ${this.#application.key}` }
    const ask = async (path: string) => {
      let page: unknown
      // A node whose Redis has just restarted may refuse for a moment.
      await until('the joins and leaves are read', async () => {
        const answer = await fetch(`http://127.0.0.1:${this.#ports[0]}${path}`, { headers })
        const body = await answer.text()
        if (answer.status === 503) return false
        if (!answer.ok) throw new Error(`${path}: ${answer.status} ${body}`)
        page = JSON.parse(body)
        return true
      })
      return page
    }
    const changes = await pollAll<Change>(`fanwire:presence:${this.room}`, ask)
    return changes.filter(({ type }) => type !== 'update').map(({ type, data }) => `${type} ${data.user}`)
  }
}

interface Change {
  readonly type: string
  readonly data: { readonly user: string }
}

async function rest(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => {})
}
