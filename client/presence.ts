// The members of a channel: first the current ones, then joins and leaves as they happen, without omissions.

import { backoff } from './backoff.ts'
import { Emitter } from './emitter.ts'
import { FanwireError, Unauthorized } from './errors.ts'
import { ask, type Env } from './link.ts'
import type { Subscription } from './subscription.ts'
import type { Event, SubscribeOptions } from './types.ts'

export interface Member {
  readonly user: string
  readonly info?: unknown
  readonly clients?: number
  /** Ms since 1970. */
  readonly since?: number
}

export interface PresenceEvents {
  join: Member
  leave: Member
  update: Member
  /** All members were loaded, at first or after a gap. */
  sync: readonly Member[]
  error: Error
}

interface Page {
  readonly members: readonly Member[]
  readonly cursor: string
  readonly more?: true
  readonly next?: string
}

export class Presence extends Emitter<PresenceEvents> {
  readonly channel: string
  readonly #env: Env
  readonly #subscribe: (channel: string, options: SubscribeOptions) => Subscription<Member>
  readonly #gone: () => void
  readonly #members = new Map<string, Member>()
  #lives: Subscription<Member> | undefined
  #closed = false
  #failures = 0
  /** Whether there was no token: it is loaded again after `retry`. */
  #signedOut = false

  constructor(
    channel: string,
    env: Env,
    subscribe: (channel: string, options: SubscribeOptions) => Subscription<Member>,
    gone: () => void,
  ) {
    super()
    this.channel = channel
    this.#env = env
    this.#subscribe = subscribe
    this.#gone = gone
    void this.#load()
  }

  get members(): readonly Member[] {
    return [...this.#members.values()]
  }

  close(): void {
    this.#closed = true
    this.#lives?.close()
    this.#gone()
  }

  /** Called when the client's `reconnect()` was called. */
  retry(): void {
    if (this.#signedOut && !this.#closed) void this.#load()
  }

  async #load(): Promise<void> {
    this.#signedOut = false
    try {
      const { members, cursor } = await this.#snapshot()
      this.#failures = 0
      if (this.#closed) return
      this.#members.clear()
      for (const member of members) this.#members.set(member.user, member)
      this.emit('sync', this.members)
      // A listener may have closed it.
      if (!this.#closed) this.#follow(cursor)
    } catch (error) {
      if (this.#closed) return
      this.#signedOut = error instanceof Unauthorized
      this.emit('error', error as Error)
      if (this.#signedOut) return
      const hint = error instanceof FanwireError ? error.retry : 0
      const delay = backoff(this.#failures++, hint ?? 0, this.#env.timing)
      setTimeout(() => !this.#closed && this.#load(), delay)
    }
  }

  /** Reads all pages. Joins and leaves since the first page are applied again, which changes nothing. */
  async #snapshot(): Promise<Page> {
    const members: Member[] = []
    const path = `/v1/channels/${encodeURIComponent(this.channel)}/presence?limit=1000`
    let page = (await (await ask(this.#env, path)).json()) as Page
    const { cursor } = page
    members.push(...page.members)
    while (page.more && page.next !== undefined) {
      const after = encodeURIComponent(page.next)
      page = (await (await ask(this.#env, `${path}&after=${after}`)).json()) as Page
      members.push(...page.members)
    }
    return { members, cursor }
  }

  #follow(cursor: string): void {
    this.#lives?.close()
    const lives = this.#subscribe(`fanwire:presence:${this.channel}`, { cursor })
    this.#lives = lives
    lives.on('event', event => this.#take(event))
    // Joins and leaves may be lost, so all members are loaded again.
    lives.on('gap', () => {
      lives.close()
      void this.#load()
    })
    lives.on('state', state => state.name === 'refused' && this.emit('error', state.error))
  }

  #take({ type, data }: Event<Member>): void {
    if (type !== 'join' && type !== 'leave' && type !== 'update') return
    if (type === 'leave') this.#members.delete(data.user)
    else this.#members.set(data.user, { ...this.#members.get(data.user), ...data })
    this.emit(type, data)
  }
}
