// Publishing: asks whether it may be and counts it, appends through the log, tells the hub what was acknowledged, and measures.

import { FanwireError } from '../errors.ts'
import type { Access } from './access/access.ts'
import type { Identity } from './access/identity.ts'
import type { Limits } from './limits/limits.ts'
import type { Party } from './limits/limited.ts'
import type { Rule } from './rules/rules.ts'
import type { Draft } from './event/event.ts'
import type { Position } from './event/position.ts'
import { type ChannelLog, LogUnavailable, type Receipt } from './log/log.ts'

export interface PublisherParts {
  readonly log: Pick<ChannelLog, 'append'>
  readonly access: Access
  readonly limits: Limits
  readonly hub: { acknowledged(channel: string, position: Position): void }
  readonly metrics: {
    appended(receipts: readonly Receipt[], ms: number): void
    appendFailed(events: number, error: unknown, ms: number): void
  }
  /** A client published, in its own name. */
  published?(channel: string, receipt: Receipt, by: Identity): void
  /** By what the log keeps an identity's idempotency keys; empty for the anonymous. */
  scopeOf(identity: Identity): string
}

/** Whose events count towards which limits. */
export type Publishing = Party & { readonly identity: Identity }

export class Publisher {
  readonly #parts: PublisherParts

  constructor(parts: PublisherParts) {
    this.#parts = parts
  }

  /** Raises FW_UNAUTHORIZED, FW_FORBIDDEN; with `bytes`, an event's data, FW_TOO_LARGE. */
  require(by: Identity, channel: string, bytes = 0): Rule {
    const { access } = this.#parts
    access.require(by, 'publish', channel)
    const rule = access.ruleOf(channel)
    const most = rule.maxBody
    if (most !== undefined && bytes > most) {
      throw new FanwireError('FW_TOO_LARGE', `an event of this channel may have ${most} bytes`)
    }
    return rule
  }

  /** Counts an event that is to be appended. Raises what `require` does, FW_TOO_MANY_REQUESTS. */
  admit(by: Publishing, channel: string, bytes: number): void {
    this.#parts.limits.publish(by, this.require(by.identity, channel, bytes), bytes)
  }

  /** Raises what `admit` and `append` do. */
  async publish(channel: string, draft: Draft, by: Publishing): Promise<Receipt> {
    this.admit(by, channel, draft.data.length)
    const [receipt] = await this.#append(channel, [draft], by.identity)
    if (receipt === undefined) throw new LogUnavailable('the log gave no receipt')
    return receipt
  }

  /** Appends what was admitted. Raises what `require` does, LogUnavailable, LogRefused. */
  async append(channel: string, drafts: readonly Draft[], by: Identity): Promise<Receipt[]> {
    this.require(by, channel)
    return await this.#append(channel, drafts, by)
  }

  async #append(channel: string, drafts: readonly Draft[], by: Identity): Promise<Receipt[]> {
    const { log, hub, metrics } = this.#parts
    const began = performance.now()
    try {
      const receipts = await log.append(channel, this.#scoped(drafts, by))
      metrics.appended(receipts, performance.now() - began)
      // A replay's position is old news; the hub takes the newest.
      for (const { position } of receipts) hub.acknowledged(channel, position)
      if (by.kind !== 'key') for (const receipt of receipts) this.#parts.published?.(channel, receipt, by)
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
