// Clients of the request wires: poll, long-poll, and the self-reloading page. autocannon manages their connections and
// requests; this file decides when each request is sent, and with which cursor.
//
// autocannon paces a connection by whole requests per second: when they are used up it pauses, and its own timer
// resumes it each second. Here, it must never send by itself, and this file's timer triggers requests, so that any
// interval is possible and every client has its own offset.

import autocannon from 'autocannon'
import { Traffic } from '../address.ts'
import { now } from '../marker.ts'
import type { Scanner } from '../scan.ts'
import { pageOf, reloadOf } from './answers.ts'
import { COME_BACK, type Follower, jitter, type Part, reasonOf } from './follower.ts'

export type AskingWire = 'poll' | 'long-poll' | 'refresh'

/** Seconds that a request may take beyond its hold time. */
const EXTRA_TIMEOUT_S = 60

/** All clients of one process: a run of autocannon. */
export class Askers {
  readonly #run: autocannon.Instance

  constructor(followers: readonly AskingFollower[], { order, address }: Pick<Part, 'order' | 'address'>) {
    const waiting = followers[Symbol.iterator]()
    this.#run = autocannon({
      url: `${address.tls === undefined ? 'http' : 'https'}://${address.authority}`,
      connections: followers.length,
      // Practically endless: `close` ends the run.
      duration: 10 ** 6,
      timeout: order.rampUp + order.every + order.wait + EXTRA_TIMEOUT_S,
      setupClient: client => void waiting.next().value?.adopt(client),
    })
    // The figures of autocannon are ignored.
    this.#run.then(() => {})
  }

  close(): void {
    this.#run.stop()
  }
}

export class AskingFollower implements Follower {
  readonly traffic = new Traffic()
  lastAt = 0
  readonly #part: Part
  readonly #wire: AskingWire
  /** The next or current request. */
  #path: string
  #etag: string | undefined
  #client: autocannon.Client | undefined
  #connect = () => {}
  #state: 'waiting' | 'connected' | 'away' | 'closed' = 'waiting'
  #begun = false
  #asking = false
  /** Scheduled time of the request in flight, µs. */
  #due = 0
  /** poll, refresh: when the next request is due. */
  #slot = 0
  #answeredAt = 0
  /** Whether the connection has opened; below, whether one was cut and no response has arrived since. */
  #wasUp = false
  #wasCut = false
  #timer: NodeJS.Timeout | undefined

  constructor(part: Part, wire: AskingWire) {
    this.#part = part
    this.#wire = wire
    const { channel, order } = part
    const limit = order.limit === undefined ? '' : `&limit=${order.limit}`
    // The first request only gets the cursor, and is not held.
    this.#path =
      wire === 'refresh'
        ? `/v1/refresh?channel=${channel}&every=${Math.max(1, Math.round(order.every))}${limit}`
        : `/v1/poll?channel=${channel}&cursor=latest${limit}`
  }

  get scanner(): Scanner {
    return this.#part.scanner
  }

  get isOpen(): boolean {
    const { every, wait } = this.#part.order
    const rests = this.#wire === 'long-poll' ? wait : every
    return this.#answeredAt > 0 && now() - this.#answeredAt < (2 * rests + 5) * 1e6
  }

  /** Takes over a client that autocannon has created, before the client connects. */
  adopt(client: autocannon.Client): void {
    this.#client = client
    client.rate = 1
    client.reqsMadeThisSecond = 1
    const connect = client._connect
    this.#connect = () => connect.call(client)
    client._connect = () => this.#lost()
    client.on('connError', (error: Error) => this.#part.account.wrong(reasonOf(error)))
    client.on('timeout', () => this.#part.account.wrong('timeout'))
  }

  start(): void {
    this.#due = now()
    this.#asking = true
    this.#prepare()
    this.#open()
  }

  close(): void {
    this.#state = 'closed'
    clearTimeout(this.#timer)
  }

  /** Called by autocannon to connect: at first, and whenever a connection has ended. */
  #lost(): void {
    const client = this.#client as autocannon.Client
    clearInterval(client.rateInterval)
    if (this.#state !== 'connected') return
    const { account, begun } = this.#part
    this.#state = 'away'
    // The old connection may still report its end.
    client.conn.removeAllListeners('error').removeAllListeners('end')
    client.conn.on('error', () => {}).destroy()
    if (this.#wasUp) {
      account.cut++
      this.#wasCut = true
    }
    this.#wasUp = false
    if (!this.#begun) {
      this.#begun = true
      begun.failed(`no answer from ${this.#part.address.authority}`)
    }
    this.#timer = setTimeout(() => this.#open(), jitter(COME_BACK))
  }

  /** Connects; an unanswered request is sent again. */
  #open(): void {
    if (this.#state === 'closed') return
    const client = this.#client as autocannon.Client
    client.pipelinedRequests.clear()
    client.parser.reinitialize(client.parser.constructor.RESPONSE)
    client.reqsMadeThisSecond = this.#asking ? 0 : 1
    client.paused = false
    this.#state = 'connected'
    this.#connect()
    client.conn.setNoDelay().once('connect', () => {
      this.#wasUp = true
    })
    this.traffic.use(client.conn)
    if (!this.#asking) this.#schedule()
  }

  /** Sends the request, as autocannon's own timer would. */
  #ask(): void {
    this.#asking = true
    if (this.#state !== 'connected') return
    const client = this.#client as autocannon.Client
    client.reqsMadeThisSecond = 0
    client.paused = false
    client._doRequest()
  }

  #prepare(): void {
    const { address } = this.#part
    const tag = this.#etag === undefined ? undefined : { 'If-None-Match': this.#etag }
    this.#client?.setRequests([
      {
        method: 'GET',
        path: `${address.prefix}${this.#path}`,
        headers: { ...address.headers, ...tag },
        onResponse: (status, body, _context, headers) => this.#answer(status, body, headers),
      },
    ])
  }

  #answer(status: number, body: string, headers: Readonly<Record<string, string | string[]>>): void {
    const at = now()
    const { account, scanner, begun } = this.#part
    this.#asking = false
    account.requests++
    account.answering.add(at - this.#due)
    if (status !== 200 && status !== 304) {
      const reason = `HTTP/1.1 ${status} ${body}`
      account.wrong(reason)
      if (!this.#begun) {
        this.#begun = true
        begun.failed(reason.slice(0, 400))
      }
      this.#later(jitter(COME_BACK))
      return
    }
    if (this.#wasCut) account.resumed++
    this.#wasCut = false
    this.#answeredAt = at
    const { received } = scanner
    const more = status === 200 && this.#read(body, headers, at)
    if (scanner.received === received) account.empty++
    else this.lastAt = at
    if (!this.#begun) {
      this.#begun = true
      begun.opened()
    }
    this.#prepare()
    if (more || this.#wire === 'long-poll') this.#now(at)
    else this.#schedule()
  }

  /** Processes a response; true if there is more. */
  #read(body: string, headers: Readonly<Record<string, string | string[]>>, at: number): boolean {
    const { account, channel, order } = this.#part
    this.#etag = this.#wire === 'long-poll' ? undefined : headerOf(headers, 'etag')
    const page = this.#wire === 'refresh' ? reloadOf(body) : pageOf(body)
    if (page === undefined) {
      account.wrong('not a response of fanwire')
      return false
    }
    account.gaps += page.gaps
    this.scanner.cut()
    this.scanner.scan(page.events, page.events.length, at)
    const limit = order.limit === undefined ? '' : `&limit=${order.limit}`
    const wait = this.#wire === 'long-poll' ? `&wait=${order.wait}` : ''
    this.#path =
      this.#wire === 'refresh'
        ? `/v1/refresh${page.next}`
        : `/v1/${this.#wire}?channel=${channel}&cursor=${page.next}${limit}${wait}`
    return page.more
  }

  /** autocannon sends the next request when this response has been processed. */
  #now(at: number): void {
    this.#due = at
    this.#asking = true
    const client = this.#client as autocannon.Client
    client.reqsMadeThisSecond = 0
  }

  #later(ms: number): void {
    clearTimeout(this.#timer)
    this.#pause()
    this.#timer = setTimeout(() => {
      this.#due = now()
      this.#ask()
    }, ms)
  }

  /** Schedules the next request for its time, however late the last response was (coordinated omission). */
  #schedule(): void {
    const every = this.#part.order.every * 1e6
    const at = now()
    const own = this.#part.phase * every
    this.#slot = this.#slot === 0 ? Math.ceil((at - own) / every) * every + own : this.#slot + every
    this.#pause()
    clearTimeout(this.#timer)
    const ask = () => {
      // A timer may be up to 1 ms early.
      this.#due = Math.min(this.#slot, now())
      this.#ask()
    }
    this.#timer = setTimeout(ask, Math.max(0, (this.#slot - at) / 1000))
  }

  #pause(): void {
    if (this.#client !== undefined) this.#client.reqsMadeThisSecond = 1
  }
}

function headerOf(headers: Readonly<Record<string, string | string[]>>, name: string): string | undefined {
  for (const [key, value] of Object.entries(headers)) {
    if (key.toLowerCase() === name) return String(value)
  }
  return undefined
}
