// Pusher's routes: one for clients, and those of the server API.

import type { FastifyInstance, FastifyRequest } from 'fastify'
import { WebSocketServer } from 'ws'
import { visitInSlices } from '../../broker/slices.ts'
import { partyOf } from '../../http/address.ts'
import { askWho } from '../../http/auth.ts'
import { SERVED, whenGone } from '../../http/node/served-socket.ts'
import { limitMessages, shareTurns } from '../../http/node/ws-intake.ts'
import { operation } from '../../http/operation.ts'
import { Type } from '../../http/schema.ts'
import { admit } from '../admit.ts'
import { type Arrival, arrivalOf } from '../arrival.ts'
import { takeHandshake } from '../ws-outlet.ts'
import { api } from './api.ts'
import { PusherClient } from './client.ts'
import { pusherFraming } from './framing.ts'
import { CODES, PusherConnection, PusherOutlet } from './outlet.ts'
import type { Socket } from 'node:net'
import type { WebSocket } from 'ws'

/** The maximum bytes of a message, besides the published data; in total if the client may not publish. */
const MESSAGE_ROOM_BYTES = 64 * 1024
/** Versions of the protocol with the messages of version 7. */
const VERSIONS: ReadonlySet<string> = new Set(['5', '6', '7'])

const schema = operation({
  summary: 'Pusher: a client (WebSocket)',
  tag: 'read',
  path: Type.Object({ key: Type.String({ description: "the app's key" }) }),
  query: Type.Object({
    protocol: Type.String({ description: '5 to 7' }),
    '<name>': Type.Optional(Type.Array(Type.String(), { description: 'any other parameter is ignored' })),
  }),
  answers: { 101: { description: 'the connection is a WebSocket' } },
})

export async function pusherRoutes(app: FastifyInstance): Promise<void> {
  const wire = new PusherWire(app)
  app.get(
    '/app/:key',
    {
      schema,
      config: { origin: 'required', handshakes: true, anonymous: true, opens: true },
      // Tokens and keys belong to other protocols; the application's hook identifies clients by cookie here too.
      preValidation: async request => {
        request.identity = await askWho(request)
      },
    },
    async (request, reply) => wire.take(request, reply),
  )
  await app.register(api)
}

class PusherWire {
  readonly #app: FastifyInstance
  readonly #server: WebSocketServer
  readonly #clients = new Set<PusherClient>()

  constructor(app: FastifyInstance) {
    const { access, config } = app.fanwire
    this.#app = app
    this.#server = new WebSocketServer({
      ...SERVED,
      noServer: true,
      maxPayload: config.maxBody + MESSAGE_ROOM_BYTES,
      perMessageDeflate: false,
      handleProtocols: () => false,
    })
    access.on('rules', () => void this.#endStale())
  }

  /** Raises FW_UPGRADE_REQUIRED, FW_TOO_MANY_REQUESTS. */
  take(request: FastifyRequest, reply: Parameters<typeof takeHandshake>[2]): void {
    this.#app.fanwire.limits.holds.check(partyOf(request))
    const arrival = {
      key: (request.params as { key: string }).key,
      protocol: (request.query as Record<string, unknown>).protocol,
      ...arrivalOf(request),
    }
    takeHandshake(this.#server, request, reply, (socket, sink) => this.#serve(socket, sink, arrival))
  }

  /** Must not keep references to the request. */
  #serve(socket: WebSocket, sink: Socket, { key, protocol, ...arrival }: Arriving): void {
    const context = this.#app.fanwire
    shareTurns(socket)
    const outlet = new PusherOutlet(socket, sink)
    const connection = new PusherConnection(context.hub.connections, pusherFraming, outlet)
    whenGone(socket, () => connection.closed())
    const app = context.access.apps?.find(each => each.key === key)
    if (app === undefined) return outlet.refuse(connection, CODES.noApp, 'there is no app with this key')
    const version = typeof protocol === 'string' ? protocol : ''
    if (version === '') return outlet.refuse(connection, CODES.noVersion, 'protocol is missing')
    if (!/^\d+$/.test(version)) return outlet.refuse(connection, CODES.noNumber, 'protocol must be a number')
    if (!VERSIONS.has(version)) return outlet.refuse(connection, CODES.version, 'protocol must be 5, 6 or 7')
    limitMessages(socket, MESSAGE_ROOM_BYTES + (app.clientEvents ? context.config.maxBody : 0))
    const lease = admit(context, connection, arrival)
    if (connection.ended) return
    const client = context.clients.add(connection, arrival, lease)
    const { log: logger } = this.#app
    const served = new PusherClient({ ...arrival, app, context, connection, outlet, client, lease, logger })
    this.#clients.add(served)
    socket.on('message', (data, isBinary) => served.take(data as Buffer, isBinary))
    whenGone(socket, () => {
      this.#clients.delete(served)
      served.close()
      lease?.end()
      context.clients.remove(client)
    })
  }

  /** Ends clients of apps that were removed or have a new secret. */
  #endStale(): Promise<void> {
    const { access } = this.#app.fanwire
    return visitInSlices(this.#clients, client => {
      const { key, secret } = client.app
      if (!access.apps?.some(app => app.key === key && app.secret === secret)) client.end()
    })
  }
}

interface Arriving extends Arrival {
  readonly key: string
  readonly protocol: unknown
}
