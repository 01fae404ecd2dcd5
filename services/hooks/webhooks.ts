// The webhooks of the rules file. One node sends them, and another node continues when it is gone.

import { hash } from 'node:crypto'
import { HOOKS } from '../broker/control/channels.ts'
import { draftOf, Tail } from '../broker/control/tail.ts'
import { parseCursor, printCursor } from '../broker/event/position.ts'
import { LIVES_CHANNELS, LIVES_SHARDS } from '../broker/lives/channels.ts'
import type { Logger } from '../broker/logger.ts'
import type { Webhook } from '../broker/rules/rules.ts'
import type { Context } from '../http/context.ts'
import { Addresses } from './addresses.ts'
import { GONE_MS, type HookState, Ledger, type Sayings } from './ledger.ts'
import { type Answer, type Post, Poster } from './post.ts'
import { Sender } from './sender.ts'

const CLAIM_MS = 5000
const START_MS = 5000
/** A margin, so that another node does not try to take over too early. */
const LATER_MS = 100
/** The interval of writing the progress to the log. */
const NOTE_MS = 1000
/** A sender that does not receive its own messages for this long stops, since another node may send. */
const UNSURE_MS = GONE_MS - 3000

/** The status of a webhook for operators. */
export interface WebhookStatus extends Partial<HookState> {
  readonly id: string
  /** The URL without its query. */
  readonly url: string
  readonly events: readonly string[]
  readonly channels?: readonly string[]
  /** The number of events that were not processed for it yet, including those that it does not want. */
  readonly behind?: number
}

/**
 * Webhooks by id. The id depends only on the target; where several have the same one, the ids of those after the first
 * depend on their events and channels too.
 */
function byId(webhooks: readonly Webhook[]): Map<string, Webhook> {
  const found = new Map<string, Webhook>()
  for (const webhook of webhooks) {
    const { url, events, channels, app } = webhook
    const id = idOf(app === undefined ? url : `${app.id} ${url}`)
    found.set(found.has(id) ? idOf(JSON.stringify([url, events, channels])) : id, webhook)
  }
  return found
}

function idOf(text: string): string {
  return hash('sha256', text, 'hex').slice(0, 12)
}

export class Webhooks {
  readonly #context: Context
  readonly #logger: Logger
  readonly #ledger = new Ledger()
  readonly #senders = new Map<string, { readonly sender: Sender; readonly key: string }>()
  /** Progress that was not written yet, by webhook. */
  readonly #unnoted = new Map<string, HookState>()
  #poster: Poster | undefined
  #tail: Tail | undefined
  #timers: NodeJS.Timeout[] = []
  /** The timer after which this node claims to be the sender. */
  #heir: NodeJS.Timeout | undefined
  /** When this node last received its own message as the sender, and any sender's, by performance.now(). */
  #own = -Infinity
  #any = -Infinity
  #chain: Promise<void> = Promise.resolve()
  #closed = false

  constructor(context: Context, logger: Logger) {
    this.#context = context
    this.#logger = logger
  }

  get #webhooks(): ReadonlyMap<string, Webhook> {
    return byId(this.#context.access.webhooks)
  }

  /** Takes part once there are webhooks. Does not raise. */
  async open(): Promise<void> {
    if (this.#tail !== undefined || this.#closed || this.#webhooks.size === 0) return this.#update()
    const { log, config } = this.#context
    this.#poster = new Poster(new Addresses(config.hooksPrivate))
    // A node that takes over the sending would stop for as long as its library loads.
    void this.#poster.load()
    this.#tail = new Tail({
      log,
      channel: HOOKS,
      from: 'earliest',
      logger: this.#logger,
      entry: entry => {
        this.#ledger.apply(entry)
        // Progress before a replay would undo it.
        if (entry.type === 'replay') this.#unnoted.delete((entry.data as Sayings['replay']).hook)
        if (entry.type === 'claim') this.#heard()
        if (entry.past) return
        if (entry.type === 'release') void this.#claim()
        else void this.#update()
      },
    })
    await this.#tail.open(START_MS)
    await this.#claim()
    this.#timers = [
      setInterval(() => void this.#claim(), CLAIM_MS).unref(),
      setInterval(() => void this.#note(), NOTE_MS).unref(),
    ]
  }

  /** Lets another node continue. Does not raise. */
  async close(): Promise<void> {
    this.#closed = true
    for (const timer of this.#timers) clearInterval(timer)
    clearTimeout(this.#heir)
    await this.#update()
    await this.#note()
    if (this.#ledger.holder === this.#node) await this.#say('release', { node: this.#node })
    this.#tail?.close()
    await this.#poster?.close()
  }

  /** Raises LogUnavailable. */
  async status(): Promise<{
    readonly sender: string | undefined
    readonly webhooks: readonly WebhookStatus[]
  }> {
    const heads = await Promise.all(LIVES_CHANNELS.map(channel => this.#context.log.state(channel)))
    const webhooks = [...this.#webhooks].map(([id, { url, events, channels }]) => {
      const { origin, pathname } = new URL(url)
      const state = this.#unnoted.get(id) ?? this.#ledger.hooks.get(id)
      const starts = state && parseCursor(state.cursor, LIVES_SHARDS)
      const behind = starts?.reduce((sum, start, i) => {
        const offset = typeof start === 'object' && 'offset' in start ? start.offset : 0
        return sum + Math.max(0, (heads[i]?.head.offset ?? 0) - offset)
      }, 0)
      return {
        id,
        url: origin + pathname,
        events,
        ...(channels !== undefined && { channels }),
        ...state,
        ...(behind !== undefined && { behind }),
      }
    })
    return { sender: this.#ledger.holder, webhooks }
  }

  /** Resends events from the cursor on. Returns false if there is no webhook with that id. Raises LogUnavailable. */
  async replay(hook: string, cursor: string): Promise<boolean> {
    if (!this.#webhooks.has(hook)) return false
    await this.#context.log.append(HOOKS, [draftOf('replay', { hook, cursor })])
    return true
  }

  get #node(): string {
    return this.#context.nodes.id
  }

  /** Whether this node is the sender, and no other node can have taken over yet. */
  get #sends(): boolean {
    const { holder } = this.#ledger
    return !this.#closed && holder === this.#node && performance.now() - this.#own < UNSURE_MS
  }

  /** The sender is alive: waits for its next message until it counts as gone. */
  #heard(): void {
    this.#any = performance.now()
    if (this.#ledger.holder === this.#node) this.#own = this.#any
    clearTimeout(this.#heir)
    if (!this.#closed) this.#heir = setTimeout(() => void this.#claim(), GONE_MS + LATER_MS).unref()
  }

  /** POSTs only while this node is certainly the sender: it may have been frozen or partitioned. Raises an Error. */
  async #post(post: Post): Promise<Answer> {
    if (this.#sends && this.#poster !== undefined) return this.#poster.post(post)
    void this.#update()
    throw new Error('another node may send')
  }

  async #claim(): Promise<void> {
    const now = performance.now()
    const mine = this.#ledger.holder === this.#node
    if (this.#closed || (!mine && this.#ledger.holder !== undefined && now - this.#any < GONE_MS)) return
    const hooks = mine ? Object.fromEntries(this.#ledger.hooks) : undefined
    await this.#say('claim', { node: this.#node, ...(hooks !== undefined && { hooks }) })
    await this.#update()
  }

  async #say<Type extends keyof Sayings>(type: Type, data: Sayings[Type]): Promise<void> {
    try {
      await this.#context.log.append(HOOKS, [draftOf(type, data)])
    } catch {
      // The log is unavailable, which it reports itself. Another node may send meanwhile.
    }
  }

  async #note(): Promise<void> {
    const noted = [...this.#unnoted]
    this.#unnoted.clear()
    for (const [hook, state] of noted) await this.#say('progress', { node: this.#node, hook, state })
  }

  /** Starts and stops senders according to the current state, one change after another. */
  #update(): Promise<void> {
    this.#chain = this.#chain.then(() => this.#updateNow()).catch(() => {})
    return this.#chain
  }

  async #updateNow(): Promise<void> {
    const wanted: ReadonlyMap<string, Webhook> = this.#sends ? this.#webhooks : new Map()
    for (const [hook, { sender, key }] of this.#senders) {
      const webhook = wanted.get(hook)
      if (webhook !== undefined && this.#keyOf(hook, webhook) === key) continue
      this.#senders.delete(hook)
      await sender.close()
    }
    for (const [hook, webhook] of wanted) if (!this.#senders.has(hook)) await this.#send(hook, webhook)
  }

  /** The key of a sender. It changes if the webhook changes or is replayed. */
  #keyOf(hook: string, webhook: Webhook): string {
    return `${this.#ledger.replays.get(hook) ?? 0} ${JSON.stringify(webhook)}`
  }

  async #send(hook: string, webhook: Webhook): Promise<void> {
    const { hub, log } = this.#context
    const key = this.#keyOf(hook, webhook)
    let state = this.#ledger.hooks.get(hook)
    if (state?.stopped !== undefined) return
    if (state === undefined) {
      // A new webhook receives events from now on.
      const heads = await Promise.all(
        LIVES_CHANNELS.map(channel => log.read(channel, 'latest', { events: 0, bytes: 0 }, true)),
      )
      state = { cursor: printCursor(heads.map(({ cursor }) => cursor)) }
      await this.#say('progress', { node: this.#node, hook, state })
    }
    const starts = parseCursor(state.cursor, LIVES_SHARDS)
    if (starts === undefined) return
    let failing: string | undefined
    const sender = new Sender({
      webhook,
      hub,
      starts,
      post: post => this.#post(post),
      progress: next => {
        // A replay, or another webhook, came while a request was in flight.
        if (this.#keyOf(hook, webhook) !== key) return
        this.#unnoted.set(hook, next)
        this.#ledger.hooks.set(hook, next)
        const about = { webhook: hook, reason: next.failing ?? next.stopped }
        if (next.stopped !== undefined) this.#logger.warn(about, 'nothing is sent to a webhook any more')
        else if (next.failing !== undefined && failing === undefined)
          this.#logger.warn(about, 'a webhook was not accepted: it will be retried')
        failing = next.failing
      },
    })
    this.#senders.set(hook, { sender, key })
  }
}
