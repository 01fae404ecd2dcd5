// HTTP/2 push: one session per client, on which events are pushed as separate resources, or arrive as lines of the
// request's stream if they are not pushed.

import { type ClientHttp2Session, connect, constants } from 'node:http2'
import { connect as connectTcp, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { Traffic } from '../address.ts'
import { now } from '../marker.ts'
import type { Scanner } from '../scan.ts'
import { isMarker, sequenceAt } from '../scan.ts'
import { COME_BACK, type Follower, jitter, type Part, reasonOf } from './follower.ts'

const ID = /"id":"([^"]+)"/
const OPEN = /^\{"open":\{"cursor":"([^"]*)"\}\}/
const NEWLINE = 0x0a

export class PushFollower implements Follower {
  readonly traffic = new Traffic()
  lastAt = 0
  isOpen = false
  readonly #part: Part
  #session: ClientHttp2Session | undefined
  #begun = false
  #wasCut = false
  #refused = ''
  /** Bytes of an unfinished line. */
  #rest = Buffer.alloc(0)
  /** The id of an event, and its sequence number. */
  #known = { id: '', sequence: -1 }
  #again: NodeJS.Timeout | undefined

  constructor(part: Part) {
    this.#part = part
  }

  get scanner(): Scanner {
    return this.#part.scanner
  }

  start(): void {
    const { address, channel } = this.#part
    const { host, port, tls } = address
    const socket: Socket =
      tls === undefined
        ? connectTcp({ host, port, noDelay: true })
        : connectTls({ host, port, ...tls, ALPNProtocols: ['h2'] })
    this.traffic.use(socket)
    this.#rest = Buffer.alloc(0)
    this.#refused = 'cut before it opened'
    const session = connect(`${tls === undefined ? 'http' : 'https'}://${address.authority}`, {
      settings: { enablePush: true },
      createConnection: () => socket,
    })
    this.#session = session
    session.on('error', error => {
      this.#refused = reasonOf(error)
    })
    session.on('stream', pushed => {
      const pieces: Buffer[] = []
      pushed.on('data', (piece: Buffer) => pieces.push(piece))
      pushed.on('error', () => {})
      pushed.on('end', () => this.#events(Buffer.concat(pieces)))
    })
    const headers = Object.fromEntries(
      Object.entries(address.headers).map(([name, value]) => [name.toLowerCase(), value]),
    )
    const stream = session.request({
      ...headers,
      ':path': `${address.prefix}/v1/push?channel=${channel}&cursor=${this.#cursor()}`,
    })
    stream.on('error', () => {})
    stream.on('response', answer => {
      const status = answer[constants.HTTP2_HEADER_STATUS]
      if (Number(status) !== 200) this.#refused = `HTTP/2 ${status}`
    })
    stream.on('data', (bytes: Buffer) => this.#lines(bytes))
    // Also emitted on a reset.
    stream.on('close', () => session.close())
    session.on('close', () => {
      if (this.#session === session) this.#closed()
    })
  }

  close(): void {
    clearTimeout(this.#again)
    const session = this.#session
    this.#session = undefined
    session?.destroy()
  }

  #cursor(): string {
    const { id, sequence } = this.#known
    if (id === '') return 'latest'
    if (sequence === -1) return id
    const dash = id.lastIndexOf('-')
    return `${id.slice(0, dash)}-${Number(id.slice(dash + 1)) + this.scanner.last - sequence}`
  }

  #lines(bytes: Buffer): void {
    const all = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes])
    const end = all.lastIndexOf(NEWLINE) + 1
    this.#rest = Buffer.from(all.subarray(end))
    const lines = all.subarray(0, end)
    if (!this.isOpen) {
      const cursor = OPEN.exec(lines.toString('latin1', 0, 400))?.[1]
      if (cursor === undefined) return
      this.isOpen = true
      this.#known = { id: cursor, sequence: this.scanner.last }
      if (this.#wasCut) this.#part.account.resumed++
      this.#wasCut = false
      if (!this.#begun) {
        this.#begun = true
        this.#part.begun.opened()
      }
    }
    for (let at = lines.indexOf('{"gap":'); at !== -1; at = lines.indexOf('{"gap":', at + 1)) {
      this.#part.account.gaps++
    }
    this.#events(lines)
  }

  /** Complete events, pushed or as lines. */
  #events(bytes: Buffer): void {
    const { scanner } = this
    const { received } = scanner
    const at = now()
    scanner.cut()
    scanner.scan(bytes, bytes.length, at)
    if (scanner.received === received) return
    this.lastAt = at
    const marker = bytes.indexOf('@S')
    const id = ID.exec(bytes.toString('latin1', 0, Math.max(0, marker)))?.[1]
    if (id !== undefined && isMarker(bytes, marker)) this.#known = { id, sequence: sequenceAt(bytes, marker) }
  }

  #closed(): void {
    const { account, begun } = this.#part
    if (this.isOpen) {
      account.cut++
      this.#wasCut = true
    } else {
      account.wrong(this.#refused)
      if (!this.#begun) {
        this.#begun = true
        begun.failed(this.#refused)
      }
    }
    this.isOpen = false
    this.#again = setTimeout(() => this.start(), jitter(COME_BACK))
  }
}
