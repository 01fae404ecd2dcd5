// Publishing: asks whether it may be, appends through the log, tells the hub what was acknowledged, and measures.

import { FanwireError } from '../errors.ts'
import type { Access } from './access/access.ts'
import type { Identity } from './access/identity.ts'
import type { Draft } from './event/event.ts'
import type { Position } from './event/position.ts'
import type { ChannelLog, Receipt } from './log/log.ts'

export interface PublisherParts {
  readonly log: Pick<ChannelLog, 'append'>
  readonly access: Access
  readonly hub: { acknowledged(channel: string, position: Position): void }
  readonly metrics: {
    appended(receipts: readonly Receipt[], ms: number): void
    appendFailed(events: number, error: unknown, ms: number): void
  }
  /** By what the log keeps an identity's idempotency keys; empty for the anonymous. */
  scopeOf(identity: Identity): string
}

export class Publisher {
  readonly #parts: PublisherParts

  constructor(parts: PublisherParts) {
    this.#parts = parts
  }

  /** Raises FW_UNAUTHORIZED, FW_FORBIDDEN; with `bytes`, an event's data, FW_TOO_LARGE. */
  require(by: Identity, channel: string, bytes = 0): void {
    const { access } = this.#parts
    access.require(by, 'publish', channel)
    const most = access.maxBodyOf(channel)
    if (most !== undefined && bytes > most) {
      throw new FanwireError('FW_TOO_LARGE', `an event of this channel may have ${most} bytes`)
    }
  }

  /** Raises what `require` does, LogUnavailable, LogRefused. */
  async append(channel: string, drafts: readonly Draft[], by: Identity): Promise<Receipt[]> {
    const { log, hub, metrics } = this.#parts
    for (const { data } of drafts) this.require(by, channel, data.length)
    const began = performance.now()
    try {
      const receipts = await log.append(channel, this.#scoped(drafts, by))
      metrics.appended(receipts, performance.now() - began)
      // A replay's position is old news; the hub takes the newest.
      for (const { position } of receipts) hub.acknowledged(channel, position)
      return receipts
    } catch (error) {
      metrics.appendFailed(drafts.length, error, performance.now() - began)
      throw error
    }
  }

  /** The drafts with idempotency keys that are their publisher's alone: no key that is sent holds the separator. */
  #scoped(drafts: readonly Draft[], by: Identity): readonly Draft[] {
    if (drafts.every(({ idempotencyKey }) => idempotencyKey === undefined)) return drafts
    const scope = this.#parts.scopeOf(by)
    if (scope === '') return drafts
    return drafts.map(draft =>
      draft.idempotencyKey === undefined
        ? draft
        : { ...draft, idempotencyKey: `${scope}\x7f${draft.idempotencyKey}` },
    )
  }
}
