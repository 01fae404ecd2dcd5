// WebSocket: GET /v1/ws (RFC 6455). Events flow one way as shared frames, commands the other way.

import websocket from '@fastify/websocket'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { WebSocket } from 'ws'
import { FanwireError } from '../../errors.ts'
import { Connection, type Outlet } from '../../fanout/connection.ts'
import { wsFraming } from '../../fanout/frames.ts'
import { mayPublish } from '../../http/auth.ts'
import type { Context } from '../../http/context.ts'
import { type Position, printCursor } from '../../log/position.ts'
import { readQuery } from '../query.ts'
import { resolveAll } from '../streaming.ts'
import { Commands } from '../ws-commands.ts'

/** What a command may be longer than the data that it publishes, bytes. */
const COMMAND_ROOM = 64 * 1024
/** RFC 6455 section 7.4.1 and the IANA registry: try again later. */
const TRY_AGAIN_LATER = 1013

export async function ws(app: FastifyInstance): Promise<void> {
  const context = app.fanwire
  const rules = { begin: 'latest', maxChannels: context.config.maxChannels, channelsOptional: true } as const

  await app.register(websocket, {
    options: {
      maxPayload: context.config.maxBody + COMMAND_ROOM,
      perMessageDeflate: false,
      clientTracking: false,
    },
  })

  app.route({
    method: 'GET',
    url: '/v1/ws',
    config: { held: true, origin: 'required' },
    // What is wrong with the request is said with a status, before the handshake.
    preValidation: async request => void readQuery(request, rules),
    handler: async (_request, reply) => {
      reply.header('upgrade', 'websocket')
      throw new FanwireError(
        'FW_UPGRADE_REQUIRED',
        'this path speaks WebSocket: connect to it with ws:// or wss://',
      )
    },
    wsHandler: (socket, request) => void serve(context, socket, request, readQuery(request, rules)),
  })
}

async function serve(
  context: Context,
  socket: WebSocket,
  request: FastifyRequest,
  query: ReturnType<typeof readQuery>,
): Promise<void> {
  const { hub } = context
  const outlet = outletOf(socket, request)
  const connection = new Connection(hub, wsFraming, outlet)
  const commands = new Commands(context, connection, outlet, mayPublish(request), request.log)
  // The library closes with the right code by itself (1002, 1007, 1009); there is nothing to add.
  socket.on('error', () => {})
  socket.on('close', () => {
    commands.close()
    connection.closed()
  })
  socket.on('pong', () => {
    connection.unansweredSince = 0
  })
  socket.on('message', (data, isBinary) => commands.take(data as Buffer, isBinary))
  await commands
    .inTurn(async () => {
      const channels = await hub.openAll(query.channels)
      try {
        const positions = await resolveAll(channels, query)
        connection.write(wsFraming.opening(printCursor(positions)))
        if (!outlet.open) return
        for (const [i, channel] of channels.entries()) connection.join(channel, positions[i] as Position)
      } finally {
        for (const channel of channels) channel.release()
      }
    })
    .catch(error => {
      if (!(error instanceof FanwireError))
        request.log.debug({ err: error }, 'a WebSocket could not be served')
      connection.end({
        code: TRY_AGAIN_LATER,
        reason: 'the node can not open the channels right now',
        retry: 0,
      })
    })
}

/** Frames go past the library, straight to the socket: valid as long as no extension is negotiated. */
function outletOf(socket: WebSocket, request: FastifyRequest): Outlet & { pause(): void } {
  const sink = request.raw.socket
  return {
    sink,
    get open() {
      // After a close frame nothing may follow (RFC 6455 section 5.5.1).
      return socket.readyState === socket.OPEN && sink.writable
    },
    end({ code, reason }) {
      socket.close(code, reason)
    },
    cut() {
      socket.terminate()
    },
    room() {
      socket.resume()
    },
    pause() {
      socket.pause()
    },
  }
}
