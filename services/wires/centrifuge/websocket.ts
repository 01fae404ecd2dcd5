// Clients over WebSocket. The library only does handshakes and parses messages; frames go straight to the socket.

import type { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { type WebSocket, WebSocketServer } from 'ws'
import type { Identity } from '../../broker/access/identity.ts'
import { Connection } from '../../broker/fanout/connection.ts'
import type { CloseReason } from '../../broker/fanout/framing.ts'
import { partyOf } from '../../http/address.ts'
import { SERVED, whenGone } from '../../http/node/served-socket.ts'
import { limitMessages, shareTurns } from '../../http/node/ws-intake.ts'
import { operation } from '../../http/operation.ts'
import { type Arrival, arrivalOf } from '../arrival.ts'
import { takeHandshake, WsOutlet } from '../ws-outlet.ts'
import { disconnectOf } from './codes.ts'
import { type Dialect, jsonInMessages, protobufInMessages, pushesInMessages } from './dialects.ts'
import { Session } from './session.ts'

/** The maximum bytes of a message, besides the published data; in total if the client may not publish. */
const MESSAGE_ROOM_BYTES = 64 * 1024

/** The subprotocol of clients that speak Protobuf. */
const SUBPROTOCOL = 'centrifuge-protobuf'

interface Kind {
  readonly url: string
  readonly summary: string
  readonly oneWay: boolean
  readonly dialect: Dialect
}

const KINDS: readonly Kind[] = [
  {
    url: '/connection/websocket',
    summary: 'Centrifuge: WebSocket',
    oneWay: false,
    dialect: jsonInMessages,
  },
  {
    url: '/connection/uni_websocket',
    summary: 'Centrifuge: WebSocket, one way',
    oneWay: true,
    dialect: pushesInMessages,
  },
]

export async function websocketRoutes(app: FastifyInstance): Promise<void> {
  const { config, limits } = app.fanwire
  const server = new WebSocketServer({
    ...SERVED,
    noServer: true,
    maxPayload: config.maxBody + MESSAGE_ROOM_BYTES,
    perMessageDeflate: false,
    handleProtocols: (offered, { url = '' }) =>
      url.startsWith('/connection/websocket') && offered.has(SUBPROTOCOL) && SUBPROTOCOL,
  })
  for (const kind of KINDS) {
    app.route({
      method: 'GET',
      url: kind.url,
      schema: operation({
        summary: kind.summary,
        tag: 'read',
        answers: { 101: { description: 'the connection is a WebSocket' } },
      }),
      config: { origin: 'required', handshakes: true, opens: true },
      preValidation: async request => limits.holds.check(partyOf(request)),
      handler: async (request, reply) => {
        const arrival = arrivalOf(request)
        const { format, cf_protocol: protocol } = request.query as Record<string, unknown>
        const inProtobuf = format === 'protobuf' || protocol === 'protobuf'
        takeHandshake(server, request, reply, (websocket, socket) => {
          const isProtobuf = !kind.oneWay && (inProtobuf || websocket.protocol === SUBPROTOCOL)
          serve(app, websocket, socket, isProtobuf ? { ...kind, dialect: protobufInMessages } : kind, arrival)
        })
      },
    })
  }
}

/** Closes with this protocol's codes. */
class CentrifugeOutlet extends WsOutlet {
  /** Decides when to read the next message. */
  session: Session | undefined

  override room(): void {
    this.session?.room()
  }

  resume(): void {
    super.room()
  }

  override end(reason: CloseReason): void {
    const { code, reason: text } = disconnectOf(reason)
    this.socket.close(code, text)
  }
}

/** Must not keep references to the request. */
function serve(
  { fanwire: context, log }: FastifyInstance,
  websocket: WebSocket,
  socket: Socket,
  { dialect, oneWay }: Kind,
  arrival: Arrival,
): void {
  const { access, config, hub } = context
  shareTurns(websocket)
  const outlet = new CentrifugeOutlet(websocket, socket)
  const connection = new Connection(hub.connections, dialect.framing, outlet)
  const authenticated = (identity: Identity) => {
    const mayPublish = arrival.refusal === undefined && access.mightPublish(identity)
    limitMessages(websocket, mayPublish ? config.maxBody + MESSAGE_ROOM_BYTES : MESSAGE_ROOM_BYTES)
  }
  authenticated(arrival.identity)
  const session = new Session({
    arrival,
    context,
    connection,
    intake: outlet,
    dialect,
    oneWay,
    authenticated,
    logger: log,
  })
  outlet.session = session
  websocket.on('message', data => session.take(data as Buffer))
  whenGone(websocket, () => session.close())
}
