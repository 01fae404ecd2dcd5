// Socket.IO v4 (its clients 3 and 4) at /socket.io/, with FANWIRE_SOCKET_IO=1. The library does handshakes, sessions
// and heartbeats; commands and deliveries are handled here.

import { createServer, type IncomingMessage } from 'node:http'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Server, Socket } from 'socket.io'
import { isObject, parseJson } from '../../broker/event/json-values.ts'
import type { Config } from '../../config/config.ts'
import { FanwireError, quote } from '../../errors.ts'
import { Connection } from '../../broker/fanout/connection.ts'
import { ANONYMOUS, type Identity } from '../../broker/access/identity.ts'
import { urlOf } from '../../urls.ts'
import { partyOf } from '../../http/address.ts'
import { operation } from '../../http/operation.ts'
import { requireReady } from '../../http/health.ts'
import { forgetHandshake, isHandshake } from '../../http/node/upgrades.ts'
import { isHttp2 } from '../../http/exchange.ts'
import { elements } from '../../broker/event/json-spans.ts'
import { Turns } from '../../http/turns.ts'
import { admit } from '../admit.ts'
import { type Arrival, arrivalOf } from '../arrival.ts'
import { badCommand, Commands, only, SUBSCRIBE_OPTIONS, type Respond } from '../commands.ts'
import { Handshakes, limitMessagesOf, type Session, SocketIoOutlet, tune } from './outlet.ts'
import { Decoder, EMITTED, type Emitted, Encoder } from './parser.ts'

const PACKET = 'the packet'
const PATH = '/socket.io/'
/** The maximum bytes of a packet, besides the published data; in total if the client may not publish. */
const COMMAND_ROOM_BYTES = 64 * 1024
/** A client that sends nothing for this long after its handshake is closed. */
const CONNECT_TIMEOUT_MS = 10_000
/** The minimum time that a client has to answer a heartbeat. */
const HEARTBEAT_ANSWER_MS = 20_000
const NOTHING = Buffer.alloc(0)

const schema = operation({
  summary: 'Socket.IO v4, over polling or WebSocket',
  tag: 'read',
  answers: { 200: { description: 'packets', type: 'text/plain' } },
})

export async function socketIo(app: FastifyInstance): Promise<void> {
  const { config, limits } = app.fanwire
  if (!config.socketIo) return
  const io = await createIo(config)
  const wire = new SocketIoWire(app, io)
  // With several processes on one port, successive polls would reach different processes.
  const polling = config.workers === 1

  // The library reads the bodies.
  app.addContentTypeParser('*', (_request, _payload, done) => done(null))
  app.route({
    method: ['GET', 'POST'],
    url: PATH,
    config: { origin: 'required', handshakes: true, session: 'sid' },
    schema,
    onRequest: async request => {
      const { sid, transport, ...others } = request.query as Record<string, unknown>
      if ([sid, transport, ...Object.values(others)].some(Array.isArray)) {
        throw new FanwireError('FW_BAD_PARAMETER', 'each parameter may occur once')
      }
      if (isHandshake(request.raw) && transport !== 'websocket') {
        throw new FanwireError('FW_BAD_PARAMETER', 'a WebSocket handshake needs transport=websocket')
      }
      // The library treats an empty sid as missing.
      if (sid === undefined || sid === '') {
        wire.requireRoom()
        limits.holds.check(partyOf(request))
      }
      if (transport === 'polling' && !polling) {
        throw new FanwireError(
          'FW_BAD_PARAMETER',
          "this node has several workers and accepts Socket.IO over WebSocket only: transports: ['websocket']",
        )
      }
    },
    handler: async (request, reply) => wire.take(request, reply),
  })
  app.addHook('preClose', done => {
    io.engine.close()
    done()
  })
}

/** Loads the library, only if the wire is switched on. */
async function createIo(config: Config): Promise<Server> {
  const { Server } = await import('socket.io')
  // The library expects a server. This one never listens: requests are handed over to the library.
  return new Server(createServer(), {
    path: PATH,
    serveClient: false,
    connectTimeout: CONNECT_TIMEOUT_MS,
    parser: { Encoder, Decoder },
    transports: config.workers === 1 ? ['polling', 'websocket'] : ['websocket'],
    pingInterval: config.heartbeat,
    pingTimeout: Math.max(HEARTBEAT_ANSWER_MS, config.stall),
    maxHttpBufferSize: config.maxBody + COMMAND_ROOM_BYTES,
    perMessageDeflate: false,
    httpCompression: false,
    wsEngine: Handshakes,
  })
}

const STRANGER: Arrival = { identity: ANONYMOUS, address: '', refusal: undefined, asker: undefined }

class SocketIoWire {
  readonly #app: FastifyInstance
  readonly #io: Server
  /** Sessions that poll, by session id. */
  readonly #polls = new Map<string, { readonly outlet: SocketIoOutlet; readonly turns: Turns<Emitted> }>()
  /** Arrivals, first by the request that began the session, then by the session. */
  readonly #arrivals = new WeakMap<IncomingMessage | Session, Arrival>()
  /** Sessions whose CONNECT is in progress or has been accepted. */
  readonly #connecting = new WeakSet<Session>()
  /** Identities of clients that sent credentials when they connected. */
  readonly #identities = new WeakMap<Socket, Identity>()

  constructor(app: FastifyInstance, io: Server) {
    this.#app = app
    this.#io = io
    io.engine.on('connection', (session: Session) => {
      const arrival = this.#arrivals.get(session.request) ?? STRANGER
      this.#arrivals.set(session, arrival)
      limitMessagesOf(session, this.#maxMessageOf(arrival.identity, arrival))
      tune(session)
    })
    io.use((socket, next) => {
      const { conn: session } = socket
      // The library refuses a second CONNECT only once the first one is complete.
      if (this.#connecting.has(session)) {
        session.close()
        return next()
      }
      this.#connecting.add(session)
      this.#authenticate(socket).then(
        () => next(),
        error => {
          this.#connecting.delete(session)
          next(error)
        },
      )
    })
    io.on('connection', socket => this.#serve(socket))
  }

  /** Requires room for another client. Raises FW_NOT_READY, FW_DRAINING, FW_OVERLOADED, FW_TOO_MANY_CONNECTIONS. */
  requireRoom(): void {
    const { health, config, metrics, pressure } = this.#app.fanwire
    requireReady(health, true)
    pressure.requireEase()
    // Polling sessions have no open connection most of the time.
    if (this.#io.engine.clientsCount < config.maxConnections) return
    metrics.connectionRefused()
    throw new FanwireError(
      'FW_TOO_MANY_CONNECTIONS',
      `the node holds ${config.maxConnections} Socket.IO sessions; try again later`,
    )
  }

  /** Hands a request or a handshake to the library. Raises FW_UPGRADE_REQUIRED, FW_BAD_REQUEST. */
  async take(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    const { engine } = this.#io
    const { raw } = request
    if (urlOf(raw.url ?? '', 'http://localhost') === undefined) {
      throw new FanwireError('FW_BAD_REQUEST', 'the URL is not well-formed')
    }
    this.#arrivals.set(raw, arrivalOf(request))
    if (isHandshake(raw)) {
      reply.hijack()
      forgetHandshake(raw.socket)
      engine.handleUpgrade(raw, raw.socket, NOTHING)
      return
    }
    const { sid, transport } = request.query as Record<string, unknown>
    if (transport === 'websocket') {
      if (!isHttp2(request)) reply.header('upgrade', 'websocket')
      throw new FanwireError('FW_UPGRADE_REQUIRED', 'transport=websocket needs a WebSocket handshake')
    }
    if (raw.method === 'POST') {
      const polls = this.#polls.get(String(sid))
      // Earlier packets are processed first.
      await polls?.turns.empty()
      await polls?.outlet.readable()
      if (raw.destroyed) return polls?.outlet.cut()
    }
    reply.hijack()
    // No `Connection: close` when the node stops: the client's next poll learns that the session has ended.
    for (const [name, value] of Object.entries(reply.getHeaders())) {
      if (value !== undefined) reply.raw.setHeader(name, value)
    }
    engine.handleRequest(raw as Parameters<typeof engine.handleRequest>[0], reply.raw)
  }

  /** A client may send a token or a key when it connects. Raises with `data: { code }`. */
  async #authenticate(socket: Socket): Promise<void> {
    const { token, key } = socket.handshake.auth
    // The library would keep it, of any size, for as long as the connection lasts.
    socket.handshake.auth = {}
    const given = typeof token === 'string' ? { token } : typeof key === 'string' ? { key } : undefined
    if (given === undefined) return
    const { access, limits } = this.#app.fanwire
    const { address } = this.#arrivals.get(socket.conn) ?? STRANGER
    try {
      const identity = await access.credentials(given)
      limits.holds.check({ identity, address })
      this.#identities.set(socket, identity)
    } catch (error) {
      if (!(error instanceof FanwireError)) throw error
      const { code, retry } = error.toJSON().error
      throw Object.assign(new Error(error.message), {
        data: retry === undefined ? { code } : { code, retry },
      })
    }
  }

  /** The maximum length of a client's message, bytes. */
  #maxMessageOf(identity: Identity, { refusal }: Arrival): number {
    const { access, config } = this.#app.fanwire
    const mayPublish = refusal === undefined && access.mightPublish(identity)
    return mayPublish ? config.maxBody + COMMAND_ROOM_BYTES : COMMAND_ROOM_BYTES
  }

  #serve(socket: Socket): void {
    const { conn: session } = socket
    const context = this.#app.fanwire
    const outlet = new SocketIoOutlet(session)
    const connection = new Connection(context.hub.connections, outlet.framing, outlet)
    const arrived = this.#arrivals.get(session) ?? STRANGER
    const identity = this.#identities.get(socket) ?? arrived.identity
    const arrival = { ...arrived, identity }
    context.presence.attend(connection, identity)
    const lease = admit(context, connection, arrival)
    const client = context.clients.add(connection, arrival, lease)
    let maxMessage = 0
    const limit = (identity: Identity) => {
      maxMessage = this.#maxMessageOf(identity, arrival)
      limitMessagesOf(session, maxMessage)
    }
    const commands = new Commands({
      ...arrival,
      context,
      connection,
      outlet,
      client,
      lease,
      authenticated: limit,
      opened: Promise.resolve(),
      logger: this.#app.log,
    })
    const turns = new Turns<Emitted>(emitted => take(emitted, commands, outlet))
    limit(identity)
    const { sid } = session.transport
    if (outlet.polls) this.#polls.set(sid, { outlet, turns })
    session.once('upgrading', () => outlet.release())
    session.once('upgrade', () => {
      this.#polls.delete(sid)
      limitMessagesOf(session, maxMessage)
      // The library first sends what it has buffered for the new transport.
      process.nextTick(() => {
        outlet.upgraded()
        connection.framing = outlet.framing
      })
    })
    // A POST may contain many packets; WebSocket messages already take turns.
    socket.on(EMITTED, (emitted: Emitted) => {
      if (outlet.polls || turns.waiting > 0) turns.take(emitted)
      else take(emitted, commands, outlet)
    })
    socket.on('disconnect', () => {
      this.#polls.delete(sid)
      commands.close()
      lease?.end()
      connection.closed()
      context.clients.remove(client)
      outlet.release()
      // A client that leaves the only namespace has no further use for the session.
      session.close()
    })
  }
}

/** Answers in the acknowledgement if the client expects one; otherwise only sends errors, as an event. */
function take(emitted: Emitted, commands: Commands, outlet: SocketIoOutlet): void {
  const { id } = emitted
  const answer = (text: string) => commands.write(outlet.framing.packet(text))
  const respond = (ok: object) => {
    if (id !== undefined) answer(`3${id}[${JSON.stringify({ ok })}]`)
  }
  commands.take(
    () => {
      const event = parse(emitted)
      return () => run(event, commands, respond)
    },
    error => {
      const body = error.toJSON()
      if (id !== undefined) answer(`3${id}[${JSON.stringify(body)}]`)
      else answer(`2["error",${JSON.stringify(body.error)}]`)
    },
  )
}

async function run({ name, argument }: Event, commands: Commands, respond: Respond): Promise<void> {
  if (name === 'publish') return commands.publish(argument, respond)
  if (name !== 'auth' && name !== 'subscribe' && name !== 'unsubscribe') {
    throw badCommand(`unknown event ${quote(name, 40)}; there are auth, subscribe, unsubscribe, publish`)
  }
  const command = parseJson(argument.toString(), PACKET)
  if (!isObject(command)) {
    throw badCommand(
      `${name} takes an object such as ${name === 'auth' ? '{"token":"…"}' : '{"channel":"news"}'}`,
    )
  }
  if (name === 'auth') return commands.authenticate(command, respond)
  const { channel, ...options } = command
  if (name === 'subscribe') {
    only(command, 'channel', ...SUBSCRIBE_OPTIONS)
    return commands.subscribe(channel, options, respond)
  }
  only(command, 'channel')
  return commands.unsubscribe(channel, respond)
}

interface Event {
  readonly name: unknown
  /** JSON text. */
  readonly argument: Buffer
}

/** The name of the event, and its one argument. Raises FW_BAD_COMMAND, FW_BAD_JSON. */
function parse({ text, binary }: Emitted): Event {
  if (binary) throw badCommand('binary attachments are not supported: send text, such as base64')
  const parts: Buffer[] = []
  try {
    for (const part of elements(Buffer.from(text))) if (parts.push(part) > 2) break
  } catch (cause) {
    throw new FanwireError('FW_BAD_JSON', `${PACKET} is not valid JSON`, { cause })
  }
  const [name, argument, more] = parts
  if (name === undefined) throw badCommand('the event has no name')
  if (argument === undefined || more !== undefined) {
    throw badCommand('an event takes one argument, an object, and an optional acknowledgement')
  }
  return { name: parseJson(name.toString(), PACKET), argument }
}
