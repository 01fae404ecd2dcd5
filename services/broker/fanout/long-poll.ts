// A long poll: reads once, then waits until there is an answer or its time is over.

import type { Start } from '../event/position.ts'
import type { Channel, Member } from './channel.ts'
import { type Answer, collect } from './collect.ts'
import type { HeldRequest } from './connections.ts'
import type { Hub } from './hub.ts'
import type { Selection } from './selection.ts'
import { holdBackMs } from './low-priority.ts'

/** A request among the members of a channel. */
class Waiter implements Member {
  slot = -1
  readonly #poll: LongPoll

  constructor(poll: LongPoll) {
    this.#poll = poll
  }

  wake(): void {
    this.#poll.wake()
  }
}

export class LongPoll implements HeldRequest {
  readonly #hub: Hub
  readonly #channels: readonly Channel[]
  #released = false
  #wakeUp: (() => void) | undefined

  constructor(hub: Hub, channels: readonly Channel[]) {
    this.#hub = hub
    this.#channels = channels
  }

  /** Answers within `wait` ms. Raises LogUnavailable. */
  async answer(
    starts: readonly Start[],
    limit: number,
    wait: number,
    selections: readonly (Selection | undefined)[] = [],
  ): Promise<Answer> {
    const { low } = this.#hub.options
    const until = Date.now() + wait
    const earliest = until - wait + Math.max(0, ...selections.map(each => each?.every ?? 0))
    await Promise.all(this.#channels.map(channel => channel.begin()))
    let heldBackUntil = Number.POSITIVE_INFINITY
    let from = starts
    for (;;) {
      const versions = this.#channels.map(channel => channel.version)
      const answer = await collect(this.#channels, from, limit, selections)
      const now = Date.now()
      const found = answer.events.length > 0
      // A full answer need not wait.
      const holdBack = answer.events.length < limit ? holdBackMs(answer.events, now, low) : 0
      if (found) heldBackUntil = Math.min(heldBackUntil, now + holdBack)
      const end = found ? Math.min(until, Math.max(earliest, heldBackUntil)) : until
      const ended = answer.ends.some(({ fresh }) => fresh) || answer.ends.length === this.#channels.length
      if (ended || this.#released || answer.gaps.length > 0 || (answer.more && found) || end <= now)
        return answer
      if (found && now < earliest) {
        await this.#pause(Math.min(until, earliest) - now)
        continue
      }
      // Events that the selection omits need not be read again.
      from = found ? answer.starts : answer.cursors
      if (answer.more) continue
      await this.#news(versions, end - now)
    }
  }

  release(): void {
    this.#released = true
    this.#wakeUp?.()
  }

  wake(): void {
    this.#wakeUp?.()
  }

  /** Returns after `ms`, or when it is released. */
  async #pause(ms: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    const { held } = this.#hub.connections
    held.add(this)
    await new Promise<void>(resolve => {
      this.#wakeUp = resolve
      timer = setTimeout(resolve, ms)
    })
    clearTimeout(timer)
    this.#wakeUp = undefined
    held.delete(this)
  }

  /** Returns when a channel has news since `versions`, or after `ms`. */
  async #news(versions: readonly number[], ms: number): Promise<void> {
    const waiters = this.#channels.map(channel => ({ channel, waiter: new Waiter(this) }))
    for (const { channel, waiter } of waiters) channel.join(waiter)
    const news = this.#channels.some((channel, i) => channel.version !== versions[i])
    if (!news && !this.#released) await this.#pause(ms)
    for (const { channel, waiter } of waiters) channel.leave(waiter)
  }
}
