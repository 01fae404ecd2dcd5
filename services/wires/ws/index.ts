// WebSocket: GET /v1/ws (RFC 6455). Events flow one way as shared frames, commands the other way.

import type { IncomingMessage } from 'node:http'
import websocket from '@fastify/websocket'
import type { FastifyInstance } from 'fastify'
import type { WebSocket } from 'ws'
import { FanwireError } from '../../errors.ts'
import { Connection } from '../../broker/fanout/connection.ts'
import { partyOf } from '../../http/address.ts'
import { askToRead } from '../../http/asking.ts'
import type { Identity } from '../../broker/access/identity.ts'
import type { Context } from '../../http/context.ts'
import { SERVED, whenGone } from '../../http/node/served-socket.ts'
import { limitMessages, shareTurns } from '../../http/node/ws-intake.ts'
import { forgetHandshake } from '../../http/node/upgrades.ts'
import { forgetInflater } from '../../http/node/ws-inflater.ts'
import { clientErrorOf } from '../../broker/log/client-error.ts'
import { isHttp2 } from '../../http/exchange.ts'
import { printCursor } from '../../broker/event/position.ts'
import { givenFor, openFor, requireReadable } from '../open-for.ts'
import { operation } from '../../http/operation.ts'
import { PLANS } from '../plan-query.ts'
import { type ReadQuery, readParameters, readQuery } from '../read-query.ts'
import { admit, TRY_AGAIN_LATER } from '../admit.ts'
import { type Arrival, arrivalOf } from '../arrival.ts'
import { Commands } from '../commands.ts'
import { joinAll, requireRoom, resolveAll } from '../streaming.ts'
import { WsOutlet } from '../ws-outlet.ts'
import { wsDeflateFraming } from './deflate.ts'
import { DEFLATE, isDeflated, offerToTake } from './deflate-offer.ts'
import { wsFraming } from './framing.ts'
import { WsCommands } from './commands.ts'

/** The maximum bytes of a command, besides the published data; in total if it publishes none. */
const COMMAND_ROOM_BYTES = 64 * 1024
/** The close code after which reconnecting does not help. */
const REFUSED = 4500

const QUERY = readParameters(PLANS)

const schema = operation({
  summary: 'WebSocket (RFC 6455): events, and commands',
  tag: 'read',
  query: QUERY,
  answers: { 101: { description: 'the connection is a WebSocket' } },
})

export async function ws(app: FastifyInstance): Promise<void> {
  const context = app.fanwire
  const { maxBody, wsDeflate } = context.config
  const deflateFraming = wsDeflateFraming(wsDeflate)
  const rules = {
    begin: 'latest',
    maxChannels: context.config.maxChannels,
    channelsOptional: true,
    query: QUERY,
  } as const

  await app.register(websocket, {
    options: {
      ...SERVED,
      maxPayload: maxBody + COMMAND_ROOM_BYTES,
      perMessageDeflate: wsDeflate > 0 && DEFLATE,
      // A client that offers only unknown protocols is answered without one (RFC 6455 section 4.2.2).
      handleProtocols: () => false,
      // The part of a server that the library needs: an emitter of handshakes.
      server: app.handshakes as unknown as typeof app.server,
    },
  })
  // The plugin would destroy the socket of a refused handshake before the client has received the response.
  app.addHook('onRequest', async request => {
    request.ws = false
  })

  app.route({
    method: 'GET',
    url: '/v1/ws',
    schema,
    config: { origin: 'required' },
    // An invalid request is answered with a status, before the handshake.
    preValidation: async request => {
      const query = readQuery(request, rules)
      if (context.access.asking !== undefined) await askToRead(request, query)
      const { identity } = request
      requireReadable({ access: context.access, identity }, query)
      context.limits.holds.check(partyOf(request), query.channels.length)
      const { headers } = request.raw
      const offers = wsDeflate > 0 ? headers['sec-websocket-extensions'] : undefined
      headers['sec-websocket-extensions'] = offers === undefined ? undefined : offerToTake(offers)
    },
    handler: async (request, reply) => {
      if (!isHttp2(request)) reply.header('upgrade', 'websocket')
      throw new FanwireError(
        'FW_UPGRADE_REQUIRED',
        'this path speaks WebSocket: connect to it with ws:// or wss://',
      )
    },
    wsHandler: (socket, request) => {
      const outlet = new WsOutlet(socket, request.raw.socket)
      const framing = isDeflated(socket) ? deflateFraming : wsFraming
      const connection = new Connection(context.hub.connections, framing, outlet)
      const query = readQuery(request, rules)
      connection.endsWithChannels = query.channels.length > 0
      serve(context, app.log, { socket, connection, outlet, query, arrival: arrivalOf(request) })
      forget(socket, request.raw)
    },
  })
}

interface Served {
  readonly socket: WebSocket
  readonly connection: Connection
  readonly outlet: WsOutlet
  readonly query: ReadQuery
  readonly arrival: Arrival
}

/** Must not keep references to the request. */
function serve(
  context: Context,
  logger: FastifyInstance['log'],
  { socket, connection, outlet, query, arrival }: Served,
): void {
  const { identity, refusal } = arrival
  const { access, clients, config } = context
  shareTurns(socket)
  const limit = (identity: Identity) => {
    const mayPublish = refusal === undefined && access.mightPublish(identity)
    limitMessages(socket, mayPublish ? config.maxBody + COMMAND_ROOM_BYTES : COMMAND_ROOM_BYTES)
  }
  limit(identity)
  context.presence.attend(connection, identity)
  const lease = admit(context, connection, arrival, query.channels.length)
  const client = clients.add(connection, arrival, lease)
  const opened = connection.ended
    ? Promise.resolve()
    : join(context, connection, outlet, query, identity, logger)
  // Most clients never send anything.
  let commands: WsCommands | undefined
  socket.on('message', (data, isBinary) => {
    commands ??= new WsCommands(
      new Commands({
        ...arrival,
        context,
        connection,
        outlet,
        client,
        lease,
        authenticated: limit,
        opened,
        logger,
      }),
    )
    commands.take(data as Buffer, isBinary)
    forgetInflater(socket)
  })
  socket.on('pong', () => {
    connection.answered()
  })
  whenGone(socket, () => {
    commands?.close()
    lease?.end()
    connection.closed()
    clients.remove(client)
  })
}

/** Opens the channels that the URL names. Does not raise: a failure ends the connection. */
async function join(
  { hub, access }: Context,
  connection: Connection,
  outlet: WsOutlet,
  query: ReadQuery,
  identity: Identity,
  logger: FastifyInstance['log'],
): Promise<void> {
  try {
    await openFor({ hub, access, identity }, query, async channels => {
      const positions = await resolveAll(channels, query)
      if (!outlet.open) return
      // The rules may have changed since the check.
      requireReadable({ access, identity }, query)
      const given = givenFor({ access, identity }, query)
      requireRoom(channels, given)
      connection.write(wsFraming.opening(printCursor(positions)))
      joinAll(connection, channels, positions, given)
    })
  } catch (error) {
    const refusal = clientErrorOf(error)
    if (refusal === undefined) logger.error({ err: error }, 'channels could not be opened')
    if (refusal === undefined || refusal.retryable) {
      const reason = 'the node cannot open the channels at the moment'
      connection.end({ code: TRY_AGAIN_LATER, reason, retry: 0 })
    } else connection.end({ code: REFUSED, reason: refusal.code, retry: 0 })
  }
}

/** Releases references that the handshake left behind. */
function forget(socket: WebSocket, { socket: raw }: IncomingMessage): void {
  setImmediate(() => {
    // The library itself closes with the right code (1002, 1007, 1009).
    socket.removeAllListeners('error')
    socket.on('error', ignore)
    forgetHandshake(raw)
  })
}

function ignore(): void {}
