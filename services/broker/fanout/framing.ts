// The interface between the fan-out and the wires: how a wire frames events, gaps, heartbeats and its last message. A
// stretch is encoded once and shared by every reader at its beginning, so framings know no connection.

import type { LogEvent } from '../event/event.ts'
import type { Gap, Position } from '../event/position.ts'

/** Why the node ends a connection, in the words of RFC 6455 section 7.4 and docs/protocol.md#close-codes. */
export interface CloseReason {
  /** For 1001, 1012, 1013 and 4000-4499 clients reconnect with their cursors; for 1008, 1009 and 4500-4999 they do not. */
  readonly code: number
  /** At most 123 bytes (RFC 6455 section 5.5). */
  readonly reason: string
  /** The delay before the client reconnects, ms; undefined if it should not reconnect. */
  readonly retry: number | undefined
  /** What is no longer valid: the client's credentials, or a grant of the application; absent if both still are. */
  readonly lapsed?: 'credentials' | 'grant'
  /** Set if it merely expired: pending events are still delivered. */
  readonly expired?: boolean
}

/** Whether a client that is closed with this code reconnects with its cursor. */
export function reconnects(code: number): boolean {
  return code === 1001 || code === 1012 || code === 1013 || (code >= 4000 && code < 4500)
}

/** How one wire frames events. Every method returns whole frames, which may follow each other in any order. */
export interface Framing {
  /** The wire's name, by which the metrics count. */
  readonly wire: string
  /**
   * Set if an event's cursor names all channels of its connection: with several channels, each connection has its own
   * stretches.
   */
  readonly cursorNamesAllChannels?: true
  /** Set if each stretch is a part of another framing's stretch: that framing, and a function that takes the part. */
  readonly within?: { readonly framing: Framing; view(stretch: Buffer): Buffer }
  /** Sends the client its start position. */
  opening(cursor: string): Buffer
  /**
   * Frames `events[from]` up to, not including, `events[to]`. `cursorAfter` prints the connection's cursor after an event.
   * Default: the event's id.
   */
  stretch(
    events: readonly LogEvent[],
    from: number,
    to: number,
    cursorAfter?: (event: LogEvent) => string,
  ): Buffer
  /** A gap; `cursor` is the connection's cursor after it. */
  gap(channel: string, gap: Gap, cursor: string): Buffer
  /** Reports that the client's selection has no events up to `at`; `cursor` is the connection's cursor after them. */
  passed(channel: string, at: Position, cursor: string): Buffer
  /** Reports that the client lost a channel and continues with its others. If absent, the connection ends instead. */
  dropped?(channel: string, at: Position, reason: CloseReason): Buffer
  /** Set if a connection may continue without channels. */
  readonly mayHaveNone?: true
  /** Shows that the connection is alive; empty if the wire's library sends heartbeats. */
  readonly heartbeat: Buffer
  /** Set if clients answer heartbeats: a client that does not is gone. */
  readonly answered?: true
  /** The last message; empty if the wire has none. */
  closing(reason: CloseReason): Buffer
}
