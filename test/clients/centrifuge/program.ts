// Clients of Centrifuge that are programs, one per language. A program takes its options as JSON in its only argument,
// orders on stdin and gives events on stdout, one line of JSON each. It ends with its input.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { until } from '../../support/until.ts'

export interface Options {
  /** `ws://127.0.0.1:<port>/connection/websocket`. */
  readonly url: string
  /** The first token, and those that the client gets when it asks for another one. */
  readonly tokens: readonly string[]
  readonly protobuf: boolean
}

export type Order =
  | { readonly do: 'connect' }
  | {
      readonly do: 'subscribe'
      readonly channel: string
      readonly joinLeave?: boolean
      /** Of the subscription, as those of the connection. */
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
    /** It asks for another token. */
    | 'token'
    /** How an order ended, which `of` names. */
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
  /** What it printed besides events, for failures. */
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

  /** Gives an order. Returns its result. Raises if it failed. */
  async order(order: Order): Promise<unknown> {
    this.#child.stdin.write(`${JSON.stringify(order)}\n`)
    const isEnd = ({ event, of }: Event) => (event === 'result' || event === 'error') && of === order.do
    const { event, value, ...error } = await this.#next(`the end of ${order.do}`, isEnd)
    if (event === 'error') throw Object.assign(new Error(String(error.message)), { code: error.code })
    return value
  }

  /** The next event of that kind, with these members. Earlier ones stay, for other calls. */
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
