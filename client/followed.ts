// A channel for display: its newest events, gaps and state, as one value that changes.

import type { Fanwire } from './fanwire.ts'
import type { SubscriptionState } from './subscription.ts'
import type { Event, Gap, SubscribeOptions } from './types.ts'

export interface ChannelOptions extends SubscribeOptions {
  /** How many of the newest events are kept. Default: 100. */
  readonly keep?: number
}

export interface Followed<Data = unknown> {
  /** The newest events, in order. */
  readonly events: readonly Event<Data>[]
  readonly gaps: readonly Gap[]
  readonly state: SubscriptionState
}

/** Follows a channel, and reports changes together, once a turn. Returns a function that stops it. */
export function follow<Data>(
  client: Fanwire,
  channel: string,
  { keep = 100, ...options }: ChannelOptions,
  changed: (followed: Followed<Data>) => void,
): () => void {
  const subscription = client.subscribe<Data>(channel, options)
  let events: Event<Data>[] = []
  let gaps: Gap[] = []
  let waits = false
  let closed = false
  const change = () => {
    if (waits) return
    waits = true
    queueMicrotask(() => {
      waits = false
      if (!closed) changed({ events, gaps, state: subscription.state })
    })
  }
  subscription.on('gap', gap => {
    gaps = [...gaps, gap].slice(-keep)
    change()
  })
  subscription.on('state', change)
  subscription.on('event', event => {
    events = [...events, event].slice(-keep)
    change()
  })
  change()
  return () => {
    closed = true
    subscription.close()
  }
}
