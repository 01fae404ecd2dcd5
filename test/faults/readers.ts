// Readers as real clients are: each keeps a cursor, and connects again with it after any cut, goodbye or error. What
// they are told goes into the account.

import { setMaxListeners } from 'node:events'
import { Agent, type IncomingMessage, request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { WebSocket } from 'ws'
import { parsePosition, printPosition } from '../../services/log/position.ts'
import { SseParser } from '../contract/clients.ts'
import type { Account, Given, Ledger } from './account.ts'

export const WIRES = ['poll', 'long-poll', 'sse', 'stream', 'ws'] as const
export type WireName = (typeof WIRES)[number]

/** Silence, ms, after which a connection counts as dead. Nodes of the suite send heartbeats far more often. */
const SILENCE = 15_000
/** Ms between two polls, and what a client does with an answer before it asks again. */
const POLL_EVERY = 400
const THINK = 60
/** Ms before a client connects again, and the longest `retry:` that it honours: a browser has more patience. */
const COME_BACK = 150
const LONGEST_RETRY = 1500

export interface ReaderOptions {
  readonly name: string
  readonly wire: WireName
  /** Of the load balancer, on 127.0.0.1. */
  readonly port: number
  readonly channels: readonly string[]
  /** Where it begins. Nothing may have been published yet where that is `earliest`. */
  readonly begin?: 'earliest' | 'latest'
  readonly account: Account
}

interface GapTold {
  readonly channel: string
  readonly from: string
  readonly to: string
}

interface Page {
  readonly events: readonly Given[]
  readonly cursor: string
  readonly more?: true
  readonly gaps?: readonly GapTold[]
}

/** What the node, or the load balancer in its stead, answered instead of what was asked for. */
class Refused extends Error {
  readonly status: number

  constructor(status = 0, body = '') {
    super(`${status} ${body}`)
    this.status = status
  }
}

const SILENCE_CODE = 'SILENCE'

export class Reader {
  readonly name: string
  /** Times that it was refused, or that its connection ended. */
  ends = 0
  /** Resolves once it has been told where it stands. */
  readonly opened: Promise<void>
  readonly #options: ReaderOptions
  readonly #ledgers: ReadonlyMap<string, Ledger>
  readonly #positions = new Map<string, string>()
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 })
  readonly #stopped = new AbortController()
  readonly #running: Promise<void>
  #open: () => void = () => {}
  #etag: string | undefined

  constructor(options: ReaderOptions) {
    const { name, account, channels } = options
    this.name = name
    this.#options = options
    this.#ledgers = new Map(channels.map(channel => [channel, account.ledger(name, channel)]))
    this.opened = new Promise(resolve => {
      this.#open = resolve
    })
    setMaxListeners(0, this.#stopped.signal)
    this.#running = this.#run()
  }

  /** Leaves for good. */
  async stop(): Promise<void> {
    this.#stopped.abort()
    this.#agent.destroy()
    await this.#running
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopped
    const { wire, account } = this.#options
    while (!signal.aborted) {
      let wait: number | undefined
      try {
        wait = await this.#session(wire)
      } catch (error) {
        if (isWrong(error)) account.fault(`${this.name}: ${error}`)
      }
      this.ends++
      // Spread: those who were cut together do not come back together.
      await sleep((wait ?? COME_BACK) * (0.5 + Math.random()), undefined, { signal }).catch(() => {})
    }
  }

  /** One connection, or one poll after the other. Returns how long to wait before the next, ms, if the node said so. */
  #session(wire: WireName): Promise<number | undefined> {
    switch (wire) {
      case 'poll':
        return this.#poll('poll', POLL_EVERY)
      case 'long-poll':
        return this.#poll('long-poll', THINK)
      case 'sse':
        return this.#sse()
      case 'stream':
        return this.#stream()
      case 'ws':
        return this.#ws()
    }
  }

  // What any wire tells --------------------------------------------------------------------------------------

  #query(): string {
    const { channels, begin = 'earliest' } = this.#options
    const query = new URLSearchParams()
    for (const channel of channels) query.append('channel', channel)
    const cursor = channels.map(channel => this.#positions.get(channel) ?? begin)
    query.set('cursor', cursor.join(','))
    return query.toString()
  }

  /** Where the node says that it stands: for all channels, in the order in which it asked for them. */
  #stands(cursor: string): void {
    const { account, channels } = this.#options
    const positions = cursor.split(',')
    for (const [i, channel] of channels.entries()) {
      const position = positions[i] ?? ''
      account.stands(this.#ledger(channel), position, Date.now())
      this.#positions.set(channel, position)
    }
    this.#open()
  }

  #event(event: Given): void {
    this.#options.account.given(this.#ledger(event.channel), event)
    this.#positions.set(event.channel, event.id)
  }

  #gap(gap: GapTold): void {
    this.#options.account.told(this.#ledger(gap.channel), gap, Date.now())
    this.#positions.set(gap.channel, gap.to)
  }

  #ledger(channel: string): Ledger {
    const ledger = this.#ledgers.get(channel)
    if (ledger === undefined) throw new SyntaxError(`something of ${channel} came, which was not asked for`)
    return ledger
  }

  // The wires ------------------------------------------------------------------------------------------------

  /** A GET. Returns its answer's head; the connection is given up when nothing comes for long. */
  #get(path: string, headers: Record<string, string>, agent: Agent | false): Promise<IncomingMessage> {
    const { signal } = this.#stopped
    return new Promise((resolve, reject) => {
      const asked = request({ host: '127.0.0.1', port: this.#options.port, path, headers, agent, signal })
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

  async #poll(wire: 'poll' | 'long-poll', pause: number): Promise<undefined> {
    const { signal } = this.#stopped
    while (!signal.aborted) {
      const headers = this.#etag === undefined ? {} : { 'if-none-match': this.#etag }
      // It does not know where it stands before it is answered, so it does not wait long for that.
      const wait = wire === 'poll' ? '' : `&wait=${this.#positions.size > 0 ? 10 : 1}`
      const answer = await this.#get(`/v1/${wire}?${this.#query()}${wait}`, headers, this.#agent)
      const body = await textOf(answer)
      if (answer.statusCode !== 200 && answer.statusCode !== 304) {
        throw new Refused(answer.statusCode, body)
      }
      let again = false
      if (answer.statusCode === 200) {
        const { etag } = answer.headers
        this.#etag = etag
        const page = JSON.parse(body) as Page
        if (this.#positions.size === 0) this.#stands(this.#before(page))
        for (const gap of page.gaps ?? []) this.#gap(gap)
        for (const event of page.events) this.#event(event)
        this.#stands(page.cursor)
        again = page.more === true
      }
      if (!again) await sleep(pause * (0.5 + Math.random()), undefined, { signal })
    }
  }

  /** Where the first page begins: nothing says so but its events. */
  #before({ events, cursor }: Page): string {
    const positions = cursor.split(',')
    for (const [i, channel] of this.#options.channels.entries()) {
      const first = parsePosition(events.find(event => event.channel === channel)?.id ?? '')
      if (first !== undefined) positions[i] = printPosition({ ...first, offset: first.offset - 1 })
    }
    return positions.join(',')
  }

  async #sse(): Promise<number | undefined> {
    let isOpen = false
    const parser = new SseParser(({ event, data, lastEventId }) => {
      if (data === undefined) this.#stands(lastEventId)
      else if (!isOpen) throw new SyntaxError('an event came before it was said where the stream stands')
      else if (event === 'gap') this.#gap(JSON.parse(data))
      else this.#event(JSON.parse(data))
      isOpen = true
      if (data !== undefined) this.#stands(lastEventId)
    })
    const headers = { accept: 'text/event-stream' }
    const answer = await this.#get(`/v1/sse?${this.#query()}`, headers, false)
    if (answer.statusCode !== 200) throw new Refused(answer.statusCode, await textOf(answer))
    try {
      for await (const bytes of answer) parser.write(bytes)
    } catch (error) {
      if (isWrong(error)) throw error
    }
    const retry = parser.retries.at(-1)
    return retry === undefined ? undefined : Math.min(retry, LONGEST_RETRY)
  }

  async #stream(): Promise<number | undefined> {
    const answer = await this.#get(`/v1/stream?${this.#query()}`, {}, false)
    if (answer.statusCode !== 200) throw new Refused(answer.statusCode, await textOf(answer))
    let rest = ''
    let retry: number | undefined
    answer.setEncoding('utf8')
    try {
      for await (const text of answer) {
        const lines = `${rest}${text}`.split('\n')
        rest = lines.pop() ?? ''
        for (const line of lines) {
          if (line === '') continue
          const said = this.#object(line)
          if (said !== undefined) retry = Math.min(said, LONGEST_RETRY)
        }
      }
    } catch (error) {
      if (isWrong(error)) throw error
    }
    return retry
  }

  async #ws(): Promise<undefined> {
    const { signal } = this.#stopped
    const url = `ws://127.0.0.1:${this.#options.port}/v1/ws?${this.#query()}`
    const socket = new WebSocket(url, { perMessageDeflate: false, handshakeTimeout: SILENCE })
    let silence: NodeJS.Timeout | undefined
    let wrong: unknown
    const alive = () => {
      clearTimeout(silence)
      silence = setTimeout(() => socket.terminate(), SILENCE)
    }
    const end = () => socket.terminate()
    signal.addEventListener('abort', end, { once: true })
    socket.on('ping', alive)
    socket.on('message', data => {
      alive()
      if (wrong !== undefined) return
      try {
        this.#object(data.toString())
      } catch (error) {
        wrong = error
        socket.terminate()
      }
    })
    socket.on('error', error => {
      const status = /Unexpected server response: (\d+)/.exec(error.message)?.[1]
      if (status !== undefined) wrong = new Refused(Number(status))
    })
    alive()
    const code = await new Promise<number>(resolve => socket.once('close', resolve))
    clearTimeout(silence)
    signal.removeEventListener('abort', end)
    if (wrong !== undefined) throw wrong
    if (code === 1008 || code === 1009 || code >= 4500) throw new SyntaxError(`it was closed with ${code}`)
  }

  /** A line of `stream` or a message of `ws`. Returns the `retry` of a goodbye. */
  #object(text: string): number | undefined {
    const object = JSON.parse(text)
    if ('channel' in object) this.#event(object)
    else if ('gap' in object) this.#gap(object.gap)
    else if ('open' in object) this.#stands(object.open.cursor)
    else if ('close' in object) return object.close.retry
    else throw new SyntaxError(`it was told ${text}`)
    return undefined
  }
}

/** Raises where the answer breaks off. */
async function textOf(answer: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = []
  for await (const piece of answer) pieces.push(piece)
  return Buffer.concat(pieces).toString()
}

/** How connections end that are cut. */
const CUT = new Set([
  'ABORT_ERR',
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ERR_STREAM_PREMATURE_CLOSE',
  'ETIMEDOUT',
  SILENCE_CODE,
])

/** What was received is wrong, or can't pass, rather than that nothing was received. */
function isWrong(error: unknown): boolean {
  if (error instanceof Refused) return error.status < 500
  return !(error instanceof Error && 'code' in error && CUT.has(`${error.code}`))
}
