// A minimal client of a wire for the load generator: a socket, a hand-written handshake, and
// a scanner for the stream.

import { randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import { type Address, openSocket, requestHead, Traffic } from './address.ts'
import { Attention, type StreamKind } from './attention.ts'
import { Dechunker } from './dechunk.ts'
import { now } from './marker.ts'
import type { Scanner } from './scan.ts'

/** The protocol of a server. */
export interface Wire {
  readonly kind: StreamKind
  /** A pattern of the reader's cursor in the server's first message; absent if it has none. */
  readonly cursor?: string
  /** Socket.IO: the channel, if clients subscribe by an event with an acknowledgement. */
  readonly subscribe?: string
  /** The client's first message on a WebSocket; `{channel}` in it is replaced by the path's. */
  readonly hello?: string
  /** Tracks its position, and handles the messages among the events. */
  readonly attentive?: boolean
}

/** One buffer for all reads of the process: a read is scanned before the next one. */
const BUFFER = Buffer.alloc(512 * 1024)
const NOTHING = Buffer.alloc(0)
const PONG = Buffer.from([0x8a, 0x80, 0, 0, 0, 0])
/** Socket.IO: connect to the main namespace, and answer a ping. */
const CONNECT = textFrame('40')
const ALIVE = textFrame('3')
/** Answers a close frame, without a code. */
const CLOSED = Buffer.from([0x88, 0x80, 0, 0, 0, 0])
/** Longest response before the stream starts, bytes. */
const LONGEST_HEAD = 8192

export interface ClientEvents {
  opened(client: Client): void
  /** `reason` is set if it never opened. */
  closed(client: Client, reason: string | undefined): void
  /** The number of reported gaps. */
  gaps?(count: number): void
}

export class Client {
  readonly scanner: Scanner
  readonly wire: Wire
  readonly path: string
  readonly traffic = new Traffic()
  /** The cursor that the server sent at the opening, if the wire has one. */
  cursor = ''
  isOpen = false
  /** When the last events arrived, µs. */
  lastAt = 0
  /** Ms after which the client should reconnect, if the server said so. */
  retry: number | undefined
  readonly #events: ClientEvents
  readonly #attention: Attention | undefined
  #socket: Socket | undefined
  #address: Address | undefined
  #head: Buffer | undefined
  #dechunker: Dechunker | undefined
  #refused: string | undefined
  /** Socket.IO handshake state: 1 after the session, 2 after the connect. Other wires: 1 after the opening message. */
  #greeted = 0
  #from = ''
  /** Sequence number at `cursor`; -1: unknown. */
  #openedAt = -1

  constructor(wire: Wire, path: string, scanner: Scanner, events: ClientEvents) {
    this.wire = wire
    this.path = path
    this.scanner = scanner
    this.#events = events
    if (wire.attentive) this.#attention = new Attention(wire.kind)
  }

  /** Connects or reconnects. `query` is appended to the path; Socket.IO subscribes from `cursor` on. */
  connect(address: Address, query = '', cursor = ''): void {
    this.scanner.cut()
    this.#attention?.cut()
    this.#address = address
    this.#from = cursor
    this.#head = Buffer.alloc(0)
    this.#dechunker = undefined
    this.#greeted = 0
    this.#refused = 'cut before it opened'
    const socket = openSocket(address, BUFFER, (from, bytes, length) => {
      if (this.#socket === from) this.#read(from, bytes, length)
    })
    this.#socket = socket
    this.traffic.use(socket)
    socket.once(address.tls === undefined ? 'connect' : 'secureConnect', () =>
      socket.write(this.#request(address, query)),
    )
    socket.on('error', error => {
      this.#refused = 'code' in error ? `${error.code}: ${error.message}` : error.message
    })
    socket.on('end', () => socket.destroy())
    socket.on('close', () => {
      if (this.#socket !== socket) return
      const opened = this.isOpen
      this.isOpen = false
      this.#socket = undefined
      this.#events.closed(this, opened ? undefined : this.#refused)
    })
  }

  /** A cursor after the newest event; '' if unknown. */
  get position(): string {
    const { id, sequence } = this.#attention ?? { id: '', sequence: -1 }
    const [known, at] = sequence === -1 ? [this.cursor, this.#openedAt] : [id, sequence]
    if (known === '' || at === -1) return known
    const dash = known.lastIndexOf('-')
    return `${known.slice(0, dash)}-${Number(known.slice(dash + 1)) + this.scanner.last - at}`
  }

  /** Pauses or resumes reading. */
  pause(paused: boolean): void {
    if (paused) this.#socket?.pause()
    else this.#socket?.resume()
  }

  /** Resets the connection, so that its port is free at once. */
  cut(): void {
    const socket = this.#socket
    this.#socket = undefined
    this.isOpen = false
    if (this.#address?.tls === undefined) socket?.resetAndDestroy()
    else socket?.destroy()
  }

  #request(address: Address, query: string): string {
    const head = requestHead(address, `${this.path}${query}`)
    if (this.wire.kind === 'sse') return `${head}Accept: text/event-stream\r\n\r\n`
    if (this.wire.kind === 'stream') return `${head}\r\n`
    return (
      `${head}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n` +
      `Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n\r\n`
    )
  }

  #read(socket: Socket, bytes: Buffer, length: number): void {
    if (this.#head !== undefined) this.#begin(socket, bytes, length)
    else if (this.#dechunker === undefined) this.#take(socket, bytes, length)
    else {
      for (const data of this.#dechunker.take(bytes.subarray(0, length)))
        this.#take(socket, data, data.length)
      if (this.#dechunker.ended) socket.destroy()
    }
  }

  #take(socket: Socket, bytes: Buffer, length: number): void {
    const at = now()
    const { scanner } = this
    const { received } = scanner
    if (this.#attention !== undefined) {
      scanner.scan(bytes, length, at)
      const { gaps, pings, farewell } = this.#attention.read(bytes.subarray(0, length), scanner)
      if (gaps > 0) this.#events.gaps?.(gaps)
      if (pings > 0) socket.write(this.wire.kind === 'ws' ? PONG : ALIVE)
      if (farewell) socket.end(CLOSED)
    } else if (length > 3 || !this.#answer(socket, bytes, length)) scanner.scan(bytes, length, at)
    if (scanner.received !== received) this.lastAt = at
  }

  /** Answers a ping that arrived alone. */
  #answer(socket: Socket, bytes: Buffer, length: number): boolean {
    const ping = length === 2 && bytes[0] === 0x89 && bytes[1] === 0
    const engineIoPing = length === 3 && bytes[0] === 0x81 && bytes[1] === 1 && bytes[2] === 0x32
    if (ping) socket.write(PONG)
    else if (engineIoPing) socket.write(ALIVE)
    return ping || engineIoPing
  }

  /** Reads up to the start of the stream. */
  #begin(socket: Socket, bytes: Buffer, length: number): void {
    const came = bytes.subarray(0, length)
    let head = Buffer.concat([this.#head ?? NOTHING, ...(this.#dechunker?.take(came) ?? [came])])
    this.#head = head
    let text = head.toString('latin1', 0, LONGEST_HEAD)
    const body = text.indexOf('\r\n\r\n')
    if (body === -1) return
    const status = text.slice(9, 12)
    if (status !== (this.wire.kind === 'sse' || this.wire.kind === 'stream' ? '200' : '101')) {
      this.#refused = text.slice(0, 400)
      socket.destroy()
      return
    }
    if (
      this.#dechunker === undefined &&
      /\r\ntransfer-encoding: *chunked\r\n/i.test(text.slice(0, body + 2))
    ) {
      this.#dechunker = new Dechunker()
      head = Buffer.concat([head.subarray(0, body + 4), ...this.#dechunker.take(head.subarray(body + 4))])
      this.#head = head
      text = head.toString('latin1', 0, LONGEST_HEAD)
    }
    if (this.wire.kind === 'socket.io' && !this.#greet(socket, text.slice(body))) return
    if (this.wire.hello !== undefined && this.#greeted === 0) {
      this.#greeted = 1
      const channel = new URL(this.path, 'http://localhost').searchParams.get('channel') ?? ''
      socket.write(textFrame(this.wire.hello.replace('{channel}', channel)))
    }
    if (this.wire.cursor !== undefined) {
      const found = new RegExp(this.wire.cursor).exec(text.slice(body))
      if (found === null) return
      this.cursor = found[1] ?? ''
      this.#openedAt = this.scanner.last
    }
    const retry = this.wire.kind === 'sse' ? /^retry: (\d+)$/m.exec(text.slice(body))?.[1] : undefined
    this.retry = retry === undefined ? undefined : Number(retry)
    this.#head = undefined
    this.isOpen = true
    this.#events.opened(this)
    const stream = head.subarray(body + 4)
    this.#take(socket, stream, stream.length)
  }

  /** Engine.IO opens, then the client connects, then Socket.IO confirms the connection. */
  #greet(socket: Socket, said: string): boolean {
    if (this.#greeted === 0 && said.includes('"sid"')) {
      this.#greeted = 1
      socket.write(CONNECT)
    }
    if (this.#greeted === 1 && said.includes('40{"sid"')) {
      this.#greeted = 2
      const { subscribe } = this.wire
      const command = { channel: subscribe, cursor: this.#from === '' ? 'latest' : this.#from }
      if (subscribe !== undefined) socket.write(textFrame(`420["subscribe",${JSON.stringify(command)}]`))
    }
    return this.#greeted === 2
  }
}

/** A text frame from a client, masked with zeros. */
export function textFrame(said: string): Buffer {
  const payload = Buffer.from(said)
  const size =
    payload.length < 126 ? [0x80 | payload.length] : [0xfe, payload.length >> 8, payload.length & 0xff]
  return Buffer.concat([Buffer.from([0x81, ...size, 0, 0, 0, 0]), payload])
}
