// Kills a node with a file log repeatedly under load, and checks everything that it acknowledged.

import { setTimeout as sleep } from 'node:timers/promises'
import { Pool } from 'undici'
import { type RunningNode, startNode } from '../support/node.ts'
import { until } from '../support/until.ts'

export interface KillsOptions {
  readonly folder: string
  readonly kills: number
  /** Publishes per second while a node runs. A node that has fallen behind is sent more until it has caught up. */
  readonly rate: number
  /** Maximum time from a start to the kill, ms. The kill waits longer until enough publishes are acknowledged. */
  readonly alive: number
  /** Minimum number of acknowledged publishes before each kill. */
  readonly least: number
  readonly built?: boolean
  say?(text: string): void
}

export interface KillsAccount {
  readonly acknowledged: number
  /** Total time of all nodes under load, s. */
  readonly seconds: number
  readonly epochs: number
  /** Descriptions of the faults. */
  readonly wrong: readonly string[]
}

interface Answer {
  readonly status: number
  readonly replayed: boolean
  /** The node's JSON response. */
  readonly body: {
    readonly id?: string
    readonly cursor?: string
    readonly more?: boolean
    readonly gaps?: unknown[]
    readonly events?: readonly { readonly id: string; readonly data: number }[]
  }
}

const CHANNELS = ['a', 'b', 'c', 'd']
const CONNECTIONS = 50

class Killed {
  readonly #options: KillsOptions
  /** Ids of acknowledged events, by number. */
  readonly #acknowledged = new Map<number, string>()
  readonly #held = new Map<number, string>()
  readonly #cursors = new Map(CHANNELS.map(channel => [channel, 'earliest']))
  readonly #epochs = new Set<string>()
  readonly wrong: string[] = []
  #published = 0
  #seconds = 0

  constructor(options: KillsOptions) {
    this.#options = options
  }

  get account(): KillsAccount {
    const { size: acknowledged } = this.#acknowledged
    return { acknowledged, seconds: this.#seconds, epochs: this.#epochs.size, wrong: this.wrong }
  }

  async run(): Promise<KillsAccount> {
    const { kills, alive, least, say } = this.#options
    for (let kill = 0; kill <= kills; kill++) {
      const node = await this.#start()
      const pool = new Pool(node.url, { connections: CONNECTIONS })
      await this.#check(pool)
      if (kill === kills) await node.stop()
      else {
        const began = performance.now()
        const load = this.#load(pool, began)
        const enough = this.#acknowledged.size + least
        await sleep(alive * (0.3 + 0.7 * Math.random()))
        await until('enough is acknowledged', () => this.#acknowledged.size >= enough, 60_000)
        this.#seconds += (performance.now() - began) / 1000
        await node.kill()
        await load
        say?.(`kill ${kill + 1}: ${this.#acknowledged.size} acknowledged, ${this.wrong.length} wrong`)
      }
      await pool.destroy()
    }
    return this.account
  }

  #start(): Promise<RunningNode> {
    const { folder, built = false } = this.#options
    const env = { FANWIRE_DATA: folder, FANWIRE_HISTORY_EVENTS: '10000000', FANWIRE_IDEMPOTENCY_WINDOW: '1h' }
    return startNode({ env, ...(built ? { built } : {}) })
  }

  /** Publishes until the node is killed. */
  async #load(node: Pool, began: number): Promise<void> {
    let sent = 0
    const publishAll = async () => {
      for (;;) {
        const due = began + (sent++ * 1000) / this.#options.rate
        if (due > performance.now() + 1) await sleep(due - performance.now())
        const number = this.#published++
        const answer = await this.#publish(node, number).catch(() => undefined)
        if (answer === undefined) return
        if (answer.status === 201 && answer.body.id !== undefined)
          this.#acknowledged.set(number, answer.body.id)
        // 503: the disk is busy.
        else if (answer.status !== 503) this.wrong.push(`a publish was answered ${answer.status}`)
      }
    }
    await Promise.all(Array.from({ length: CONNECTIONS }, publishAll))
  }

  /** Checks that all acknowledged events exist, each reader continues without a gap, and keys are known. */
  async #check(node: Pool): Promise<void> {
    for (const channel of CHANNELS) await this.#readOn(node, channel)
    for (const [number, id] of this.#acknowledged)
      if (this.#held.get(number) !== id)
        this.wrong.push(`${number} was acknowledged as ${id} and is ${this.#held.get(number)}`)
    for (const [number, id] of [...this.#acknowledged].slice(-20)) {
      const { status, replayed, body } = await this.#publish(node, number)
      if (status !== 201 || !replayed || body.id !== id)
        this.wrong.push(`${number} again: ${status} ${body.id} for ${id}`)
    }
  }

  async #readOn(node: Pool, channel: string): Promise<void> {
    for (let more = true; more;) {
      const { status, body } = await this.#ask(
        node,
        'GET',
        `/v1/poll?channel=${channel}&limit=1000&cursor=${this.#cursors.get(channel)}`,
      )
      if (body.gaps !== undefined) this.wrong.push(`${channel}: ${JSON.stringify(body.gaps)}`)
      if (status !== 200) {
        this.wrong.push(`${channel}: ${status}`)
        return
      }
      for (const { id, data } of body.events ?? []) {
        if (this.#held.has(data)) this.wrong.push(`${data} is there twice`)
        this.#held.set(data, id)
        this.#epochs.add(`${channel} ${id.split('-')[0]}`)
      }
      this.#cursors.set(channel, body.cursor ?? '')
      more = body.more === true
    }
  }

  #publish(node: Pool, number: number): Promise<Answer> {
    const channel = CHANNELS[number % CHANNELS.length]
    return this.#ask(node, 'POST', `/v1/channels/${channel}/events`, number)
  }

  async #ask(node: Pool, method: 'GET' | 'POST', path: string, number?: number): Promise<Answer> {
    const asked =
      number === undefined
        ? {}
        : {
            headers: { 'content-type': 'application/json', 'idempotency-key': `k${number}` },
            body: `${number}`,
          }
    const { statusCode, headers, body } = await node.request({ method, path, ...asked })
    const replayed = headers['idempotency-replayed'] === 'true'
    return { status: statusCode, replayed, body: (await body.json()) as Answer['body'] }
  }
}

export function killUnderLoad(options: KillsOptions): Promise<KillsAccount> {
  return new Killed(options).run()
}
