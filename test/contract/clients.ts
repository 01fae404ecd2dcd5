// One small client per wire, on real sockets, with a common interface: the suite in wires.ts reads through it.

import { Agent, type ClientRequest, type IncomingMessage, request } from 'node:http'
import { request as requestHttps } from 'node:https'
import type { Readable } from 'node:stream'
import { io, type ManagerOptions, type Socket, type SocketOptions } from 'socket.io-client'
import { type ClientOptions, WebSocket } from 'ws'
import { WAIT_LIMIT_MS } from '../support/until.ts'
import { offsetOf } from './node.ts'
import { compare, parsePage } from './refresh.ts'

/** Where a node listens, on 127.0.0.1. */
export interface Address {
  readonly port: number
  /** Where it speaks cleartext HTTP/2, if it does. */
  readonly h2cPort?: number | undefined
  /** Speaks TLS on `port`. */
  readonly secure?: boolean
}

export interface Gap {
  readonly channel: string
  readonly from: string
  readonly to: string
}

/** A client's messages after the initial cursor. `event` is the unchanged text of the object. */
export type Item =
  | { readonly event: string; readonly type?: string }
  | { readonly gap: Gap }
  | { readonly passed: { readonly channel: string; readonly cursor: string } }
  | { readonly end: { readonly channel: string; readonly id: string } }
  | { readonly close: { readonly code?: number; readonly reason?: string; readonly retry?: number } }

/** An item, and the connection's cursor after it where the wire reports it. */
interface Received {
  readonly item: Item
  readonly cursor?: string
}

export interface Client {
  /** The cursor before the first item, as reported by the node. */
  readonly opened: string
  /** The cursor after the last item of `next`. */
  readonly cursor: string
  /** Received heartbeats. */
  readonly heartbeats: number
  /** The next item. Raises if there is none for too long. */
  next(): Promise<Item>
  /** The next item, which must be an event. */
  event(): Promise<string>
  /** Stops reading from the socket. */
  pause(): void
  resume(): void
  /** Disconnects without closing properly. */
  cut(): void
}

export interface Target {
  readonly channels: readonly string[]
  readonly cursor?: string | undefined
  /** Events per answer of a poll. */
  readonly limit?: number
  /** Its selection of events. */
  readonly select?: Select
  /** The end of the replay, and its pace. */
  readonly plan?: { readonly until?: string; readonly speed?: string }
}

export interface Select {
  readonly types?: readonly string[]
  readonly filter?: object
  readonly every?: string
  readonly newest?: string
}

export interface Wire {
  readonly name: 'poll' | 'long-poll' | 'sse' | 'stream' | 'ws' | 'refresh' | 'push' | 'socket.io'
  /** Settings of a node with this wire. */
  readonly settings?: Readonly<Record<string, string>>
  /** Its transport, if not only HTTP/1.1. */
  readonly over?: string
  /** Where a reader without a cursor begins. */
  readonly begin: 'earliest' | 'latest'
  /** One long-lived connection, rather than a request per answer. */
  readonly streams: boolean
  /** It supports `until` and `speed`. */
  readonly plans?: true
  /** Raises Refused if the node rejects it. */
  connect(node: Address, target: Target): Promise<Client>
}

/** The node rejected the request. */
export class Refused extends Error {
  readonly status: number
  readonly code: string

  constructor(status: number, body: string) {
    super(`${status} ${body}`)
    this.status = status
    this.code = body === '' ? '' : JSON.parse(body).error.code
  }
}

/** The connection ended before the node sent a cursor: retryable. */
export class Unopened extends Error {
  constructor() {
    super('the connection ended before it was open')
  }
}

/** The query string for a target. */
export function queryOf({ channels, cursor, limit, select = {}, plan = {} }: Target): string {
  const query = new URLSearchParams()
  for (const channel of channels) query.append('channel', channel)
  if (cursor !== undefined) query.set('cursor', cursor)
  if (limit !== undefined) query.set('limit', `${limit}`)
  const { types, filter, every, newest } = select
  if (types !== undefined) query.set('types', types.join())
  if (filter !== undefined) query.set('filter', JSON.stringify(filter))
  if (every !== undefined) query.set('every', every)
  if (newest !== undefined) query.set('newest', newest)
  for (const [name, value] of Object.entries(plan)) query.set(name, value)
  return query.toString()
}

/** Received items that have not been consumed. */
export class Mailbox<T> {
  #arrived: T[] = []
  #taken = 0
  /** Waiting callers, in order. */
  readonly #waiting: ((item: T) => void)[] = []

  put(item: T): void {
    const first = this.#waiting.shift()
    if (first === undefined) this.#arrived.push(item)
    else first(item)
  }

  /** The next item. Raises if there is none within WAIT_LIMIT_MS. */
  async take(): Promise<T> {
    if (this.#taken === this.#arrived.length) {
      return new Promise((resolve, reject) => {
        const waits = (item: T) => {
          clearTimeout(timer)
          resolve(item)
        }
        const timer = setTimeout(() => {
          this.#waiting.splice(this.#waiting.indexOf(waits), 1)
          reject(new Error(`nothing came within ${WAIT_LIMIT_MS} ms`))
        }, WAIT_LIMIT_MS)
        this.#waiting.push(waits)
      })
    }
    const item = this.#arrived[this.#taken++] as T
    if (this.#taken >= 1024) {
      this.#arrived = this.#arrived.slice(this.#taken)
      this.#taken = 0
    }
    return item
  }
}

/** Tracks the cursor of several channels, as a client must. */
class Cursor {
  readonly #channels: readonly string[]
  #positions: string[]
  readonly #selects: boolean

  constructor({ channels, select }: Target, cursor: string) {
    this.#channels = channels
    this.#selects = select !== undefined
    this.#positions = cursor.split(',')
  }

  /** Advances past an item; if the wire reports the cursor, both must agree. */
  move({ item, cursor }: Received): void {
    if ('event' in item) {
      const { channel, id } = JSON.parse(item.event)
      // Transient items have no id, and do not advance.
      if (id !== undefined) this.#positions[this.#channels.indexOf(channel)] = id
    } else if ('end' in item) {
      this.#positions[this.#channels.indexOf(item.end.channel)] = item.end.id
    } else if ('gap' in item) {
      this.#positions[this.#channels.indexOf(item.gap.channel)] = item.gap.to
    } else if ('passed' in item) {
      this.#positions[this.#channels.indexOf(item.passed.channel)] = item.passed.cursor
    }
    // The cursor of a response is beyond its last event if a filter drops later ones.
    if (this.#selects && cursor !== undefined) this.#positions = cursor.split(',')
    if (cursor !== undefined && cursor !== this.text) {
      throw new Error(`the node reports the cursor ${cursor}, its items add up to ${this.text}`)
    }
  }

  get text(): string {
    return this.#positions.join(',')
  }
}

async function opened(open: Mailbox<string | undefined>): Promise<string> {
  const cursor = await open.take()
  if (cursor === undefined) throw new Unopened()
  return cursor
}

abstract class BaseClient implements Client {
  heartbeats = 0
  opened = ''
  protected position: Cursor
  protected readonly inbox = new Mailbox<Received>()

  constructor(target: Target) {
    this.position = new Cursor(target, '')
  }

  get cursor(): string {
    return this.position.text
  }

  async next(): Promise<Item> {
    const received = await this.inbox.take()
    this.position.move(received)
    return received.item
  }

  async event(): Promise<string> {
    const item = await this.next()
    if ('passed' in item) return this.event()
    if (!('event' in item)) throw new Error(`an event was expected, but ${JSON.stringify(item)} came`)
    return item.event
  }

  protected startAt(target: Target, cursor: string): void {
    this.opened = cursor
    this.position = new Cursor(target, cursor)
  }

  abstract pause(): void
  abstract resume(): void
  abstract cut(): void
}

// Server-sent events ----------------------------------------------------------------------------------------

/** One dispatched event of an event stream. */
export interface SseBlock {
  readonly event: string
  readonly data: string
  /** The last event id after this event. */
  readonly lastEventId: string
}

/**
 * Parses strictly by WHATWG HTML section 9.2.6: a field that the section would ignore, a block without data,
 * an id before the data, a byte order mark or a byte that is not UTF-8 raises.
 */
export class SseParser {
  readonly comments: string[] = []
  readonly retries: number[] = []
  lastEventId = ''
  readonly #dispatch: (block: SseBlock) => void
  readonly #decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  #rest = ''
  #data: string[] = []
  #event = ''
  #id: string | undefined

  constructor(dispatch: (block: SseBlock) => void) {
    this.#dispatch = dispatch
  }

  write(bytes: Buffer): void {
    const text = this.#rest + this.#decoder.decode(bytes, { stream: true })
    let from = 0
    for (;;) {
      const lf = text.indexOf('\n', from)
      const cr = text.indexOf('\r', from)
      const end = lf === -1 ? cr : cr === -1 ? lf : Math.min(lf, cr)
      // A CR at the end may be half of a CRLF.
      if (end === -1 || (end === cr && cr === text.length - 1)) break
      this.#line(text.slice(from, end))
      from = end + (text[end] === '\r' && text[end + 1] === '\n' ? 2 : 1)
    }
    this.#rest = text.slice(from)
  }

  #line(line: string): void {
    if (line === '') {
      this.#end()
      return
    }
    const colon = line.indexOf(':')
    if (colon === 0) return void this.comments.push(line.slice(1))
    const name = colon === -1 ? line : line.slice(0, colon)
    const value = colon === -1 ? '' : line.slice(colon + (line[colon + 1] === ' ' ? 2 : 1))
    if (name === 'data' && this.#id !== undefined) throw new Error('data after the id of its event')
    if (name === 'data') this.#data.push(value)
    else if (name === 'event') this.#event = value
    else if (name === 'id' && !value.includes('\0')) this.#id = value
    else if (name === 'retry' && /^[0-9]+$/.test(value)) this.retries.push(Number(value))
    else throw new Error(`a browser would ignore the line ${JSON.stringify(line)}`)
  }

  #end(): void {
    if (this.#data.length === 0) throw new Error('a block without data, which some clients would deliver')
    if (this.#id !== undefined) this.lastEventId = this.#id
    const data = this.#data.join('\n')
    this.#dispatch({ event: this.#event || 'message', data, lastEventId: this.lastEventId })
    this.#data = []
    this.#event = ''
    this.#id = undefined
  }
}

/** A streaming response, and a function that disconnects. */
export interface Opened {
  readonly asked: { destroy(): unknown }
  readonly answer: Readable
}
export type Open = (node: Address, path: string, headers?: Record<string, string>) => Promise<Opened>

/** A streaming GET; raises Refused for any status but 200. */
export async function openStream(
  node: Address,
  path: string,
  headers: Record<string, string> = {},
): Promise<{ asked: ClientRequest; answer: IncomingMessage }> {
  const options = { port: node.port, host: '127.0.0.1', path, headers, agent: false as const }
  const asked = node.secure ? requestHttps({ ...options, rejectUnauthorized: false }) : request(options)
  asked.end()
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    asked.once('response', resolve)
    asked.once('error', reject)
  })
  asked.on('error', () => {})
  answer.on('error', () => {})
  if (answer.statusCode !== 200) {
    let body = ''
    for await (const piece of answer) body += piece
    throw new Refused(answer.statusCode ?? 0, body)
  }
  return { asked, answer }
}

/** A wire whose response does not end. */
export abstract class StreamingClient extends BaseClient {
  #asked: Opened['asked'] | undefined
  #answer: Readable | undefined

  protected abstract take(bytes: Buffer): void
  /** The first item of the connection: its cursor. Undefined once it has ended. */
  protected readonly open = new Mailbox<string | undefined>()

  async connect(
    node: Address,
    wire: string,
    target: Target,
    headers: Record<string, string>,
    open: Open = openStream,
  ): Promise<this> {
    const { asked, answer } = await open(node, `/v1/${wire}?${queryOf(target)}`, headers)
    this.#asked = asked
    this.#answer = answer
    answer.on('data', bytes => {
      try {
        this.take(bytes)
      } catch (error) {
        this.inbox.put({ item: { close: { reason: String(error) } } })
      }
    })
    answer.once('close', () => this.ended())
    answer.once('close', () => this.open.put(undefined))
    this.startAt(target, await opened(this.open))
    return this
  }

  protected ended(): void {
    this.inbox.put({ item: { close: {} } })
  }

  pause(): void {
    this.#answer?.pause()
  }

  resume(): void {
    this.#answer?.resume()
  }

  cut(): void {
    this.#asked?.destroy()
  }
}

export class SseClient extends StreamingClient {
  readonly parser: SseParser = new SseParser(block => this.#block(block))
  #isOpen = false
  #comments = 0

  protected take(bytes: Buffer): void {
    this.parser.write(bytes)
    for (; this.#comments < this.parser.comments.length; this.#comments++) {
      if (this.parser.comments[this.#comments] === '') this.heartbeats++
    }
  }

  #block({ event, data, lastEventId }: SseBlock): void {
    if (!this.#isOpen) {
      if (event !== 'fanwire:open') throw new Error(`the first block is ${event}`)
      const { cursor } = JSON.parse(data).open
      if (cursor !== lastEventId) throw new Error(`it opens at ${cursor}, but its id is ${lastEventId}`)
      this.#isOpen = true
      this.open.put(cursor)
    } else if (event === 'fanwire:passed') {
      this.inbox.put({ item: { passed: JSON.parse(data) }, cursor: lastEventId })
    } else if (event === 'gap') {
      this.inbox.put({ item: { gap: JSON.parse(data) }, cursor: lastEventId })
    } else if (event === 'end') {
      this.inbox.put({ item: JSON.parse(data), cursor: lastEventId })
    } else {
      const item = event === 'message' ? { event: data } : { event: data, type: event }
      this.inbox.put({ item, cursor: lastEventId })
    }
  }

  protected override ended(): void {
    const goodbye = this.parser.comments.find(comment => /^ \d{4} /.test(comment))
    const retry = this.parser.retries[1]
    if (goodbye === undefined || retry === undefined) {
      super.ended()
      return
    }
    this.inbox.put({
      item: { close: { code: Number(goodbye.slice(1, 5)), reason: goodbye.slice(6), retry } },
    })
  }
}

// HTTP streaming --------------------------------------------------------------------------------------------

export class NdjsonClient extends StreamingClient {
  readonly #decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  #rest = ''
  #isOpen = false
  #closing = false

  protected take(bytes: Buffer): void {
    const lines = (this.#rest + this.#decoder.decode(bytes, { stream: true })).split('\n')
    this.#rest = lines.pop() ?? ''
    for (const line of lines) this.#line(line)
  }

  #line(line: string): void {
    if (line === '') {
      this.heartbeats++
      return
    }
    const object = JSON.parse(line)
    if (!this.#isOpen) {
      this.#isOpen = true
      this.open.put(object.open.cursor)
    } else {
      this.#closing = 'close' in object
      this.handle(object, line)
    }
  }

  protected handle(object: { channel?: string } & object, line: string): void {
    this.inbox.put({ item: object.channel === undefined ? (object as Item) : { event: line } })
  }

  protected override ended(): void {
    if (!this.#closing) super.ended()
  }
}

// WebSocket -------------------------------------------------------------------------------------------------

type Answer = { ref?: number | string; ok?: object; error?: { code: string; message: string } }

export class WsClient extends BaseClient {
  readonly socket: WebSocket
  /** Answers to commands. */
  readonly answers = new Mailbox<Answer>()
  /** Everything that was received, in order. */
  readonly log: string[] = []
  readonly open = new Mailbox<string | undefined>()
  #isOpen = false

  constructor(node: Address, target: Target, options: ClientOptions = {}) {
    super(target)
    const query = queryOf(target)
    const scheme = node.secure ? 'wss' : 'ws'
    const url = `${scheme}://127.0.0.1:${node.port}/v1/ws${query === '' ? '' : `?${query}`}`
    this.socket = new WebSocket(url, { perMessageDeflate: false, rejectUnauthorized: false, ...options })
    this.socket.on('message', (data, isBinary) => this.#message(data as Buffer, isBinary))
    this.socket.on('ping', () => this.heartbeats++)
    this.socket.on('error', () => {})
    this.socket.on('close', (code, reason) =>
      this.inbox.put({ item: { close: { code, reason: reason.toString() } } }),
    )
  }

  async connect(target: Target): Promise<this> {
    await new Promise<void>((resolve, reject) => {
      this.socket.once('open', resolve)
      this.socket.once('error', reject)
      this.socket.once('unexpected-response', async (_request, answer) => {
        let body = ''
        for await (const piece of answer) body += piece
        reject(new Refused(answer.statusCode ?? 0, body))
      })
    })
    this.socket.once('close', () => this.open.put(undefined))
    this.startAt(target, await opened(this.open))
    return this
  }

  #message(data: Buffer, isBinary: boolean): void {
    if (isBinary) throw new Error('a binary message')
    const text = data.toString()
    this.log.push(text)
    const object = JSON.parse(text)
    if (!this.#isOpen) {
      this.#isOpen = true
      this.open.put(object.open?.cursor ?? `not open, but ${text}`)
    } else if ('channel' in object) {
      this.inbox.put({ item: { event: text } })
    } else if ('gap' in object || 'passed' in object || 'end' in object) {
      this.inbox.put({ item: object })
    } else {
      this.answers.put(object)
    }
  }

  /** Sends a command, as JSON or as it is. */
  send(command: object | string): void {
    this.socket.send(typeof command === 'string' ? command : JSON.stringify(command))
  }

  /** Sends a command and returns the next answer. */
  async ask(command: object | string): Promise<Answer> {
    this.send(command)
    return this.answers.take()
  }

  pause(): void {
    this.socket.pause()
  }

  resume(): void {
    this.socket.resume()
  }

  cut(): void {
    this.socket.terminate()
  }
}

// Socket.IO -------------------------------------------------------------------------------------------------

export interface SocketIoAnswer {
  readonly ok?: { readonly channel: string; readonly cursor?: string; readonly id?: string }
  readonly error?: { readonly code: string; readonly message: string }
}

type Options = Partial<ManagerOptions & SocketOptions>

/**
 * An agent that connects the library's own client from the `n`th address, by which load balancers choose its edge. Only
 * Linux has several loopback addresses: elsewhere, all clients share one.
 */
export function fromAddress(n: number): { agent: string } {
  const localAddress = process.platform === 'linux' ? `127.0.1.${(n % 250) + 1}` : '127.0.0.1'
  // The library's type is for browsers, which have no `agent`.
  return { agent: new Agent({ keepAlive: true, localAddress }) as unknown as string }
}

/** The library's own client; received packets are kept as text. `connect` may be that of another major version. */
export class SocketIoClient extends BaseClient {
  readonly socket: Socket
  /** Every received packet, in order. */
  readonly log: string[] = []
  /** Errors of events that were emitted without an acknowledgement. */
  readonly errors = new Mailbox<string>()

  constructor(node: Address, target: Target, options: Options = {}, connect: typeof io = io) {
    super(target)
    this.socket = connect(`${node.secure ? 'https' : 'http'}://127.0.0.1:${node.port}`, {
      rejectUnauthorized: false,
      forceNew: true,
      reconnection: false,
      transports: ['websocket'],
      ...options,
    })
    this.engine.on('data', text => this.#packet(String(text)))
    this.engine.on('packet', ({ type }) => {
      if (type === 'ping') this.heartbeats++
    })
    this.socket.on('disconnect', () => this.inbox.put({ item: { close: {} } }))
  }

  get engine() {
    return this.socket.io.engine
  }

  get transport(): string {
    return this.engine.transport.name
  }

  async connect(target: Target): Promise<this> {
    await this.connected()
    const { channels, cursor, select, plan } = target
    const starts = cursor?.split(',') ?? []
    const answers = await Promise.all(
      channels.map((channel, i) =>
        this.ask('subscribe', {
          channel,
          cursor: starts.length === 1 ? cursor : starts[i],
          ...select,
          ...plan,
        }),
      ),
    )
    for (const answer of answers) if (answer.error) throw new Refused(400, JSON.stringify(answer))
    this.startAt(target, answers.map(({ ok }) => ok?.cursor).join(','))
    return this
  }

  async connected(): Promise<void> {
    if (this.socket.connected) return
    await new Promise<void>((resolve, reject) => {
      this.socket.once('connect', resolve)
      this.socket.once('connect_error', reject)
    })
  }

  #packet(text: string): void {
    this.log.push(text)
    const match = /^2\["([^"]*)",(.*)\]$/s.exec(text)
    if (match === null) return
    const [, type = '', json = ''] = match
    if (type === 'gap') this.inbox.put({ item: { gap: JSON.parse(json) } })
    else if (type === 'fanwire:passed') this.inbox.put({ item: { passed: JSON.parse(json) } })
    else if (type === 'end') this.inbox.put({ item: JSON.parse(json) })
    else if (type === 'fanwire:unsubscribed') this.inbox.put({ item: { close: JSON.parse(json) } })
    else if (type === 'close') this.inbox.put({ item: { close: JSON.parse(json) } })
    else if (type === 'error') this.errors.put(JSON.parse(json).code)
    else this.inbox.put({ item: type === 'message' ? { event: json } : { event: json, type } })
  }

  /** Emits and returns the answer. */
  ask(name: string, ...given: unknown[]): Promise<SocketIoAnswer> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${name} was not answered`)), WAIT_LIMIT_MS)
      const cut = () => {
        clearTimeout(timer)
        reject(new Unopened())
      }
      this.socket.once('disconnect', cut)
      this.socket.emit(name, ...given, (answer: SocketIoAnswer) => {
        clearTimeout(timer)
        this.socket.off('disconnect', cut)
        resolve(answer)
      })
    })
  }

  get #websocket(): WebSocket | undefined {
    return (this.engine.transport as { ws?: WebSocket | null }).ws ?? undefined
  }

  pause(): void {
    this.#websocket?.pause()
  }

  resume(): void {
    this.#websocket?.resume()
  }

  cut(): void {
    if (this.#websocket === undefined) this.socket.disconnect()
    else this.#websocket.terminate()
  }
}

// Polling ---------------------------------------------------------------------------------------------------

interface Page {
  readonly events: unknown[]
  readonly cursor: string
  readonly more?: true
  readonly gaps?: Gap[]
  readonly end?: { readonly channel: string; readonly id: string }[]
}

/** The result of one request. */
interface Polled {
  readonly items: Received[]
  readonly cursor: string
}

/** Polls repeatedly, but only while an item is wanted. */
abstract class AskingClient extends BaseClient {
  readonly #target: Target
  /** The cursor of the next request. */
  #next: string | undefined
  #waiting: Received[] = []
  #paused = false
  #gone = false
  #asked: Opened['asked'] | undefined

  constructor(target: Target) {
    super(target)
    this.#target = target
    this.#next = target.cursor
  }

  /** The opening cursor is the requested one if it has positions, otherwise that before the first event. */
  async connect(): Promise<this> {
    const asked = this.#target.cursor
    if (asked?.split(',').every(entry => entry.includes('-'))) {
      this.startAt(this.#target, asked)
      return this
    }
    const answered = await this.#ask()
    // A response has only the cursor after its events: the one before them is computed from the events.
    this.startAt(this.#target, answered.items.length > 0 ? this.#before(answered) : answered.cursor)
    return this
  }

  #before({ items, cursor }: Polled): string {
    const positions = cursor.split(',')
    for (const { item } of items.toReversed()) {
      if (!('event' in item)) continue
      const { channel, id } = JSON.parse(item.event)
      const [epoch] = id.split('-')
      positions[this.#target.channels.indexOf(channel)] = `${epoch}-${offsetOf(id) - 1}`
    }
    return positions.join(',')
  }

  /** Sends one request. `target` has the current cursor. */
  protected abstract ask(target: Target): Promise<Polled>

  async #ask(): Promise<Polled> {
    const answered = await this.ask({ ...this.#target, cursor: this.#next })
    const { items, cursor } = answered
    const last = items.at(-1)
    if (last !== undefined) items[items.length - 1] = { ...last, cursor }
    this.#waiting.push(...items)
    this.#next = cursor
    return answered
  }

  /** Sends one request. Returns the text of its response. */
  protected async text(node: Address, path: string, open: Open = openStream): Promise<string> {
    const { asked, answer } = await open(node, path)
    this.#asked = asked
    const pieces: Buffer[] = []
    for await (const piece of answer) pieces.push(piece)
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(pieces))
  }

  override async next(): Promise<Item> {
    const end = performance.now() + WAIT_LIMIT_MS
    while (this.#waiting.length === 0 || this.#paused) {
      if (performance.now() > end) throw new Error(`nothing came within ${WAIT_LIMIT_MS} ms`)
      if (this.#gone) return { close: {} }
      if (!this.#paused) await this.#ask()
      if (this.#waiting.length === 0) await new Promise(resolve => setTimeout(resolve, 2))
    }
    const received = this.#waiting.shift() as Received
    this.position.move(received)
    return received.item
  }

  pause(): void {
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
  }

  cut(): void {
    this.#gone = true
    this.#asked?.destroy()
  }
}

class PollClient extends AskingClient {
  readonly #ended = new Set<string>()
  readonly #node: Address
  readonly #path: string

  constructor(node: Address, path: string, target: Target) {
    super(target)
    this.#node = node
    this.#path = path
  }

  protected async ask(target: Target): Promise<Polled> {
    const text = await this.text(this.#node, `${this.#path}${queryOf(target)}`)
    const page: Page = JSON.parse(text)
    const items: Received[] = []
    for (const gap of page.gaps ?? []) items.push({ item: { gap } })
    for (const event of split(text)) items.push({ item: { event } })
    // Every response reports the end.
    for (const end of page.end ?? []) if (!this.#ended.has(end.channel)) items.push({ item: { end } })
    for (const { channel } of page.end ?? []) this.#ended.add(channel)
    if (page.more !== undefined && items.length === 0) throw new Error('`more` is set, but nothing arrived')
    return { items, cursor: page.cursor }
  }
}

/**
 * Reloads the page, and reads the rows marked as new. Each row must agree with its event, which is fetched
 * separately. The limit of the page is fixed, because events beyond it are not shown and could not be read.
 */
export class RefreshClient extends AskingClient {
  readonly #node: Address
  readonly #open: Open | undefined
  /** The query of the next reload. */
  #again: string | undefined

  constructor(node: Address, target: Target, open?: Open) {
    super(target)
    this.#node = node
    this.#open = open
  }

  protected async ask(target: Target): Promise<Polled> {
    const query = this.#again ?? queryOf({ ...target, limit: 1000 })
    const html = await this.text(this.#node, `/v1/refresh?${query}`, this.#open)
    const { again, rows, gaps, unseen } = parsePage(html)
    if (unseen > 0) throw new Error(`${unseen} events are not shown`)
    this.#again = again
    const items: Received[] = gaps.map(gap => ({ item: { gap } }))
    for (const row of rows.filter(({ isNew }) => isNew).toReversed()) {
      const path = `/v1/channels/${encodeURIComponent(row.channel)}/events/${row.id}`
      const event = await this.text(this.#node, path, this.#open)
      compare(row, event)
      items.push({ item: { event } })
    }
    return { items, cursor: new URLSearchParams(again).get('cursor') ?? '' }
  }
}

/** The texts of the events of a page. */
export function split(page: string): string[] {
  if (!page.startsWith('{"events":[')) throw new Error(`no page: ${page.slice(0, 80)}`)
  const events: string[] = []
  let depth = 0
  let inString = false
  let from = 0
  for (let i = '{"events":['.length; ; i++) {
    const char = page[i]
    if (char === undefined) throw new Error('the page has no end')
    if (inString) {
      if (char === '\\') i++
      else if (char === '"') inString = false
    } else if (char === '"') inString = true
    else if (char === '{' || char === '[') {
      if (depth++ === 0) from = i
    } else if (char === '}' || char === ']') {
      if (depth-- === 0) return events
      if (depth === 0) events.push(page.slice(from, i + 1))
    }
  }
}

// All of them -----------------------------------------------------------------------------------------------

export const WIRES: readonly Wire[] = [
  {
    name: 'poll',
    begin: 'earliest',
    streams: false,
    connect: (node, target) => new PollClient(node, '/v1/poll?', target).connect(),
  },
  {
    name: 'long-poll',
    begin: 'latest',
    streams: false,
    connect: (node, target) => new PollClient(node, '/v1/long-poll?wait=1&', target).connect(),
  },
  {
    name: 'sse',
    begin: 'latest',
    streams: true,
    plans: true,
    connect: (node, target) =>
      new SseClient(target).connect(node, 'sse', target, { accept: 'text/event-stream' }),
  },
  {
    name: 'stream',
    begin: 'latest',
    streams: true,
    plans: true,
    connect: (node, target) => new NdjsonClient(target).connect(node, 'stream', target, {}),
  },
  {
    name: 'ws',
    begin: 'latest',
    streams: true,
    plans: true,
    connect: (node, target) => new WsClient(node, target).connect(target),
  },
  {
    name: 'refresh',
    begin: 'latest',
    streams: false,
    connect: (node, target) => new RefreshClient(node, target).connect(),
  },
  {
    // Without pushes; the client in test/contract/http2.ts receives them.
    name: 'push',
    begin: 'latest',
    streams: true,
    connect: (node, target) => new NdjsonClient(target).connect(node, 'push', target, {}),
  },
]

/** The ws wire with every message compressed. */
const WS_DEFLATE: Wire = {
  name: 'ws',
  over: 'permessage-deflate',
  settings: { WS_DEFLATE: '1' },
  begin: 'latest',
  streams: true,
  plans: true,
  connect: (node, target) => new WsClient(node, target, { perMessageDeflate: true }).connect(target),
}

export const SOCKET_IO: Wire = {
  name: 'socket.io',
  settings: { SOCKET_IO: '1' },
  begin: 'latest',
  streams: true,
  plans: true,
  connect: (node, target) => new SocketIoClient(node, target).connect(target),
}

/** All wires, including those that need settings. */
export const ALL_WIRES: readonly Wire[] = [...WIRES, WS_DEFLATE, SOCKET_IO]
