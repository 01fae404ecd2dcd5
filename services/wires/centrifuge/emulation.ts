// Clients over HTTP: they read a response that does not end, and send commands by POST /emulation.

import { randomBytes } from 'node:crypto'
import type { FastifyBaseLogger, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { Inbox } from '../../broker/control/inbox.ts'
import { withoutMark } from '../../broker/event/json-spans.ts'
import { Connection } from '../../broker/fanout/connection.ts'
import { FanwireError } from '../../errors.ts'
import { partyOf } from '../../http/address.ts'
import { publishRefusalOf } from '../../http/auth.ts'
import { takeBodies, wholeBody } from '../../http/body.ts'
import { mediaType } from '../../http/content-type.ts'
import { isHttp2 } from '../../http/exchange.ts'
import type { Context } from '../../http/context.ts'
import { takesChunks } from '../../http/open-ended.ts'
import { operation, text } from '../../http/operation.ts'
import { checkedQuery } from '../../http/query.ts'
import { Type } from '../../http/schema.ts'
import { arrivalOf } from '../arrival.ts'
import { begin, whenGone } from '../streaming.ts'
import { badRequest, SLOW } from './codes.ts'
import {
  type BodyDialect,
  jsonInLines,
  jsonInSse,
  protobufInBody,
  pushesInLines,
  pushesInSse,
} from './dialects.ts'
import { parseObject } from './json.ts'
import { parseEmulation } from './protobuf.ts'
import { Session } from './session.ts'

/** The maximum bytes of a body, besides the published data; in total if the client may not publish. */
const BODY_ROOM_BYTES = 64 * 1024

const CONNECT = Type.Object({ cf_connect: text('the connect command, as JSON') })
const STREAM = 'text/event-stream; charset=utf-8'
const LINES = 'application/json; charset=utf-8'

interface Kind {
  readonly method: 'GET' | 'POST'
  readonly url: string
  readonly summary: string
  readonly dialect: BodyDialect
  readonly contentType: string
  readonly oneWay: boolean
}

const KINDS: readonly Kind[] = [
  {
    method: 'POST',
    url: '/connection/http_stream',
    summary: 'HTTP streaming',
    dialect: jsonInLines,
    contentType: LINES,
    oneWay: false,
  },
  {
    method: 'GET',
    url: '/connection/sse',
    summary: 'server-sent events',
    dialect: jsonInSse,
    contentType: STREAM,
    oneWay: false,
  },
  {
    method: 'POST',
    url: '/connection/uni_http_stream',
    summary: 'HTTP streaming, one way',
    dialect: pushesInLines,
    contentType: LINES,
    oneWay: true,
  },
  {
    method: 'GET',
    url: '/connection/uni_sse',
    summary: 'server-sent events, one way',
    dialect: pushesInSse,
    contentType: STREAM,
    oneWay: true,
  },
  {
    method: 'POST',
    url: '/connection/uni_sse',
    summary: 'server-sent events, one way',
    dialect: pushesInSse,
    contentType: STREAM,
    oneWay: true,
  },
]

/** The maximum waiting messages of a session that other nodes forwarded. */
const MOST_WAITING = 64

/** Admits requests with commands. They wait while the session is paused. */
class Intake {
  #paused = false
  #waiting: (() => void)[] = []

  get full(): boolean {
    return this.#waiting.length >= MOST_WAITING
  }

  pause(): void {
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
    for (const resolve of this.#waiting.splice(0)) resolve()
  }

  /** Returns when there is room. */
  async open(): Promise<void> {
    while (this.#paused) await new Promise<void>(resolve => this.#waiting.push(resolve))
  }
}

interface Emulated {
  readonly session: Session
  readonly connection: Connection
  readonly intake: Intake
}

/** Commands of a client, as its transport sends them. */
interface Message {
  readonly session: string
  readonly data: Buffer
}

/** Forwards commands that arrive on any node to the node that holds the client's response. */
class Sessions {
  readonly #sessions = new Map<string, Emulated>()
  readonly #nodes: Context['nodes']
  readonly #inbox: Inbox

  constructor({ log, nodes }: Context, logger: FastifyBaseLogger) {
    this.#nodes = nodes
    const received = (message: unknown) => {
      const { session, data } = message as { readonly session: string; readonly data: string }
      this.#receive({ session, data: Buffer.from(data, 'base64') })
    }
    this.#inbox = new Inbox({ log, logger, node: nodes.id, received })
  }

  /** Returns once other nodes can forward commands to this one, if the log allows. Does not raise. */
  open(): Promise<unknown> {
    return this.#inbox.open()
  }

  close(): void {
    this.#inbox.close()
  }

  add(id: string, emulated: Emulated): void {
    this.#sessions.set(id, emulated)
  }

  remove(id: string): void {
    this.#sessions.delete(id)
  }

  /** Handles a message of a session that was opened on `node`. Raises FW_NOT_FOUND, LogUnavailable. */
  async take(message: Message, node: unknown): Promise<void> {
    const found = this.#sessions.get(message.session)
    if (found !== undefined) return take(found, message)
    const other = this.#nodes.list().find(({ id }) => id === node && id !== this.#nodes.id)
    if (other === undefined) throw new FanwireError('FW_NOT_FOUND', 'there is no such session: connect again')
    await this.#inbox.send(other.id, { ...message, data: message.data.toString('base64') })
  }

  #receive(message: Message): void {
    const found = this.#sessions.get(message.session)
    if (found === undefined) return
    // Other nodes answer the client's requests, so nothing slows it down.
    if (found.intake.full) found.connection.end({ code: SLOW, reason: 'too many commands', retry: undefined })
    else void take(found, message)
  }
}

async function take({ intake, session }: Emulated, { data }: Message): Promise<void> {
  await intake.open()
  session.take(data)
}

const BYTES = 'application/octet-stream'
const IN_PROTOBUF: Kind = {
  method: 'POST',
  url: '/connection/http_stream',
  summary: 'HTTP streaming',
  dialect: protobufInBody,
  contentType: BYTES,
  oneWay: false,
}

/** Whether an EventSource reads the response. */
function isEventSource({ method, contentType }: Kind): boolean {
  return method === 'GET' && contentType === STREAM
}

/** Whether the request is in Protobuf. */
function sendsBytes(request: FastifyRequest): boolean {
  return mediaType(request) === BYTES
}

export async function emulationRoutes(app: FastifyInstance): Promise<void> {
  const { access, config, nodes } = app.fanwire
  const sessions = new Sessions(app.fanwire, app.log)
  app.addHook('onClose', async () => sessions.close())
  takeBodies(app)

  for (const kind of KINDS) {
    app.route({
      method: kind.method,
      url: kind.url,
      schema: operation({
        summary: `Centrifuge: ${kind.summary}`,
        tag: 'read',
        ...(kind.method === 'GET' ? { query: CONNECT } : {}),
        answers: { 200: { description: 'as the protocol says', type: '*/*' } },
      }),
      config: { origin: 'required', opens: true, ...(isEventSource(kind) ? { sse: true } : {}) },
      handler: async (request, reply) => {
        const isProtobuf = kind.dialect === jsonInLines && sendsBytes(request)
        const message = kind.method === 'GET' ? Buffer.from(connectOf(request)) : await firstOf(request)
        if (!kind.oneWay) await sessions.open()
        serve(request, reply, isProtobuf ? IN_PROTOBUF : kind, message)
      },
    })
  }

  app.post(
    '/emulation',
    {
      schema: operation({
        summary: 'Centrifuge: commands of a client over HTTP',
        tag: 'read',
        answers: { 204: { description: 'the commands are accepted' } },
      }),
    },
    async (request, reply) => {
      const { node, ...message } = emulatedOf(await bodyOf(request), sendsBytes(request))
      await sessions.take(message, node)
      return reply.code(204).send()
    },
  )

  function firstOf(request: FastifyRequest): Promise<Buffer> {
    const mayPublish = publishRefusalOf(request) === undefined && access.mightPublish(request.identity)
    return bodyOf(request, mayPublish ? undefined : BODY_ROOM_BYTES)
  }

  async function bodyOf(request: FastifyRequest, most = config.maxBody + BODY_ROOM_BYTES): Promise<Buffer> {
    return wholeBody(request, most, `a body may have at most ${most} bytes`)
  }

  /** The first message connects the client. Raises FW_TOO_MANY_REQUESTS, FW_BAD_COMMAND. */
  function serve(request: FastifyRequest, reply: FastifyReply, kind: Kind, message: Buffer): void {
    const { fanwire: context, log } = request.server
    context.limits.holds.check(partyOf(request))
    const { chunked, plain } = kind.dialect
    const commands = chunked.parse(message)
    const arrival = arrivalOf(request)
    const dialect = !isHttp2(request) && takesChunks(request.raw) ? chunked : plain
    const framing = { chunked: chunked.framing, plain: plain.framing }
    const begun = begin(request, reply, { framing, contentType: kind.contentType }, '')
    if (begun === undefined) return
    const intake = new Intake()
    const connection = new Connection(context.hub.connections, begun.framing, begun.outlet)
    const id = randomBytes(18).toString('base64url')
    const session = new Session({
      arrival,
      context,
      connection,
      intake,
      dialect,
      oneWay: kind.oneWay,
      emulation: kind.oneWay ? undefined : { session: id, node: nodes.id },
      logger: log,
    })
    begun.outlet.room = () => session.room()
    if (!kind.oneWay) sessions.add(id, { session, connection, intake })
    whenGone(begun.closes, connection, () => {
      sessions.remove(id)
      session.close()
      intake.resume()
    })
    session.takeAll(commands)
  }
}

/** Raises FW_BAD_PARAMETER, FW_BAD_COMMAND. */
function connectOf(request: FastifyRequest): string {
  const { cf_connect: connect } = checkedQuery(request, CONNECT)
  return connect ?? ''
}

/** Raises FW_BAD_COMMAND. */
function emulatedOf(body: Buffer, inBytes: boolean): Message & { readonly node: unknown } {
  const { session, node, data } = inBytes ? parseEmulation(body) : parseObject(withoutMark(body))
  if (typeof session === 'string' && (typeof data === 'string' || data instanceof Buffer))
    return { session, node, data: Buffer.from(data) }
  throw badRequest('the body must be {"session":"…","node":"…","data":"…"}')
}
