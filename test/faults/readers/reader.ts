// The common part of all readers. Like real clients, each keeps a cursor, and reconnects with it after any cut,
// goodbye or error. Its messages are recorded in the account.

import { setMaxListeners } from 'node:events'
import { type Agent, type IncomingMessage, request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { parsePosition, printPosition } from '../../../services/broker/event/position.ts'
import type { Account, Given, Ledger, Untimed } from '../account.ts'

/** Silence, ms, after which a connection counts as dead. Nodes of the suite send heartbeats far more often. */
export const SILENCE = 15_000
/** Delay before a reader reconnects, ms. */
export const RECONNECT_MS = 150
/** The longest `retry:` that a reader honours, ms. Browsers honour longer ones. */
export const LONGEST_RETRY = 1500

export interface ReaderOptions {
  readonly name: string
  /** Ports on 127.0.0.1 of the load balancer, or of the edges, used in turn. */
  readonly ports: readonly number[]
  readonly channels: readonly string[]
  /** Where it begins. `earliest` requires that nothing has been published yet. */
  readonly begin?: 'earliest' | 'latest'
  readonly account: Account
  /** Unique among all readers. */
  readonly number: number
}

export interface ReportedGap {
  readonly channel: string
  readonly from: string
  readonly to: string
}

/** An error response of the node, or of the load balancer in its place. */
export class Refused extends Error {
  readonly status: number

  constructor(status = 0, body = '') {
    super(`${status} ${body}`)
    this.status = status
  }
}

const SILENCE_CODE = 'SILENCE'

export abstract class Reader {
  readonly name: string
  /** How often the reader was rejected or its connection ended. */
  ends = 0
  /** Resolves once it has received its cursor. */
  readonly opened: Promise<void>
  protected readonly options: ReaderOptions
  readonly #ledgers: ReadonlyMap<string, Ledger>
  readonly #positions = new Map<string, string>()
  readonly #stopped = new AbortController()
  readonly #running: Promise<void>
  #open: () => void = () => {}

  constructor(options: ReaderOptions) {
    const { name, account, channels } = options
    this.name = name
    this.options = options
    this.#ledgers = new Map(channels.map(channel => [channel, account.ledger(name, channel)]))
    this.opened = new Promise(resolve => {
      this.#open = resolve
    })
    setMaxListeners(0, this.#stopped.signal)
    // Starts only after the subclass has been constructed too.
    this.#running = Promise.resolve().then(() => this.run())
  }

  /** What the reader waits for although its connection is open. It explains missing events. */
  get waitsFor(): string | undefined {
    return undefined
  }

  /** Leaves without reconnecting. */
  async stop(): Promise<void> {
    this.#stopped.abort()
    await this.#running
  }

  /** Aborted when the reader leaves. */
  protected get signal(): AbortSignal {
    return this.#stopped.signal
  }

  /** The port of the current connection. After each end, the next port is used. */
  protected get port(): number {
    const { ports, number } = this.options
    return ports[(number + this.ends) % ports.length] ?? 0
  }

  /** Reads until it leaves. */
  protected async run(): Promise<void> {
    const { signal } = this
    while (!signal.aborted) {
      let wait: number | undefined
      try {
        wait = await this.session()
      } catch (error) {
        this.failed(error)
      }
      this.ends++
      // Jitter, so that readers that were cut together do not reconnect together.
      await sleep((wait ?? RECONNECT_MS) * (0.5 + Math.random()), undefined, { signal }).catch(() => {})
    }
  }

  /** One connection, or a series of polls. Returns the delay before the next, ms, if the node gave one. */
  protected abstract session(): Promise<number | undefined>

  /** Records an error in the account, unless it is a normal end of a connection. */
  protected failed(error: unknown): void {
    if (isWrong(error)) this.options.account.fault(`${this.name}: ${error}`)
  }

  // Reported by any wire -------------------------------------------------------------------------------------

  /** Whether it has received its cursor. */
  protected get hasCursor(): boolean {
    return this.#positions.size === this.options.channels.length
  }

  protected hasPosition(channel: string): boolean {
    return this.#positions.has(channel)
  }

  /** Its position in a channel. */
  protected cursorOf(channel: string): string {
    return this.#positions.get(channel) ?? this.options.begin ?? 'earliest'
  }

  protected query(): URLSearchParams {
    const { channels } = this.options
    const query = new URLSearchParams()
    for (const channel of channels) query.append('channel', channel)
    query.set('cursor', channels.map(channel => this.cursorOf(channel)).join(','))
    return query
  }

  /** The cursor reported by the node: for all channels, in the requested order. */
  protected stands(cursor: string): void {
    const positions = cursor.split(',')
    for (const [i, channel] of this.options.channels.entries()) this.startsAt(channel, positions[i] ?? '')
  }

  protected startsAt(channel: string, position: string): void {
    this.options.account.stands(this.#ledger(channel), position, Date.now())
    this.#positions.set(channel, position)
    if (this.hasCursor) this.#open()
  }

  protected event(event: Untimed & Partial<Given>): void {
    this.options.account.given(this.#ledger(event.channel), event)
    this.#positions.set(event.channel, event.id)
  }

  protected gap(gap: ReportedGap): void {
    this.options.account.told(this.#ledger(gap.channel), gap, Date.now())
    this.#positions.set(gap.channel, gap.to)
  }

  #ledger(channel: string): Ledger {
    const ledger = this.#ledgers.get(channel)
    if (ledger === undefined)
      throw new SyntaxError(`received a message of ${channel}, which was not requested`)
    return ledger
  }

  /** The start position of a response, derived from its events because the response reports only its end. */
  protected before(events: readonly Given[], cursor: string): string {
    const positions = cursor.split(',')
    for (const [i, channel] of this.options.channels.entries()) {
      const first = parsePosition(events.find(event => event.channel === channel)?.id ?? '')
      if (first !== undefined) positions[i] = printPosition({ ...first, offset: first.offset - 1 })
    }
    return positions.join(',')
  }

  // Over HTTP/1.1 --------------------------------------------------------------------------------------------

  /** Sends a GET. Returns the response's head. Closes the connection after a long silence. */
  protected get(
    path: string,
    headers: Record<string, string> = {},
    agent: Agent | false = false,
  ): Promise<IncomingMessage> {
    const { port, signal } = this
    return new Promise((resolve, reject) => {
      const asked = request({ host: '127.0.0.1', port, path, headers, agent, signal })
      asked.setTimeout(SILENCE, () =>
        asked.destroy(Object.assign(new Error('silence'), { code: SILENCE_CODE })),
      )
      asked.once('response', answer => {
        answer.on('error', () => {})
        resolve(answer)
      })
      asked.on('error', reject)
      asked.end()
    })
  }
}

/** Raises if the response is cut off. */
export async function textOf(answer: AsyncIterable<Buffer>): Promise<string> {
  const pieces: Buffer[] = []
  for await (const piece of answer) pieces.push(piece)
  return Buffer.concat(pieces).toString()
}

/** Reads until it ends, or is cut. Raises the errors of `take`. */
export async function untilCut<T>(answer: AsyncIterable<T>, take: (piece: T) => void): Promise<void> {
  try {
    for await (const piece of answer) take(piece)
  } catch (error) {
    if (isWrong(error)) throw error
  }
}

/** Error codes of cut connections. */
const CUT = new Set([
  'ABORT_ERR',
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ERR_HTTP2_GOAWAY_SESSION',
  'ERR_HTTP2_INVALID_SESSION',
  'ERR_HTTP2_STREAM_CANCEL',
  'ERR_HTTP2_STREAM_ERROR',
  'ERR_STREAM_PREMATURE_CLOSE',
  'ETIMEDOUT',
  SILENCE_CODE,
])

/** Whether the error is a wrong or permanent response, rather than a missing one. */
function isWrong(error: unknown): boolean {
  if (error instanceof Refused) return error.status < 500
  return !(error instanceof Error && 'code' in error && CUT.has(`${error.code}`))
}
