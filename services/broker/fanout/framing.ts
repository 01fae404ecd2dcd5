// The interface between the fan-out and the wires: how a wire frames events, gaps, heartbeats and its last message. A
// stretch is encoded once and shared by every reader at its beginning, so framings know no connection.

import type { LogEvent } from '../event/event.ts'
import type { Gap, Position } from '../event/position.ts'

/** Why the node ends a connection, in the words of RFC 6455 section 7.4 and docs/protocol.md#close-codes. */
export interface CloseReason {
  /** 1001, 1012, 1013 and 4000-4499: reconnect with your cursor; 1008, 1009 and 4500-4999: don't. */
  readonly code: number
  /** At most 123 bytes (RFC 6455 section 5.5). */
  readonly reason: string
  /** Wait this long before reconnecting, ms; undefined: there is no point in reconnecting. */
  readonly retry: number | undefined
  /** What is not valid any more: the client's credentials, or what the application granted; absent: neither. */
  readonly lapsed?: 'credentials' | 'grant'
  /** Only its time is over: pending events are still delivered. */
  readonly expired?: boolean
}

/** Whether a client that is closed with this code reconnects with its cursor. */
export function reconnects(code: number): boolean {
  return code === 1001 || code === 1012 || code === 1013 || (code >= 4000 && code < 4500)
}

/** How one wire frames events. Every method gives whole frames that may follow each other in any order. */
export interface Framing {
  /** The wire's name, by which the metrics count. */
  readonly wire: string
  /**
   * An event's cursor names all channels of its connection, so with several channels a stretch is encoded for one
   * connection alone.
   */
  readonly cursorNamesAllChannels?: true
  /** If each stretch is a view of another framing's: that framing, and how to take the view. */
  readonly within?: { readonly framing: Framing; view(stretch: Buffer): Buffer }
  /** Sends the client its start position. */
  opening(cursor: string): Buffer
  /**
   * `events[from]` up to, not including, `events[to]`. `cursorAfter` prints the connection's cursor after an event;
   * without it the cursor is the event's id.
   */
  stretch(
    events: readonly LogEvent[],
    from: number,
    to: number,
    cursorAfter?: (event: LogEvent) => string,
  ): Buffer
  /** A gap; `cursor` is the connection's cursor after it. */
  gap(channel: string, gap: Gap, cursor: string): Buffer
  /** The client wants none of the events up to `at`; `cursor` is the connection's cursor after them. */
  passed(channel: string, at: Position, cursor: string): Buffer
  /** A channel was taken from the connection, which continues with its others; absent: the connection ends. */
  dropped?(channel: string, at: Position, reason: CloseReason): Buffer
  /** Even the last channel can be taken from a connection, which continues without any. */
  readonly mayHaveNone?: true
  /** Shows that the connection is alive; empty where the wire's library sends heartbeats. */
  readonly heartbeat: Buffer
  /** Clients answer heartbeats; a client that does not is gone. */
  readonly answered?: true
  /** The last message; empty where the wire has none. */
  closing(reason: CloseReason): Buffer
}
