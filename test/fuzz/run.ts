// Sends inputs to a node and checks that it answers with codes, and does not crash, grow or log secrets.

import { once } from 'node:events'
import { connect } from 'node:net'
import { WebSocket } from 'ws'
import { COLLECT, COLLECTABLE } from '../../bench/processes/garbage.ts'
import { residentOf } from '../../bench/processes/proc.ts'
import { BadFileError } from '../../services/broker/files/bad-file.ts'
import { parseRules } from '../../services/broker/rules/parse.ts'
import { ClosedWorld, RULES } from '../support/closed-node.ts'
import { type RunningNode, startNode } from '../support/node.ts'
import { APP, appsFile } from '../support/pusher.ts'
import { Random } from '../support/random.ts'
import { type Input, Inputs, MARK, type MessageKind } from './inputs.ts'

export interface FuzzOptions {
  readonly seed: number
  readonly inputs: number
  /** The node runs from dist/. */
  readonly built: boolean
  say(text: string): void
}

export interface FuzzResult {
  /** Failures, each with the input that caused it, if known. */
  readonly wrong: readonly string[]
  readonly lines: number
  /** Number of responses, by kind of input and status or code. */
  readonly answers: ReadonlyMap<string, number>
  /**
   * Median resident bytes right after the warm-up, and at the end, over spans of the same length. Sampled after garbage
   * collections.
   */
  readonly warm: number
  readonly end: number
}

/** Number of inputs that are sent in parallel. */
const AT_ONCE = 24
/** Deadline for a response, ms. */
const ANSWER_WITHIN_MS = 20_000
/** How long a client keeps its side open after sending its input, ms. */
const HELD_BACK = 200
/** The share of the inputs that belongs to the warm-up. */
const WARM_UP = 0.3
/** The share of the inputs over which each median is taken. */
const PART = 0.2
/** Number of inputs between two samples of the node's memory. */
const LOOK_EVERY = 1000
/** Number of inputs from a garbage collection to a sample: V8 collects late, so garbage would look like growth. */
const COLLECTED_AFTER = 50
/** Number of inputs after which the node's rules file is replaced by another one, valid or not. */
const RULES_EVERY = 500
/** Number of failures after which the run stops. */
const MOST_WRONG = 20

class Fuzz {
  readonly #options: FuzzOptions
  readonly #world = new ClosedWorld()
  readonly #inputs: Inputs
  readonly #wrong: string[] = []
  readonly #answers = new Map<string, number>()
  #given = 0
  #lines = 0
  readonly #resident: number[] = []

  constructor(options: FuzzOptions) {
    this.#options = options
    this.#inputs = new Inputs(new Random(options.seed), this.#world)
  }

  async run(): Promise<FuzzResult> {
    const { built, inputs, say } = this.#options
    const node = await startNode({ env: this.#env(), flags: COLLECTABLE, built })
    try {
      await Promise.all(Array.from({ length: AT_ONCE }, () => this.#lane(node)))
      await this.#lookAt(node)
    } catch (error) {
      this.#blame(`the node does not answer any more: ${String(error)}`)
    }
    const { code, signal } = await node.stop()
    if (code !== 0) this.#blame(`the node ended with ${code ?? signal}`)
    this.#readLog(node)
    say(`${this.#given} of ${inputs} inputs sent`)
    return { wrong: this.#wrong, lines: this.#lines, answers: this.#answers, ...this.#memory() }
  }

  #memory(): { readonly warm: number; readonly end: number } {
    const looks = this.#resident
    const length = Math.ceil(looks.length * PART)
    const from = Math.floor(looks.length * WARM_UP)
    return { warm: median(looks.slice(from, from + length)), end: median(looks.slice(-length)) }
  }

  #env(): Record<string, string> {
    const closed = Object.entries(this.#world.settings).map(([name, value]) => [`FANWIRE_${name}`, value])
    return {
      ...Object.fromEntries(closed),
      FANWIRE_PUSHER_APPS: appsFile([{ ...APP, secret: MARK }]),
      LOG_LEVEL: 'trace',
      // Short, so that resources that a node may hold for long do not count as growth.
      FANWIRE_HISTORY_EVENTS: '10',
      FANWIRE_HISTORY_AGE: '10s',
      FANWIRE_IDEMPOTENCY_WINDOW: '10s',
      FANWIRE_LINGER: '1s',
    }
  }

  /** Sends inputs one at a time, over connections that last until the node closes them. */
  async #lane(node: RunningNode): Promise<void> {
    const talk = (kind: MessageKind, path: string, greeting: Greeting) =>
      new Talk(`ws://127.0.0.1:${node.port}${path}`, greeting, answer => this.#judge(kind, answer))
    const talks: Talks = {
      ws: talk('ws', '/v1/ws', { text: '' }),
      'socket.io': talk('socket.io', '/socket.io/?EIO=4&transport=websocket', { text: '40' }),
      centrifuge: talk('centrifuge', '/connection/websocket', CONNECT),
      protobuf: talk('protobuf', '/connection/websocket?format=protobuf', CONNECT_IN_PROTOBUF),
      pusher: talk('pusher', `/app/${APP.key}?protocol=7`, { text: '' }),
    }
    const { inputs, say } = this.#options
    while (this.#given < inputs && this.#wrong.length < MOST_WRONG) {
      const n = ++this.#given
      const input = this.#inputs.next()
      try {
        this.#judge(input.kind, await this.#give(node, input, talks), input)
      } catch (error) {
        this.#blame(error instanceof Error ? error.message : String(error), input)
      }
      if (n % RULES_EVERY === 0)
        this.#world.writeRules(input.kind === 'rules' ? input.text : `${RULES}\n# ${n}`)
      if (n % 1000 === 0) this.#readLog(node)
      if (n % LOOK_EVERY === 0) process.kill(node.pid, COLLECT)
      if (n % LOOK_EVERY === COLLECTED_AFTER) this.#resident.push(residentOf([node.pid]))
      if (n % 10_000 === 0) say(`${n} inputs, ${Math.round(residentOf([node.pid]) / 2 ** 20)} MiB`)
    }
    for (const talk of Object.values(talks)) talk.close()
  }

  /** The response: the status, a code, or a word for another outcome. */
  async #give({ port }: RunningNode, input: Input, talks: Talks): Promise<string> {
    if ('message' in input) return talks[input.kind].say(input.message)
    switch (input.kind) {
      case 'rules':
        return parsed(input.text)
      default:
        return exchange(port, input.request)
    }
  }

  #judge(kind: Input['kind'], answer: string, input?: Input): void {
    const name = `${kind}: ${answer}`
    this.#answers.set(name, (this.#answers.get(name) ?? 0) + 1)
    if (/^500|FW_INTERNAL|FW_LOG_REFUSED|uncoded|silence/.test(answer)) this.#blame(answer, input)
  }

  #blame(what: string, input?: Input): void {
    const given =
      input === undefined ? '' : ` after ${input.kind} ${JSON.stringify(textOf(input)).slice(0, 600)}`
    this.#wrong.push(what + given)
  }

  /** Checks that the node is still ready and alive. */
  async #lookAt({ url }: RunningNode): Promise<void> {
    for (const path of ['/readyz', '/healthz']) {
      const { status } = await fetch(url + path)
      if (status !== 200) this.#blame(`${path} answers ${status} at the end`)
    }
  }

  /** Checks the log lines since the last call. */
  #readLog({ logs }: RunningNode): void {
    for (; this.#lines < logs.length && this.#wrong.length < MOST_WRONG; this.#lines++) {
      const line = logs[this.#lines] ?? ''
      if (this.#inputs.leaks(line)) this.#blame(`a secret in the log: ${line.slice(0, 300)}`)
      if (/"level":[56]0/.test(line)) this.#blame(`an error in the log: ${line.slice(0, 600)}`)
    }
  }
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0
}

function textOf(input: Input): string {
  if ('text' in input) return input.text
  return 'request' in input ? input.request.toString('latin1') : String(input.message)
}

function parsed(text: string): string {
  try {
    parseRules(text)
    return 'good'
  } catch (error) {
    if (error instanceof BadFileError) return 'bad'
    throw error
  }
}

/** Sends a request, and later ends the client's side. Returns the checked part of the response. */
async function exchange(port: number, bytes: Buffer): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  let text = ''
  const answered = new Promise<string>(resolve => {
    const timer = setTimeout(() => resolve('silence'), ANSWER_WITHIN_MS)
    const done = (answer: string) => {
      clearTimeout(timer)
      resolve(answer)
    }
    socket.on('data', piece => {
      text = (text + piece.toString('latin1')).replace(/^HTTP\/1\.1 100 Continue\r\n\r\n/, '')
      if (isWhole(text)) done(answerOf(text))
    })
    socket.on('error', () => {})
    socket.once('end', () => done(answerOf(text)))
    socket.once('close', () => done(answerOf(text)))
  })
  socket.write(bytes)
  // The node waits for the rest of an incomplete request until the client ends its side.
  const ending = setTimeout(() => socket.end(), HELD_BACK)
  const answer = await answered
  clearTimeout(ending)
  socket.destroy()
  return answer
}

/** Whether the checked part of a response is complete: the body of an error, or the head of any other. */
function isWhole(text: string): boolean {
  const head = text.indexOf('\r\n\r\n')
  if (head === -1) return false
  const length = /\r\ncontent-length: (\d+)/i.exec(text.slice(0, head + 2))?.[1]
  return !/^HTTP\/1\.\d [45]/.test(text) || length === undefined || text.length >= head + 4 + Number(length)
}

function answerOf(text: string): string {
  const status = /HTTP\/1\.\d ([2-5]\d\d)/.exec(text)?.[1]
  if (status === undefined) return 'closed'
  const code = /"code":"(FW_\w+)"/.exec(text)?.[1] ?? /"code":[0-5],"message"/.exec(text)?.[0]
  return Number(status) < 400
    ? status
    : `${status} ${code ?? `uncoded ${JSON.stringify(text.slice(0, 300))}`}`
}

type Talks = Readonly<Record<MessageKind, Talk>>

/** Sent first, so that the inputs after it are valid in the connection's state. */
interface Greeting {
  readonly text: string | Buffer
  /** The node sends nothing before this. */
  readonly first?: true
}

const CONNECT: Greeting = { text: '{"id":1,"connect":{}}', first: true }
const CONNECT_IN_PROTOBUF: Greeting = { text: Buffer.of(4, 8, 1, 0x22, 0), first: true }

/** A WebSocket that reopens after the node has closed it. */
class Talk {
  readonly #url: string
  readonly #greeting: Greeting
  readonly #received: (answer: string) => void
  #socket: WebSocket | undefined

  constructor(url: string, greeting: Greeting, received: (answer: string) => void) {
    this.#url = url
    this.#greeting = greeting
    this.#received = received
  }

  /** Returns when the node has received it: `taken`, or the close reason. Responses are read as they arrive. */
  async say(message: string | Buffer): Promise<string> {
    const socket = await this.#open()
    const closed = once(socket, 'close').then(([code]) => `closed ${code}`)
    const pinged = new Promise<string>(resolve => {
      socket.once('pong', () => resolve('taken'))
    })
    const late = new Promise<string>(resolve =>
      setTimeout(() => resolve('silence'), ANSWER_WITHIN_MS).unref(),
    )
    socket.send(message)
    socket.ping()
    const answer = await Promise.race([closed, pinged, late])
    closed.catch(() => {})
    socket.removeAllListeners('pong')
    return answer
  }

  close(): void {
    this.#socket?.terminate()
  }

  async #open(): Promise<WebSocket> {
    if (this.#socket?.readyState === WebSocket.OPEN) return this.#socket
    const socket = new WebSocket(this.#url)
    socket.setMaxListeners(0)
    socket.on('error', () => {})
    this.#socket = socket
    const { text, first } = this.#greeting
    if (first) {
      await once(socket, 'open')
      socket.send(text)
    }
    await once(socket, 'message')
    if (!first && text !== '') socket.send(text)
    socket.on('message', text => this.#received(codeOf(String(text))))
    return socket
  }
}

function codeOf(text: string): string {
  return /FW_\w+/.exec(text)?.[0] ?? 'answered'
}

export function runFuzz(options: FuzzOptions): Promise<FuzzResult> {
  return new Fuzz(options).run()
}

/** Maximum ratio of the memory at the end to the memory after the warm-up. */
export const FLAT = 1.2
