// A client's connection: filters out the events from which it is excluded, and closes with Pusher's codes.

import { Connection } from '../../broker/fanout/connection.ts'
import { type CloseReason, reconnects } from '../../broker/fanout/framing.ts'
import { WsOutlet } from '../ws-outlet.ts'
import { errorMessage, stretchFor } from './framing.ts'

/** 4000-4099: do not reconnect; 4100-4199: reconnect later; 4200-4299: reconnect at once. */
export const CODES = {
  noApp: 4001,
  noNumber: 4006,
  version: 4007,
  noVersion: 4008,
  unauthorized: 4009,
  busy: 4100,
  reconnect: 4200,
  clientEvent: 4301,
} as const

/** Try again later (RFC 6455). */
const TRY_AGAIN_LATER = 1013
const NOT_ALLOWED: ReadonlySet<number> = new Set([4401, 4403])

/** Pusher's code for a node's reason. */
function codeOf({ code }: CloseReason): number {
  if (code === TRY_AGAIN_LATER) return CODES.busy
  return reconnects(code) && !NOT_ALLOWED.has(code) ? CODES.reconnect : CODES.unauthorized
}

export class PusherOutlet extends WsOutlet {
  /** Pusher's code, if the wire ends the connection. */
  #code: number | undefined

  override end(reason: CloseReason): void {
    const code = this.#code ?? codeOf(reason)
    this.sink.write(errorMessage(code, reason.reason))
    this.socket.close(code, reason.reason)
  }

  /** Ends a connection with a Pusher code. */
  refuse(connection: Connection, code: number, reason: string): void {
    this.#code = code
    connection.end({ code, reason, retry: undefined })
  }
}

export class PusherConnection extends Connection {
  /** Its id, by which publishers exclude it. */
  socketId = ''

  override write(bytes: Buffer): void {
    const own = stretchFor(this.socketId, bytes)
    if (own.length > 0) super.write(own)
  }
}
