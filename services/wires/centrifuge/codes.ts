// Errors and close reasons as Centrifuge's numbers. Below 3500 and from 4000 to 4499 clients reconnect.

import { CredentialsRefused } from '../../broker/access/access.ts'
import { type CloseReason, reconnects } from '../../broker/fanout/framing.ts'
import { type ErrorCode, FanwireError } from '../../errors.ts'
import type { Data } from './protocol.ts'

const INTERNAL = 100
const BAD_REQUEST = 107
const TOKEN_EXPIRED = 109

const NUMBERS: Partial<Record<ErrorCode, number>> = {
  FW_UNAUTHORIZED: 101,
  FW_BAD_CHANNEL: 102,
  FW_FORBIDDEN: 103,
  FW_FORBIDDEN_ORIGIN: 103,
  FW_NOT_FOUND: 104,
  FW_ALREADY_SUBSCRIBED: 105,
  FW_TOO_MANY_CHANNELS: 106,
  FW_TOO_LARGE: 106,
  FW_NO_PRESENCE: 108,
  FW_NOT_SUPPORTED: 108,
  FW_CHANNEL_ENDED: 108,
  FW_TOO_MANY_REQUESTS: 111,
  FW_OFFSET_GONE: 112,
}

export interface ErrorReply {
  readonly code: number
  readonly message: string
  /** Set if clients retry, since the same request may succeed later. */
  readonly temporary?: true
}

export function errorReply(error: FanwireError): ErrorReply {
  const number = NUMBERS[error.code] ?? (error.statusCode < 500 ? BAD_REQUEST : INTERNAL)
  const code = isOutdated(error) ? TOKEN_EXPIRED : number
  const temporary = error.retryable || code === INTERNAL
  return { code, message: `${error.code}: ${error.message}`, ...(temporary ? { temporary } : {}) }
}

/** Whether a fresh token of the same user may be accepted: clients request one. */
export function isOutdated(error: unknown): boolean {
  return error instanceof CredentialsRefused && (error.outcome === 'expired' || error.outcome === 'revoked')
}

export interface Disconnect {
  readonly code: number
  readonly reason: string
}

const SHUTDOWN = 3001
export const SERVER_ERROR = 3004
const EXPIRED = 3005
const SUBSCRIPTION_EXPIRED = 3006
export const SLOW = 3008
export const INSUFFICIENT_STATE = 3010
const FORCE_RECONNECT = 3011
export const INVALID_TOKEN = 3500
export const BAD_COMMAND = 3501
const FORCE_DISCONNECT = 3503
/** For one-way transports, where commands can't be answered. */
export const REFUSED = 3507
export const NOT_AVAILABLE = 3508

const DISCONNECTS: Readonly<Record<number, number>> = {
  1001: SHUTDOWN,
  1012: SHUTDOWN,
  1013: SERVER_ERROR,
  4001: SLOW,
  4002: SLOW,
}

/** The disconnect for a close reason. This wire's own codes stay unchanged. */
export function disconnectOf({ code, reason, lapsed }: CloseReason): Disconnect {
  if (code >= 3000 && code < 4000) return { code, reason }
  if (lapsed !== undefined) return { code: lapsed === 'grant' ? SUBSCRIPTION_EXPIRED : EXPIRED, reason }
  return { code: DISCONNECTS[code] ?? (reconnects(code) ? FORCE_RECONNECT : FORCE_DISCONNECT), reason }
}

export function clientReconnects({ code }: Disconnect): boolean {
  return code < 3500 || (code >= 4000 && code < 4500)
}

/** Why a client loses a channel; from 2500 on it resubscribes. */
export const UNSUBSCRIBED = { byServer: 2000, insufficient: 2500, expired: 2501 } as const

export function unsubscribeOf({ reason, lapsed }: CloseReason): Disconnect {
  return { code: lapsed === undefined ? UNSUBSCRIBED.byServer : UNSUBSCRIBED.expired, reason }
}

export function offsetGone(): FanwireError {
  return new FanwireError('FW_OFFSET_GONE', 'events after the offset are no longer available')
}

export function notSupported(message: string): FanwireError {
  return new FanwireError('FW_NOT_SUPPORTED', message)
}

/** Raises FW_TOO_LARGE. */
export function requireSize({ data }: Data, most: number): void {
  if (data.length > most) throw new FanwireError('FW_TOO_LARGE', `the data may have at most ${most} bytes`)
}

export function badRequest(message: string): FanwireError {
  return new FanwireError('FW_BAD_COMMAND', message)
}
