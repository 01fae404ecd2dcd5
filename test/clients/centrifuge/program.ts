// Clients of Centrifuge that are programs, one per language. A program takes its options as JSON in its only argument,
// reads orders from stdin and prints events to stdout, one line of JSON each. It exits when stdin ends.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { until } from '../../support/until.ts'

export interface Options {
  /** `ws://127.0.0.1:<port>/connection/websocket`. */
  readonly url: string
  /** The first token, and those returned to the client's later requests for a token, in order. */
  readonly tokens: readonly string[]
  readonly protobuf: boolean
}

export type Order =
  | { readonly do: 'connect' }
  | {
      readonly do: 'subscribe'
      readonly channel: string
      readonly joinLeave?: boolean
      /** Tokens of the subscription, in the same order as those of the connection. */
      readonly tokens?: readonly string[]
    }
  | { readonly do: 'publish'; readonly channel: string; readonly data: unknown }
  | { readonly do: 'history' | 'presence'; readonly channel: string }

export interface Event {
  readonly event:
    | 'connecting'
    | 'connected'
    | 'disconnected'
    | 'subscribed'
    | 'unsubscribed'
    | 'publication'
    | 'join'
    | 'leave'
    /** The client requests another token. */
    | 'token'
    /** The result of the order that `of` names. */
    | 'result'
    | 'error'
  readonly [member: string]: unknown
}

export interface Program {
  readonly command: string
  /** Arguments before the options. */
  readonly args: readonly string[]
}

/** A running client. Its events are awaited in the order in which the test expects them. */
export class Client {
  readonly #child
  readonly #events: Event[] = []
  /** Printed lines that are not events, for failure messages. */
  readonly #notes: string[] = []

  constructor({ command, args }: Program, options: Options) {
    const env = { PATH: process.env.PATH }
    this.#child = spawn(command, [...args, JSON.stringify(options)], { env, stdio: 'pipe' })
    for (const output of [this.#child.stdout, this.#child.stderr]) void this.#read(output)
  }

  async #read(output: NodeJS.ReadableStream): Promise<void> {
    for await (const line of createInterface({ input: output })) {
      if (line.startsWith('{')) this.#events.push(JSON.parse(line) as Event)
      else this.#notes.push(line)
    }
  }

  /** Sends an order and returns its result. Raises if the order failed. */
  async order(order: Order): Promise<unknown> {
    this.#child.stdin.write(`${JSON.stringify(order)}\n`)
    const isEnd = ({ event, of }: Event) => (event === 'result' || event === 'error') && of === order.do
    const { event, value, ...error } = await this.#next(`the end of ${order.do}`, isEnd)
    if (event === 'error') throw Object.assign(new Error(String(error.message)), { code: error.code })
    return value
  }

  /** The next event of this kind with these members. Events that do not match are kept for later calls. */
  next(event: Event['event'], members: Readonly<Record<string, unknown>> = {}): Promise<Event> {
    return this.#next(
      `${event} ${JSON.stringify(members)}`,
      each => each.event === event && Object.entries(members).every(([name, value]) => each[name] === value),
    )
  }

  async #next(what: string, isIt: (event: Event) => boolean): Promise<Event> {
    await until(what, () => this.#events.some(isIt)).catch((error: Error) => {
      error.message += `\n${JSON.stringify(this.#events)}\n${this.#notes.join('\n')}`
      throw error
    })
    const [found] = this.#events.splice(this.#events.findIndex(isIt), 1)
    return found as Event
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exit = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await exit
  }
}
