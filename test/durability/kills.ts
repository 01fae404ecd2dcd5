// Kills a node with a file log repeatedly under load, and checks everything that it acknowledged.

import { Agent, request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { type RunningNode, startNode } from '../support/node.ts'
import { until } from '../support/until.ts'

export interface KillsOptions {
  readonly folder: string
  readonly kills: number
  /** Publishes per second. */
  readonly rate: number
  /** Maximum time from a start to the kill, ms. The kill waits longer until enough publishes are acknowledged. */
  readonly alive: number
  readonly least: number
  readonly built?: boolean
  say?(text: string): void
}

export interface KillsAccount {
  readonly acknowledged: number
  readonly epochs: number
  /** Descriptions of the faults. */
  readonly wrong: readonly string[]
}

interface Answer {
  readonly status: number
  readonly replayed: boolean
  // The node's JSON response.
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
  readonly #agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS })
  /** Ids of acknowledged events, by number. */
  readonly #acknowledged = new Map<number, string>()
  readonly #held = new Map<number, string>()
  readonly #cursors = new Map(CHANNELS.map(channel => [channel, 'earliest']))
  readonly #epochs = new Set<string>()
  readonly wrong: string[] = []
  #published = 0

  constructor(options: KillsOptions) {
    this.#options = options
  }

  get account(): KillsAccount {
    return { acknowledged: this.#acknowledged.size, epochs: this.#epochs.size, wrong: this.wrong }
  }

  async run(): Promise<KillsAccount> {
    const { kills, alive, least, say } = this.#options
    for (let kill = 0; kill <= kills; kill++) {
      const node = await this.#start()
      await this.#check(node)
      if (kill === kills) await node.stop()
      else {
        const load = this.#load(node)
        const enough = this.#acknowledged.size + least
        await sleep(alive * (0.3 + 0.7 * Math.random()))
        await until('enough is acknowledged', () => this.#acknowledged.size >= enough, 60_000)
        await node.kill()
        await load
        say?.(`kill ${kill + 1}: ${this.#acknowledged.size} acknowledged, ${this.wrong.length} wrong`)
      }
    }
    this.#agent.destroy()
    return this.account
  }

  #start(): Promise<RunningNode> {
    const { folder, built = false } = this.#options
    const env = { FANWIRE_DATA: folder, FANWIRE_HISTORY_EVENTS: '10000000', FANWIRE_IDEMPOTENCY_WINDOW: '1h' }
    return startNode({ env, ...(built ? { built } : {}) })
  }

  /** Publishes until the node is killed. */
  async #load(node: RunningNode): Promise<void> {
    const began = performance.now()
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
  async #check(node: RunningNode): Promise<void> {
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

  async #readOn(node: RunningNode, channel: string): Promise<void> {
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

  #publish(node: RunningNode, number: number): Promise<Answer> {
    const channel = CHANNELS[number % CHANNELS.length]
    return this.#ask(node, 'POST', `/v1/channels/${channel}/events`, number)
  }

  #ask(node: RunningNode, method: string, path: string, number?: number): Promise<Answer> {
    const headers =
      number === undefined ? {} : { 'content-type': 'application/json', 'idempotency-key': `k${number}` }
    return new Promise((resolve, reject) => {
      const asked = request(
        { host: '127.0.0.1', port: node.port, method, path, headers, agent: this.#agent },
        async answer => {
          try {
            let text = ''
            for await (const piece of answer.setEncoding('utf8')) text += piece
            const replayed = answer.headers['idempotency-replayed'] === 'true'
            resolve({ status: answer.statusCode ?? 0, replayed, body: JSON.parse(text) })
          } catch (error) {
            reject(error)
          }
        },
      )
      asked.on('error', reject)
      asked.end(number === undefined ? undefined : `${number}`)
    })
  }
}

export function killUnderLoad(options: KillsOptions): Promise<KillsAccount> {
  return new Killed(options).run()
}
