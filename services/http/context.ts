// What every route of a node shares, decorated on Fastify as `app.fanwire`, and what a route can say of itself.

import type { Config } from '../config/config.ts'
import type { Hub } from '../broker/fanout/hub.ts'
import type { Draft } from '../broker/event/event.ts'
import type { ChannelLog, Receipt } from '../broker/log/log.ts'
import type { Identity } from './auth.ts'
import type { Health } from './health.ts'
import type { Metrics } from './metrics.ts'

/** All workers behind the address, this one among them. Undefined where the primary does not answer. */
export interface Workers {
  /** What they measured, added up, as Prometheus text. */
  metrics(): Promise<string | undefined>
  /** Readers in a channel. */
  readers(channel: string): Promise<number | undefined>
}

export interface Context {
  readonly config: Config
  readonly log: ChannelLog
  readonly hub: Hub
  readonly health: Health
  readonly metrics: Metrics
  /** Undefined where one process is all. */
  readonly workers?: Workers | undefined
  /** Appends through the log, tells the hub what was acknowledged, and measures. Raises LogUnavailable. */
  append(channel: string, drafts: readonly Draft[], by: Identity): Promise<Receipt[]>
}

declare module 'fastify' {
  interface FastifyInstance {
    fanwire: Context
  }

  interface FastifyContextConfig {
    /** An EventSource reads this: what may pass is told with 200, `retry:` and an end. */
    sse?: true
    /** A browser shows this and reloads it by itself: also an error that may pass says when. */
    page?: true
    /** A browser page of an origin that may not read may not even send this: WebSocket, Socket.IO. */
    origin?: 'required'
    /** Answered whatever name the node is addressed by: checks go by its address. */
    anyHost?: true
    /** Answered whatever the state of the node: not ready, draining, too many connections. */
    always?: true
  }
}

export function createContext(parts: Omit<Context, 'append'>): Context {
  const { log, hub, metrics } = parts
  return {
    ...parts,
    async append(channel, drafts, by) {
      const began = performance.now()
      try {
        const receipts = await log.append(channel, scoped(drafts, by))
        metrics.appended(receipts, performance.now() - began)
        // A replay's position is old news; the hub takes the newest.
        for (const { position } of receipts) hub.acknowledged(channel, position)
        return receipts
      } catch (error) {
        metrics.appendFailed(drafts.length, error, performance.now() - began)
        throw error
      }
    },
  }
}

/** The drafts with idempotency keys that are their publisher's alone: no key that is sent holds the separator. */
function scoped(drafts: readonly Draft[], { scope }: Identity): readonly Draft[] {
  if (scope === '') return drafts
  return drafts.map(draft =>
    draft.idempotencyKey === undefined
      ? draft
      : { ...draft, idempotencyKey: `${scope}\x7f${draft.idempotencyKey}` },
  )
}
