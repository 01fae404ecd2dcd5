// Requests that a client sends without waiting for responses (pipelining, RFC 9112 section 9.3.2). Node parses
// everything that a read of the socket brings, thousands of requests, and continues to read while nothing is answered;
// a held request costs a hundred times its bytes. Here a connection has at most 32 unanswered requests: later ones
// remain bytes, and reading stops once those fill the socket's buffer. So a connection also begins no more than that in
// one turn of the event loop. A socket that is not read does not report that its client has gone: one that has waited
// long for a response is cut. So is a client that does not read its responses, which the node holds until then.
//
// Relies on: the first listener of an HTTP socket for 'data' is Node's, it accepts the bytes in pieces of any size, and
// Node leaves the reading to listeners once there is another; a request is announced while the piece with the end of
// its head is parsed; `_paused` says that Node wants no more pieces at the moment. Tried on Node 20.19, 20.20, 22.23,
// 24.21 and 26.10.

import { IncomingMessage, type ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { acceptedBytes } from './queued-bytes.ts'

/** Requests of one connection that may be unanswered. */
export const MAX_UNANSWERED = 32

const LINE_END = '\r\n'
const HEAD_END = '\r\n\r\n'
const NOTHING: Buffer = Buffer.alloc(0)

/** Counts the requests of all connections, and checks these connections regularly. */
interface Registry {
  readonly checked: { add(pipeline: Pipeline): void; delete(pipeline: Pipeline): void }
  begun(unanswered: number): void
  over(unanswered: number, left: number): void
}

interface HttpSocket extends Socket {
  _paused?: boolean
}

type OnData = (chunk: Buffer) => void

const pipelines = new WeakMap<Socket, Pipeline>()

/** Intercepts the data between a socket that an HTTP server has just accepted and Node's parser. */
export function beginPipeline(socket: Socket, { protocols, log, fanwire }: FastifyInstance): void {
  const [parse] = socket.listeners('data') as OnData[]
  const { stall, logTimeout } = fanwire.config
  const patience = Math.max(stall, logTimeout)
  if (parse !== undefined) pipelines.set(socket, new Pipeline(socket, parse, protocols, log, patience))
}

/** The socket leaves HTTP. Returns the bytes that arrived and were not parsed. */
export function leavePipeline(socket: Socket): Buffer {
  const pipeline = pipelines.get(socket)
  pipelines.delete(socket)
  return pipeline?.leave() ?? NOTHING
}

/** How many requests of a connection are unanswered. */
export function unansweredOn(socket: Socket): number {
  return pipelines.get(socket)?.unanswered ?? 0
}

class Pipeline {
  readonly #socket: HttpSocket
  readonly #parse: OnData
  readonly #registry: Registry
  readonly #logger: FastifyBaseLogger
  readonly #onData = (chunk: Buffer) => this.#take(chunk)
  readonly #onClose = () => void this.leave()
  /** Not at once: quick responses would trigger the next requests for ever, in one turn of the event loop. */
  readonly #onTurn = () => {
    this.#waits = undefined
    if (!this.#over) this.#socket.resume()
  }
  /** The number of requests without a complete response. */
  unanswered = 0
  /** The newest request, while there are unanswered ones. */
  #last: IncomingMessage | undefined
  /** Where a head ends in the piece that is being parsed, if one does. */
  #headEnd = 0
  /** The remaining bytes of the last request's body, if it has a length. */
  #left = 0
  /** The last three parsed bytes: a head may end in them. */
  #tail = ''
  /** The bytes that are being parsed, and how many of them are parsed. */
  #chunk: Buffer = NOTHING
  #at = 0
  #waits: 'answer' | 'turn' | undefined
  /** How long a paused connection may wait for a response, ms. */
  readonly #patience: number
  #timer: NodeJS.Timeout | undefined
  /** The bytes that the client has sent and accepted, while it has more to read, and the time of the check since when. */
  #progress: number | undefined
  #progressAt = 0
  #over = false

  constructor(
    socket: Socket,
    parse: OnData,
    registry: Registry,
    logger: FastifyBaseLogger,
    patience: number,
  ) {
    this.#patience = patience
    this.#socket = socket
    this.#parse = parse
    this.#registry = registry
    this.#logger = logger
    registry.checked.add(this)
    socket.on('data', this.#onData)
    socket.off('data', parse)
    socket.once('close', this.#onClose)
  }

  announced(request: IncomingMessage, response: ServerResponse): void {
    this.#last = request
    this.#registry.begun(++this.unanswered)
    response.once('close', () => this.#answered())
  }

  #answered(): void {
    if (this.#over) return
    this.#registry.over(this.unanswered, --this.unanswered)
    if (this.unanswered === 0) this.#last = undefined
    if (this.#waits === 'answer') {
      clearTimeout(this.#timer)
      this.#waits = 'turn'
      setImmediate(this.#onTurn)
    }
  }

  leave(): Buffer {
    if (this.#over) return NOTHING
    this.#over = true
    clearTimeout(this.#timer)
    this.#registry.checked.delete(this)
    if (this.unanswered > 0) this.#registry.over(this.unanswered, 0)
    this.#last = undefined
    this.#socket.off('data', this.#onData)
    this.#socket.off('close', this.#onClose)
    return this.#chunk.subarray(this.#at)
  }

  /** Cuts a client that has responses to read, but has neither read nor sent anything for `stall` ms. */
  check(now: number, stall: number): void {
    const socket = this.#socket
    const progress = socket.writableLength > 0 ? socket.bytesRead + acceptedBytes(socket) : undefined
    if (progress !== this.#progress) {
      this.#progress = progress
      this.#progressAt = now
    } else if (progress !== undefined && now - this.#progressAt >= stall) socket.destroy()
  }

  /** Takes input. An error in parsing or handling a request ends its connection instead of the process. */
  #take(chunk: Buffer): void {
    this.#chunk = chunk
    this.#at = 0
    try {
      this.#parseAll()
    } catch (error) {
      this.#logger.error({ err: error }, 'a connection failed, and is closed')
      this.#socket.destroy()
    }
    this.#chunk = NOTHING
  }

  #parseAll(): void {
    // Nothing is parsed after an error, or after the last response.
    while (this.#at < this.#chunk.length && !this.#over && this.#socket.writable) {
      if (this.#isFull) {
        if (this.#waits === undefined) this.#waitForAnswer()
        this.#socket.pause()
        this.#socket.unshift(this.#chunk.subarray(this.#at))
        return
      }
      const before = this.#last
      const piece = this.#chunk.subarray(this.#at, this.#pieceEnd())
      this.#at += piece.length
      this.#tail = (this.#tail + piece.toString('latin1', Math.max(0, piece.length - 3))).slice(-3)
      this.#parse(piece)
      const body = piece.length - this.#headEnd
      this.#left = this.#last === before ? this.#left - piece.length : lengthOf(this.#last) - body
    }
  }

  #waitForAnswer(): void {
    this.#waits = 'answer'
    // Node itself has paused the socket, for a body that is not read yet, or responses that the client does not read.
    if (this.unanswered < MAX_UNANSWERED) return
    this.#timer = setTimeout(() => this.#socket.destroy(), this.#patience)
  }

  get #isFull(): boolean {
    if (this.#waits === 'turn' || this.#socket._paused === true) return true
    // The last one is answered only if its body arrives.
    return this.unanswered >= MAX_UNANSWERED && this.#last?.complete !== false
  }

  /** Ends so that it contains the end of at most one head, which is noted. */
  #pieceEnd(): number {
    this.#headEnd = 0
    const isBody = this.#last?.complete === false
    if (isBody && this.#left > 0) return Math.min(this.#at + this.#left, this.#chunk.length)
    // Chunks: each ends with a line, and no head is shorter.
    if (isBody && this.unanswered >= MAX_UNANSWERED) return this.#behind(LINE_END)
    const seam = this.#tail + this.#chunk.toString('latin1', this.#at, this.#at + 3)
    const at = seam.indexOf(HEAD_END)
    const end = at === -1 ? this.#behind(HEAD_END) : this.#at + at + HEAD_END.length - this.#tail.length
    this.#headEnd = end - this.#at
    // The piece includes the body, if no other head ends in the available bytes.
    return this.#chunk.includes(HEAD_END, end, 'latin1') ? end : this.#chunk.length
  }

  #behind(mark: string): number {
    const found = this.#chunk.indexOf(mark, this.#at, 'latin1')
    return found === -1 ? this.#chunk.length : found + mark.length
  }
}

function lengthOf(request: IncomingMessage | undefined): number {
  return Number(request?.headers['content-length'] ?? 0)
}

export const pipelining = fp(
  async app => {
    app.protocols.each(connection => {
      if (connection instanceof Socket) beginPipeline(connection, app)
    })
    app.addHook('onReady', async () => {
      app.server.prependListener('request', (request, response) => {
        if (request instanceof IncomingMessage) pipelines.get(request.socket)?.announced(request, response)
      })
    })
  },
  { name: 'fanwire-pipelining', dependencies: ['fanwire-protocols'], fastify: '5.x' },
)
