// The interface to the Redis at one URL: a single server (single.ts) or a cluster (cluster.ts). Both follow failovers and
// slot migrations automatically.

import type { Draft } from '../../event/event.ts'
import type { Logger } from '../../logger.ts'
import type { LogUnavailable, Receipt } from '../log.ts'
import type { Sending } from './connection.ts'
import type { Argument } from './resp.ts'
import type { Names, RetentionArgument, Scripts } from './scripts.ts'
import type { Endpoint } from './url.ts'

/** Notifications for feeds. */
export interface TopologyEvents {
  /** Called with a pub/sub message, valid only during the call. Returns false if nobody follows that channel. */
  message(name: string, payload: Buffer): boolean
  /** Called when names are subscribed again: messages in between are missing. */
  renewed(names: readonly string[]): void
}

export interface TopologyOptions {
  /** The server, the sentinels that name it, or servers of a cluster. */
  readonly endpoint: Endpoint
  /** Whether Redis is a cluster. */
  readonly sharded: boolean
  readonly scripts: Scripts
  readonly retention: RetentionArgument
  readonly names: Names
  /** How long a command may take, ms. */
  readonly timeout: number
  readonly logger: Logger
  readonly events: TopologyEvents
}

/** One EVALSHA, or a PUBLISH. */
export interface Call extends Sending {
  /** Default: EVALSHA. */
  readonly command?: 'publish' | 'spublish'
  readonly args: Argument[]
  /** Whether it may be sent again after the scripts were flushed. */
  readonly again?: boolean
}

export interface Topology {
  /** The number of reconnects. */
  readonly reconnects: number
  /** Connects. Raises LogUnavailable, LogRefused. */
  open(): Promise<void>
  /** Appends to one channel, never twice. Raises LogUnavailable. */
  append(channel: string, drafts: readonly Draft[]): Promise<Receipt[]>
  /** Publishes a message on a channel's pub/sub channel, after the channel's earlier appends. Raises LogUnavailable. */
  relay(channel: string, message: Buffer): Promise<void>
  /** Calls a script that works on channels of one slot. Raises LogUnavailable. */
  call(slot: number, call: Call): Promise<unknown>
  /** The slot of a channel, or of its pub/sub channel. */
  slot(name: string): number
  /** See Subscriptions. */
  subscribe(name: string): Promise<void>
  unsubscribe(name: string): void
  doubt(name: string): void
  /** Returns once a probe has returned through every connection. Raises LogUnavailable. */
  probe(): Promise<void>
  /** Why the master of a slot does not deliver although others do; undefined if it does. */
  away(slot: number): LogUnavailable | undefined
  close(): Promise<void>
}
