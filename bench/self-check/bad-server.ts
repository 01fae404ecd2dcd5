// A server that speaks fanwire's wires and is bad in known ways: it loses, repeats and reorders events, and delivers each
// too late. What a load finds out about it is known beforehand.

import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type WebSocket, WebSocketServer } from 'ws'
import { Histogram } from '../load/histogram.ts'
import { now, payload } from '../load/marker.ts'
import type { WireName } from '../load/order.ts'

/** The wires that it speaks. */
export const SPOKEN = ['poll', 'long-poll', 'sse', 'stream', 'ws'] as const satisfies readonly WireName[]

/** Of every hundred events one: which. */
const LOST = 50
const REPEATED = 20
/** Comes after the next one. */
const REORDERED = 70
const HUNDRED = 100
const SIZE = 64
const EPOCH = 'bad'
/** Ms between two looks at the clock. */
const TICK = 2

export interface Faults {
  readonly lose?: boolean
  readonly repeat?: boolean
  readonly reorder?: boolean
  /** Ms from the time that an event's marker says to when it is delivered, at least. */
  readonly delay: number
}

interface Entry {
  readonly sequence: number
  /** µs. */
  readonly time: number
}

/** Where one client stands, and what gives it what is new. */
interface Reader {
  at: number
  wake(): void
}

export class BadServer {
  readonly url: string
  /** From an event's time to when it was written, µs: of every time that it was. */
  readonly written = new Histogram()
  readonly #server: Server
  readonly #sockets = new WebSocketServer({ noServer: true })
  readonly #faults: Faults
  readonly #log: Entry[] = []
  readonly #readers = new Set<Reader>()

  private constructor(server: Server, faults: Faults) {
    this.#server = server
    this.#faults = faults
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    server.on('request', (request, response) => this.#answer(request, response))
    server.on('upgrade', (request, socket, head) =>
      this.#sockets.handleUpgrade(request, socket, head, client => this.#ws(client)),
    )
  }

  static async start(faults: Faults): Promise<BadServer> {
    const server = createServer({ keepAliveTimeout: 60_000 })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return new BadServer(server, faults)
  }

  /** Publishes `count` events, `rate` a second, from number 1 on. Returns when the last one is out. */
  async publish(count: number, rate: number): Promise<void> {
    const began = now()
    const waiting: Entry[] = []
    let made = 0
    await new Promise<void>(resolve => {
      const timer = setInterval(() => {
        const at = now()
        for (; made < count && at >= began + (made * 1e6) / rate; made++) {
          waiting.push({ sequence: made + 1, time: at })
        }
        while (waiting[0] !== undefined && at - waiting[0].time >= this.#faults.delay * 1000) {
          this.#append(waiting.shift() as Entry)
        }
        for (const reader of [...this.#readers]) reader.wake()
        if (made < count || waiting.length > 0) return
        clearInterval(timer)
        resolve()
      }, TICK)
    })
  }

  async close(): Promise<void> {
    for (const client of this.#sockets.clients) client.terminate()
    this.#server.closeAllConnections()
    this.#server.close()
    await once(this.#server, 'close')
  }

  #append(entry: Entry): void {
    const { lose, repeat, reorder } = this.#faults
    const kind = entry.sequence % HUNDRED
    if (lose && kind === LOST) return
    const before = this.#log.at(-1)
    // Two change places.
    if (reorder && kind === REORDERED + 1 && before?.sequence === entry.sequence - 1) {
      this.#log.splice(-1, 1, entry, before)
    } else this.#log.push(entry)
    if (repeat && kind === REPEATED) this.#log.push(entry)
  }

  /** What is new for a reader, as objects; it stands behind it then. */
  #take(reader: Reader, limit = Number.POSITIVE_INFINITY): { id: string; object: string }[] {
    const from = reader.at
    // One that may still change places is not given out.
    const last = this.#log.at(-1)
    const held = this.#faults.reorder && last !== undefined && last.sequence % HUNDRED === REORDERED ? 1 : 0
    reader.at = Math.max(from, Math.min(this.#log.length - held, from + limit))
    const at = now()
    return this.#log.slice(from, reader.at).map(({ sequence, time }, i) => {
      this.written.add(at - time)
      const id = `${EPOCH}-${from + i + 1}`
      return { id, object: `{"channel":"c","id":"${id}","time":1,"data":${payload(sequence, time, SIZE)}}` }
    })
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const { pathname, searchParams } = new URL(request.url ?? '/', this.url)
    const cursor = searchParams.get('cursor') ?? 'latest'
    const reader: Reader = {
      at: cursor === 'latest' ? this.#log.length : Number(cursor.slice(cursor.indexOf('-') + 1)),
      wake: () => {},
    }
    const wire = pathname.slice('/v1/'.length)
    if (wire === 'sse' || wire === 'stream') return this.#stream(wire, reader, response)
    if (wire === 'poll') return this.#page(reader, response, Number(searchParams.get('limit') ?? HUNDRED))
    if (wire !== 'long-poll') return void response.writeHead(404).end()
    const give = () => {
      if (reader.at >= this.#log.length) return
      this.#readers.delete(reader)
      clearTimeout(timer)
      this.#page(reader, response)
    }
    const wait = Number(searchParams.get('wait') ?? 25) * 1000
    const timer = setTimeout(() => {
      this.#readers.delete(reader)
      this.#page(reader, response)
    }, wait)
    reader.wake = give
    this.#readers.add(reader)
    response.once('close', () => {
      clearTimeout(timer)
      this.#readers.delete(reader)
    })
    give()
  }

  #page(reader: Reader, response: ServerResponse, limit = HUNDRED): void {
    const events = this.#take(reader, limit).map(({ object }) => object)
    const more = reader.at < this.#log.length ? ',"more":true' : ''
    const body = `{"events":[${events.join(',')}],"cursor":"${EPOCH}-${reader.at}"${more}}`
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': body.length }).end(body)
  }

  /** Chunked, as a load balancer may make it. */
  #stream(wire: 'sse' | 'stream', reader: Reader, response: ServerResponse): void {
    const cursor = `${EPOCH}-${reader.at}`
    response
      .writeHead(200)
      .write(wire === 'sse' ? `id: ${cursor}\n\nretry: 100\n\n` : `{"open":{"cursor":"${cursor}"}}\n`)
    reader.wake = () => {
      for (const { id, object } of this.#take(reader)) {
        // In two chunks, the boundary within the event.
        const text = wire === 'sse' ? `id: ${id}\ndata: ${object}\n\n` : `${object}\n`
        const cut = text.indexOf('@S') + 9
        response.write(text.slice(0, cut))
        response.write(text.slice(cut))
      }
    }
    this.#readers.add(reader)
    response.once('close', () => this.#readers.delete(reader))
  }

  #ws(client: WebSocket): void {
    const reader: Reader = {
      at: this.#log.length,
      wake: () => {
        for (const { object } of this.#take(reader)) client.send(object)
      },
    }
    client.send(`{"open":{"cursor":"${EPOCH}-${reader.at}"}}`)
    this.#readers.add(reader)
    client.once('close', () => this.#readers.delete(reader))
  }
}
