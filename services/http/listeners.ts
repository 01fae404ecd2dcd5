// The protocols of a node besides HTTP/1.1: TLS on PORT, with HTTP/2 or HTTP/1.1 as the client prefers, and cleartext
// HTTP/2 on one more port. Fastify's HTTP/1.1 server still listens on PORT, and every request becomes one of its own,
// so everything behind it is the same for all protocols.

import { once } from 'node:events'
import type { Server as HttpServer } from 'node:http'
import {
  constants,
  createServer as createHttp2,
  type Http2Server,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2'
import { type AddressInfo, createServer as createListener, type Server, type Socket } from 'node:net'
import { createServer as createTls, TLSSocket, type Server as TlsServer } from 'node:tls'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { Certificate } from './certificate.ts'
import { MAX_HEADERS_BYTES } from './errors.ts'
import { http2StreamOf, isHttp2 } from './exchange.ts'
import { Quota } from '../broker/limits/buckets.ts'
import { AwakeClock } from '../broker/patience.ts'
import { repeat, visitInSlices } from '../broker/slices.ts'
import { NO_PROXY } from './node/unrouted.ts'
import { PIECE_BYTES, Pieces } from './pieces.ts'
import { MAX_STREAMS, Session, sessionOf } from './sessions.ts'

declare module 'fastify' {
  interface FastifyInstance {
    readonly protocols: Protocols
  }
}

/** A session that begins this many requests in one turn of the event loop is cut: it must be resetting most of them. */
const MAX_IN_A_TURN = 3 * MAX_STREAMS
/** The limit of new HTTP/2 sessions of an address. */
const SESSIONS = { burst: 2000, perSecond: 200 }
/** The limit of unanswered requests that an address cancels (CVE-2023-44487). */
const RESETS = { burst: 1000, perSecond: 100 }
/** How long an address that exceeds this limit may begin no sessions, s. */
const BLOCKED_S = 5
/** A session without requests is ended after this, ms: as an idle connection of HTTP/1.1 is. */
const IDLE_MS = 72_000
/** A session that was asked to close and has no more requests is cut after this, ms. */
const CUT_AFTER_MS = 3000
/** All ciphers of TLS 1.3, and those of 1.2 without static RSA keys and CBC. */
const AGREED = {
  minVersion: 'TLSv1.2',
  ciphers: [
    'TLS_AES_256_GCM_SHA384',
    'TLS_CHACHA20_POLY1305_SHA256',
    'TLS_AES_128_GCM_SHA256',
    'ECDHE+AESGCM',
    'ECDHE+CHACHA20',
  ].join(':'),
} as const
/** How long a TLS handshake may take, ms. */
const HANDSHAKE_MS = 10_000

/** A connection or response that is checked regularly. */
interface Checked {
  /** Cuts a client that has read nothing for `stall` ms. `now` is that of an AwakeClock. */
  check(now: number, stall: number): void
}

/** A connection of any kind, as `connectionOf` (exchange.ts) knows it: a socket or an HTTP/2 session. */
type OnOpened = (connection: object) => void

export interface ProtocolParts {
  readonly server: HttpServer
  readonly tls: TlsServer | undefined
  readonly h2c: boolean
  /** How long a client may read nothing of what it was sent, ms. */
  readonly stall: number
  /** Called when a connection was refused. */
  refused(): void
  /** Identifies the client's address; undefined if it is not counted. */
  ownerOf(socket: Socket): string | undefined
}

export class Protocols {
  /** The listening servers: first that of PORT, then that of FANWIRE_H2C_PORT, if it is set. */
  readonly listeners: readonly Server[]
  /** The number of concurrent requests on HTTP/2 sessions and pipelined connections, beyond the first of each. */
  beyond = 0
  /** The number of requests in flight on all connections, without WebSocket handshakes. */
  underWay = 0
  /** The connections that speak HTTP, and large responses over HTTP/2. */
  readonly checked = new Set<Checked>()
  /** Called whenever no request is in flight. */
  onNone = (): void => {}
  /** HTTP/2 sessions that are open. */
  readonly #sessions = new Map<ServerHttp2Session, Socket>()
  readonly #checks: NodeJS.Timeout
  readonly #clock: AwakeClock
  readonly #begun = new Quota(SESSIONS)
  readonly #resets = new Quota(RESETS)
  readonly #refused: () => void
  readonly #ownerOf: ProtocolParts['ownerOf']
  readonly #server: HttpServer
  readonly #h2c: Server | undefined
  readonly #tls: TlsServer | undefined
  readonly #http2: Http2Server
  readonly #opened: OnOpened[] = []
  readonly #known = new WeakSet<object>()

  constructor({ server, tls, h2c, stall, refused, ownerOf }: ProtocolParts) {
    this.#server = server
    this.#tls = tls
    this.#refused = refused
    this.#ownerOf = ownerOf
    this.#h2c = h2c
      ? createListener({ noDelay: true, keepAlive: true, keepAliveInitialDelay: 30_000 })
      : undefined
    this.listeners = this.#h2c === undefined ? [server] : [server, this.#h2c]
    // Node's own limits apply to floods of pings, settings and headers.
    this.#http2 = createHttp2({
      settings: { maxConcurrentStreams: MAX_STREAMS, maxHeaderListSize: MAX_HEADERS_BYTES },
    })
    const take = (request: Http2ServerRequest, response: Http2ServerResponse) => {
      const { stream } = request
      sessionOf(stream)?.take({ stream, request, response })
    }
    this.#http2.on('request', take)
    this.#http2.on('checkExpectation', take)
    this.#http2.on('connect', (_request, response: Http2ServerResponse) => {
      const { error, headers } = NO_PROXY
      const body = JSON.stringify(error)
      response
        .writeHead(error.statusCode, { ...headers, 'content-type': 'application/json; charset=utf-8' })
        .end(body)
    })
    this.#clock = new AwakeClock(stall / 2)
    this.#checks = repeat(() => this.#check(stall), stall / 4)
  }

  /** Called when a request has begun on a connection, which now has that many. */
  begun(unanswered: number): void {
    this.underWay++
    if (unanswered > 1) this.beyond++
  }

  /** Called when all but `left` requests of a connection are over. */
  over(unanswered: number, left: number): void {
    this.beyond -= Math.max(0, unanswered - 1) - Math.max(0, left - 1)
    this.underWay -= unanswered - left
    if (this.underWay === 0) this.onNone()
  }

  /** Calls back for every connection before its first request. */
  each(opened: OnOpened): void {
    this.#opened.push(opened)
  }

  /** Starts serving connections. Existing listeners are notified first. */
  begin(): void {
    const [server, tls] = [this.#server, this.#tls]
    this.#h2c?.on('connection', (socket: Socket) => this.#beginHttp2(socket))
    if (tls === undefined) return void server.on('connection', (socket: Socket) => this.#announce(socket))

    const own = server.listeners('connection') as ((socket: Socket) => void)[]
    const [http1] = own
    if (http1 === undefined) throw new Error('the server takes no connections')
    server.off('connection', http1)
    server.on('connection', (socket: Socket) => {
      // A socket that was given back (upgrades.ts) already speaks TLS.
      if (socket instanceof TLSSocket) return http1.call(server, socket)
      if (socket.destroyed) return
      // HTTP/1.1 handles half-open sockets itself (see below). Before that, there is nothing to answer.
      socket.allowHalfOpen = false
      tls.emit('connection', socket)
    })
    tls.on('secureConnection', socket => {
      if (socket.alpnProtocol === 'h2') return this.#beginHttp2(socket)
      socket.allowHalfOpen = true
      http1.call(server, socket)
      this.#announce(socket)
    })
    tls.on('tlsClientError', (_error, socket) => socket.destroy())
    // Node emits this on the server to which a socket belongs.
    tls.on('clientError', (error, socket) => void server.emit('clientError', error, socket))
  }

  /** Listens on FANWIRE_H2C_PORT if it is set. Returns the port. Raises the errors of listening. */
  async listen(host: string, port: number, backlog?: number): Promise<number | undefined> {
    if (this.#h2c === undefined) return undefined
    this.#h2c.listen({ host, port, backlog })
    await once(this.#h2c, 'listening')
    return (this.#h2c.address() as AddressInfo).port
  }

  /** A large body for a stream, whose client is cut if it does not read it. */
  inPieces(body: Buffer, stream: ServerHttp2Stream): Pieces {
    const pieces = new Pieces(body, stream)
    this.checked.add(pieces)
    stream.once('close', () => this.checked.delete(pieces))
    return pieces
  }

  /** Asks all HTTP/2 clients to send no more requests. Sessions end after their current requests. */
  goAway(): void {
    for (const session of this.#sessions.keys()) this.#end(session)
  }

  /** Ends all HTTP/2 sessions. Cuts those that remain after a while. */
  close(): void {
    if (this.#h2c?.listening) this.#h2c.close()
    this.goAway()
    setTimeout(() => {
      clearInterval(this.#checks)
      for (const socket of this.#sessions.values()) socket.destroy()
    }, CUT_AFTER_MS).unref()
  }

  /** In slices: there may be many connections. */
  async #check(stall: number): Promise<void> {
    this.#clock.tick()
    const { now } = this.#clock
    await visitInSlices(this.checked, each => each.check(now, stall))
  }

  #announce(connection: object): void {
    if (this.#known.has(connection)) return
    this.#known.add(connection)
    for (const opened of this.#opened) opened(connection)
  }

  #beginHttp2(socket: Socket): void {
    if (socket.destroyed) return
    const owner = this.#ownerOf(socket)
    if (owner !== undefined && (!this.#resets.has(owner) || !this.#begun.take(owner))) {
      this.#refused()
      return void socket.destroy()
    }
    const opened = (session: ServerHttp2Session) => this.#follow(session, socket, owner)
    this.#http2.once('session', opened)
    this.#http2.emit('connection', socket)
    this.#http2.off('session', opened)
  }

  #follow(opened: ServerHttp2Session, socket: Socket, owner: string | undefined): void {
    this.#announce(opened)
    const session = new Session(opened, socket, ({ stream, request, response }) => {
      this.#hold(session, stream)
      this.#server.emit('request', request, response)
    })
    this.#sessions.set(opened, socket)
    this.checked.add(session)
    socket.once('close', () => {
      this.#sessions.delete(opened)
      this.checked.delete(session)
    })
    let inATurn = 0
    const nextTurn = () => (inATurn = 0)
    opened.on('stream', stream => {
      session.streams++
      // Turns are counted only from here on.
      if (++inATurn === MAX_STREAMS) setImmediate(nextTurn)
      else if (inATurn === MAX_IN_A_TURN) {
        this.#tooMany(socket, owner)
        // Later input is not examined.
        opened.destroy(undefined, constants.NGHTTP2_ENHANCE_YOUR_CALM)
      }
      stream.once('close', () => {
        session.streams--
        if (owner === undefined || !takenBack(stream, opened)) return
        if (!this.#resets.take(owner)) this.#tooMany(socket, owner)
      })
    })
    opened.setTimeout(IDLE_MS)
    opened.on('timeout', () => {
      if (session.streams > 0) return
      this.#end(opened)
      setTimeout(() => socket.destroy(), CUT_AFTER_MS).unref()
    })
  }

  /** Counts a request until it is over. */
  #hold(session: Session, stream: ServerHttp2Stream): void {
    this.begun(++session.begun)
    stream.once('close', () => this.over(session.begun, --session.begun))
  }

  /** Cuts a connection whose address has cancelled too many requests. */
  #tooMany(socket: Socket, owner: string | undefined): void {
    if (owner !== undefined) this.#resets.exhaust(owner, BLOCKED_S)
    this.#refused()
    // Deferred, since this may run within Node's own read callback (Node 20).
    setImmediate(() => socket.destroy())
  }

  #end(session: ServerHttp2Session): void {
    if (!session.closed && !session.destroyed) session.close()
  }
}

export const protocols = fp(
  async app => {
    const { metrics, config, addresses } = app.fanwire
    const { tlsCert, tlsKey, h2cPort, stall } = config
    let tls: TlsServer | undefined
    if (tlsCert !== undefined && tlsKey !== undefined) {
      const certificate = await Certificate.read({ cert: tlsCert, key: tlsKey }, app.log)
      tls = withCertificate(app, certificate)
    }
    const spoken = new Protocols({
      server: app.server,
      tls,
      h2c: h2cPort !== undefined,
      stall,
      refused: () => metrics.connectionRefused(),
      ownerOf: socket => addresses.ofSocket(socket),
    })
    app.decorate('protocols', spoken)
    app.addHook('onReady', async () => spoken.begin())
    app.addHook('preClose', async () => spoken.close())
    if (tls === undefined && h2cPort === undefined) return
    app.addHook('onSend', (request, reply, body: unknown, done) => {
      const stream = isHttp2(request) ? http2StreamOf(request) : undefined
      if (stream === undefined || stream.destroyed || request.method === 'HEAD') return done(null, body)
      if (!(typeof body === 'string' || Buffer.isBuffer(body)) || body.length <= PIECE_BYTES) {
        return done(null, body)
      }
      const bytes = typeof body === 'string' ? Buffer.from(body) : body
      reply.header('content-length', bytes.length)
      done(null, spoken.inPieces(bytes, stream))
    })
  },
  { name: 'fanwire-protocols', fastify: '5.x' },
)

/** Whether the client reset an unanswered request or violated the protocol, rather than disconnected. */
function takenBack(stream: ServerHttp2Stream, session: ServerHttp2Session): boolean {
  const goesOn = !session.closed && !session.destroyed
  return stream.rstCode !== 0 && !stream.headersSent && (goesOn || stream.errored !== null)
}

/** Creates a TLS server that never listens: it receives accepted connections. */
function withCertificate(app: FastifyInstance, certificate: Certificate): TlsServer {
  const tls = createTls({
    ...certificate.pair,
    ALPNProtocols: ['h2', 'http/1.1'],
    handshakeTimeout: HANDSHAKE_MS,
    ...AGREED,
  })
  certificate.watch(pair => tls.setSecureContext({ ...pair, ...AGREED }))
  app.addHook('onClose', async () => certificate.close())
  return tls
}
