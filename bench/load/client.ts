// One client of a wire, as little of it as the load generator needs: a socket, a handshake written by hand, and
// a scanner for what follows.

import { randomBytes } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import { now } from './marker.ts'
import type { Scanner } from './scan.ts'

/** How a server is spoken to. */
export interface Wire {
  readonly kind: 'ws' | 'sse' | 'socket.io'
  /** Finds where the reader stands in what the server says first; left out where it does not say it. */
  readonly cursor?: string
}

/** One buffer for all reads of the process: what was read is scanned before the next read. */
const BUFFER = Buffer.alloc(512 * 1024)
const PONG = Buffer.from([0x8a, 0x80, 0, 0, 0, 0])
/** Socket.IO: connect to the main namespace, and answer a ping. */
const CONNECT = Buffer.from([0x81, 0x82, 0, 0, 0, 0, 0x34, 0x30])
const ALIVE = Buffer.from([0x81, 0x81, 0, 0, 0, 0, 0x33])
/** Longest answer before the stream begins, bytes. */
const LONGEST_HEAD = 8192

export interface ClientEvents {
  opened(client: Client): void
  /** `reason` is set where it never opened. */
  closed(client: Client, reason: string | undefined): void
}

export class Client {
  readonly scanner: Scanner
  readonly wire: Wire
  readonly path: string
  /** The cursor that the server gave when it opened, if the wire has one. */
  cursor = ''
  isOpen = false
  /** When bytes came last, µs. */
  lastAt = 0
  readonly #events: ClientEvents
  #socket: Socket | undefined
  #head: Buffer | undefined
  #refused: string | undefined

  constructor(wire: Wire, path: string, scanner: Scanner, events: ClientEvents) {
    this.wire = wire
    this.path = path
    this.scanner = scanner
    this.#events = events
  }

  /** Connects, or connects again. `query` is appended to the path. */
  connect(port: number, query = ''): void {
    this.scanner.cut()
    this.#head = Buffer.alloc(0)
    this.#refused = 'cut before it opened'
    const socket: Socket = connect({
      port,
      host: '127.0.0.1',
      noDelay: true,
      onread: { buffer: BUFFER, callback: length => this.#read(socket, length) },
    })
    this.#socket = socket
    socket.on('connect', () => socket.write(this.#request(port, query)))
    socket.on('error', error => {
      this.#refused = error.message
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

  /** Stops reading, or goes on. */
  pause(paused: boolean): void {
    if (paused) this.#socket?.pause()
    else this.#socket?.resume()
  }

  /** Cuts the connection with a reset, so that its port is free again at once. */
  cut(): void {
    const socket = this.#socket
    this.#socket = undefined
    this.isOpen = false
    socket?.resetAndDestroy()
  }

  #request(port: number, query: string): string {
    const head = `GET ${this.path}${query} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n`
    if (this.wire.kind === 'sse') return `${head}Accept: text/event-stream\r\n\r\n`
    return (
      `${head}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n` +
      `Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n\r\n`
    )
  }

  #read(socket: Socket, length: number): boolean {
    if (this.#socket !== socket) return true
    this.lastAt = now()
    if (this.#head !== undefined) this.#begin(socket, length)
    else if (length > 3 || !this.#answer(socket, length)) this.scanner.scan(BUFFER, length, this.lastAt)
    return true
  }

  /** Answers a ping that came alone. */
  #answer(socket: Socket, length: number): boolean {
    const ping = length === 2 && BUFFER[0] === 0x89 && BUFFER[1] === 0
    const engineIoPing = length === 3 && BUFFER[0] === 0x81 && BUFFER[1] === 1 && BUFFER[2] === 0x32
    if (ping) socket.write(PONG)
    else if (engineIoPing) socket.write(ALIVE)
    return ping || engineIoPing
  }

  /** Reads up to where the stream begins. */
  #begin(socket: Socket, length: number): void {
    const head = Buffer.concat([this.#head ?? BUFFER.subarray(0, 0), BUFFER.subarray(0, length)])
    this.#head = head
    const text = head.toString('latin1', 0, LONGEST_HEAD)
    const body = text.indexOf('\r\n\r\n')
    if (body === -1) return
    const status = text.slice(9, 12)
    if (status !== (this.wire.kind === 'sse' ? '200' : '101')) {
      this.#refused = text.slice(0, 400)
      socket.destroy()
      return
    }
    if (this.wire.kind === 'socket.io') {
      // Engine.IO says hello, then the client connects, then Socket.IO says that it is connected.
      if (!text.includes('"sid"', body)) return
      const asked = text.indexOf('40{"sid"', body)
      if (asked === -1) {
        if (text.lastIndexOf('"sid"') === text.indexOf('"sid"', body)) socket.write(CONNECT)
        return
      }
    }
    if (this.wire.cursor !== undefined) {
      const found = new RegExp(this.wire.cursor).exec(text.slice(body))
      if (found === null) return
      this.cursor = found[1] ?? ''
    }
    this.#head = undefined
    this.isOpen = true
    this.#events.opened(this)
    this.scanner.scan(head, head.length, this.lastAt)
  }
}
