// The client's end of a WebSocket connection, and how a wire accepts one.

import type { Socket } from 'node:net'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { WebSocket, WebSocketServer } from 'ws'
import type { Outlet } from '../broker/fanout/connection.ts'
import type { CloseReason } from '../broker/fanout/framing.ts'
import { FanwireError } from '../errors.ts'
import { isHttp2 } from '../http/exchange.ts'
import { queuedBytes } from '../http/node/queued-bytes.ts'
import { forgetHandshake, isHandshake } from '../http/node/upgrades.ts'
import { hold, release } from '../http/node/ws-intake.ts'
import { underWay } from './streaming.ts'

const NOTHING = Buffer.alloc(0)

/** Accepts the handshake of a route with `handshakes`. Raises FW_UPGRADE_REQUIRED if the request is not a handshake. */
export function takeHandshake(
  server: WebSocketServer,
  request: FastifyRequest,
  reply: FastifyReply,
  take: (socket: WebSocket, sink: Socket) => void,
): void {
  const { raw } = request
  if (!isHandshake(raw)) {
    if (!isHttp2(request)) reply.header('upgrade', 'websocket')
    throw new FanwireError(
      'FW_UPGRADE_REQUIRED',
      'this path speaks WebSocket: connect to it with ws:// or wss://',
    )
  }
  reply.hijack()
  const { socket: sink } = raw
  forgetHandshake(sink)
  server.handleUpgrade(raw, sink, NOTHING, socket => {
    // The library itself closes with the right code (1002, 1007, 1009).
    socket.on('error', ignore)
    take(socket, sink)
  })
}

function ignore(): void {}

/**
 * Frames bypass the library and go straight to the socket. This is valid while the library sends no messages, since it
 * queues messages that it compresses. Its pongs and close frames are neither compressed nor queued.
 */
export class WsOutlet implements Outlet {
  readonly sink: Socket
  readonly underWay: number
  protected readonly socket: WebSocket

  constructor(socket: WebSocket, sink: Socket) {
    this.socket = socket
    this.sink = sink
    this.underWay = underWay(sink)
  }

  get open(): boolean {
    // After a close frame nothing may follow (RFC 6455 section 5.5.1).
    return this.socket.readyState === this.socket.OPEN && this.sink.writable
  }

  get queued(): number {
    return queuedBytes(this.sink)
  }

  end({ code, reason }: CloseReason): void {
    this.socket.close(code, reason)
  }

  cut(): void {
    this.socket.terminate()
  }

  /** Stops reading commands. */
  pause(): void {
    hold(this.socket)
  }

  room(): void {
    release(this.socket)
  }
}
