// Publishing: checks the right and the limits, appends to the log, notifies the hub of acknowledged positions, and
// measures.

import { FanwireError } from '../errors.ts'
import type { Access } from './access/access.ts'
import { type Asker, bareAsker } from './access/asking.ts'
import type { Identity } from './access/identity.ts'
import type { Limits } from './limits/limits.ts'
import type { Party } from './limits/limited.ts'
import type { Hook, Rule } from './rules/rules.ts'
import type { Draft } from './event/event.ts'
import { copiesOf, UPDATES } from './event/update.ts'
import type { Position } from './event/position.ts'
import { ChannelEnded, type ChannelLog, LogUnavailable, NotAppended, type Receipt } from './log/log.ts'

export interface PublisherParts {
  readonly log: Pick<ChannelLog, 'append' | 'relay'>
  readonly access: Access
  readonly limits: Limits
  readonly hub: {
    acknowledged(channel: string, position: Position): void
    endOf(channel: string): Position | undefined
  }
  readonly metrics: {
    appended(receipts: readonly Receipt[], ms: number): void
    appendFailed(events: number, error: unknown, ms: number): void
  }
  /** Whether the log of updates receives copies of all events. */
  readonly keepsUpdates?: boolean
  /** Called when a client has published. */
  published?(channel: string, receipt: Receipt, by: Identity): void
  /** The log's scope for an identity's idempotency keys; empty for anonymous clients. */
  scopeOf(identity: Identity): string
}

/** The parties whose limits apply to the events. */
export type Publishing = Party & {
  readonly identity: Identity
  /** The client as the application sees it, if a hook decides. */
  readonly asker?: Asker
}

/** The result for an event. Without a position, it was not stored. */
export type Published =
  | Receipt
  | { readonly position?: undefined; readonly time: number; readonly replayed: false }

export class Publisher {
  readonly #parts: PublisherParts

  constructor(parts: PublisherParts) {
    this.#parts = parts
  }

  /** The hook that decides about each event; undefined if none does. */
  hookOf(by: Identity, channel: string): Hook | undefined {
    const { access } = this.#parts
    if (access.asking === undefined) return undefined
    const { allowed, hook } = access.may(by, 'publish', channel)
    return allowed ? undefined : hook
  }

  /**
   * Requires the right to publish, unless a hook decides it. Raises FW_UNAUTHORIZED, FW_FORBIDDEN, and FW_TOO_LARGE if
   * `bytes`, the size of an event's data, exceeds the channel's limit.
   */
  require(by: Identity, channel: string, bytes = 0): Rule {
    const { access } = this.#parts
    if (this.hookOf(by, channel) === undefined) access.require(by, 'publish', channel)
    const rule = access.ruleOf(channel)
    const most = rule.maxBody
    if (most !== undefined && bytes > most) {
      throw new FanwireError('FW_TOO_LARGE', `an event of this channel may have at most ${most} bytes`)
    }
    return rule
  }

  /** Counts an event before it is published. Raises the errors of `require`, FW_BAD_EVENT, FW_TOO_MANY_REQUESTS. */
  admit(by: Publishing, channel: string, draft: Draft): void {
    const bytes = draft.data.length
    const rule = this.require(by.identity, channel, draft.sent ?? bytes)
    const { end, transient = rule.transient && !end, idempotencyKey, ifHead } = draft
    if (transient && (idempotencyKey !== undefined || ifHead !== undefined)) {
      throw new FanwireError(
        'FW_BAD_EVENT',
        'a transient event is not kept: it can have neither an idempotency key nor ifHead',
      )
    }
    this.#parts.limits.publish(by, rule, bytes)
  }

  /** Publishes an event, after `after` if a hook decides. Raises the errors of `admit` and `append`. */
  async publish(channel: string, draft: Draft, by: Publishing, after?: Promise<void>): Promise<Published> {
    this.admit(by, channel, draft)
    const hook = this.hookOf(by.identity, channel)
    const drafts = hook === undefined ? [draft] : await this.#ask(hook, channel, [draft], by)
    if (hook !== undefined) await after
    const [receipt] = await this.#publish(channel, drafts, by.identity)
    if (receipt === undefined) throw new LogUnavailable('the log returned no receipt')
    return receipt
  }

  /**
   * Admits an event, whose channel need not have a log, and asks the application. `put` publishes it. Raises the errors of
   * `publish` before the append.
   */
  async approve(channel: string, draft: Draft, by: Publishing): Promise<Draft> {
    this.admit(by, channel, draft)
    const hook = this.hookOf(by.identity, channel)
    const [approved = draft] = hook === undefined ? [draft] : await this.#ask(hook, channel, [draft], by)
    return approved
  }

  /**
   * Publishes an approved event, without a copy in the log of updates: the caller appends an update. Returns its position,
   * if it is stored. Raises the errors of `append`.
   */
  async put(channel: string, draft: Draft, by: Identity): Promise<Position | undefined> {
    const [published] = await this.#publish(channel, [draft], by, false)
    return published?.position
  }

  /** Appends to the log of updates. Raises LogUnavailable. */
  async update(drafts: readonly Draft[], by: Identity): Promise<Receipt[]> {
    return await this.#update(this.#scoped(drafts, by))
  }

  /**
   * Ends a channel, after a last event if there is one. Returns the receipts of both. Raises the errors of `admit` and
   * `append`.
   */
  async end(channel: string, end: Draft, last: Draft | undefined, by: Publishing): Promise<Receipt[]> {
    if (last !== undefined) this.admit(by, channel, last)
    this.admit(by, channel, end)
    const drafts = last === undefined ? [end] : [last, end]
    const hook = this.hookOf(by.identity, channel)
    const approved = hook === undefined ? drafts : await this.#ask(hook, channel, drafts, by)
    const receipts = await this.#append(channel, approved, by.identity)
    return receipts.reverse()
  }

  /**
   * Publishes admitted events, all of them or none. Raises the errors of `require`, LogUnavailable, LogRefused, HeadMoved,
   * ChannelEnded, and the application's refusals.
   */
  async append(channel: string, drafts: readonly Draft[], by: Publishing): Promise<readonly Published[]> {
    this.require(by.identity, channel)
    const hook = this.hookOf(by.identity, channel)
    const approved = hook === undefined ? drafts : await this.#ask(hook, channel, drafts, by)
    return await this.#publish(channel, approved, by.identity)
  }

  /** The drafts as the application allows them. Raises FW_FORBIDDEN, Disconnected, FW_HOOK_FAILED, FW_TOO_LARGE. */
  async #ask(
    hook: Hook,
    channel: string,
    drafts: readonly Draft[],
    by: Publishing,
  ): Promise<readonly Draft[]> {
    const { identity, asker = bareAsker('', '') } = by
    const ask = async (data?: Buffer) =>
      this.#parts.access.asking?.publish(hook, identity, channel, data, asker)
    if (!drafts.some(hasData)) {
      await ask()
      return drafts
    }
    return await Promise.all(
      drafts.map(async draft => {
        const data = hasData(draft) ? await ask(draft.data) : undefined
        if (data === undefined) return draft
        this.require(identity, channel, data.length)
        const { encoding: _, ...others } = draft
        return { ...others, data }
      }),
    )
  }

  async #publish(
    channel: string,
    drafts: readonly Draft[],
    by: Identity,
    copies = true,
  ): Promise<readonly Published[]> {
    const { log, access, hub, keepsUpdates } = this.#parts
    if (!drafts[0]?.transient && !access.ruleOf(channel).transient)
      return await this.#append(channel, drafts, by, copies)
    const end = hub.endOf(channel)
    if (end !== undefined) throw new ChannelEnded(end)
    const time = await log.relay(channel, drafts)
    if (keepsUpdates && copies) await log.relay(UPDATES, copiesOf(channel, drafts))
    return drafts.map(() => ({ time, replayed: false }))
  }

  async #append(channel: string, drafts: readonly Draft[], by: Identity, copies = true): Promise<Receipt[]> {
    const { log, hub, metrics, keepsUpdates } = this.#parts
    const began = performance.now()
    try {
      const scoped = this.#scoped(drafts, by)
      const receipts = await log.append(channel, scoped)
      metrics.appended(receipts, performance.now() - began)
      // The position of a duplicate is old; the hub takes the newest.
      for (const { position } of receipts) hub.acknowledged(channel, position)
      if (by.kind !== 'key') for (const receipt of receipts) this.#parts.published?.(channel, receipt, by)
      // Also for duplicates: the first attempt may have failed at the copy.
      if (keepsUpdates && copies) await this.#update(copiesOf(channel, scoped, receipts))
      return receipts
    } catch (error) {
      if (!(error instanceof NotAppended))
        metrics.appendFailed(drafts.length, error, performance.now() - began)
      throw error
    }
  }

  async #update(drafts: readonly Draft[]): Promise<Receipt[]> {
    if (drafts.length === 0) return []
    const { log, hub } = this.#parts
    const receipts = await log.append(UPDATES, drafts)
    for (const { position } of receipts) hub.acknowledged(UPDATES, position)
    return receipts
  }

  /** The drafts with idempotency keys in their publisher's scope. Clients' keys can't contain the separator. */
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

/** Whether a draft has data about which the application decides: a channel's end and the node's records do not. */
function hasData({ end, type = '' }: Draft): boolean {
  return end !== true && !type.startsWith('fanwire:')
}
