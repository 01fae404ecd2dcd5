// The feeds of one node: opened and closed, told what pub/sub brings, and compared with the log's heads, since a
// lost last message leaves no hole.

import type { Feed, Follower, PageLimit } from '../log.ts'
import { LogUnavailable } from '../log.ts'
import type { Start } from '../../event/position.ts'
import { type FeedPage, type Head, RedisFeed } from './feed.ts'
import { bySlot } from './slots.ts'

/** Channels whose heads are asked for in one call. */
const HEADS = 100

/** Ms for a message that is on its way to arrive before a head is believed to be ahead of it. */
const PATIENCE = 200

export interface FeedsOptions {
  /** See Subscriptions. */
  readonly subscriptions: {
    subscribe(name: string): Promise<void>
    unsubscribe(name: string): void
    doubt(name: string): void
  }
  /** Heads of channels of one slot may be asked for in one call. */
  slot(channel: string): number
  /** The pub/sub channel of a channel. */
  feedName(channel: string): string
  read(channel: string, after: Start, limit: PageLimit, stays: boolean): Promise<FeedPage>
  /** The heads of these channels. Raises LogUnavailable. */
  heads(channels: readonly string[]): Promise<Head[]>
  /** Ms in which every feed is compared with the log once. */
  readonly compareEvery: number
}

export class Feeds {
  readonly #options: FeedsOptions
  readonly #feeds = new Map<string, RedisFeed>()
  readonly #ticks: NodeJS.Timeout
  readonly #tick: number
  readonly #patience = new Set<NodeJS.Timeout>()
  #turn: Iterator<RedisFeed> | undefined
  #missed: RedisFeed[] = []
  #closed = false
  /** Holes found and read from the log; for metrics. */
  holesFilled = 0

  constructor(options: FeedsOptions) {
    this.#options = options
    this.#tick = Math.min(500, options.compareEvery / 4)
    this.#ticks = setInterval(() => this.#compareSome(), this.#tick)
    this.#ticks.unref()
  }

  /** See ChannelLog.follow. */
  async open(channel: string, follower: Follower): Promise<Feed> {
    if (this.#closed) throw new LogUnavailable('the log is closed')
    const { subscriptions, feedName, read } = this.#options
    const name = feedName(channel)
    if (this.#feeds.has(name)) throw new Error(`channel ${channel} has a feed already`)
    const feed: RedisFeed = new RedisFeed({
      channel,
      follower,
      read,
      hole: () => {
        this.holesFilled++
      },
      closed: () => {
        this.#feeds.delete(name)
        subscriptions.unsubscribe(name)
      },
    })
    this.#feeds.set(name, feed)
    try {
      await subscriptions.subscribe(name)
      await feed.open()
    } catch (error) {
      feed.close()
      throw error
    }
    return feed
  }

  /** A pub/sub message; the buffers are not kept. False where nobody follows that channel. */
  message(name: string, payload: Buffer): boolean {
    const feed = this.#feeds.get(name)
    feed?.message(payload)
    return feed !== undefined
  }

  /** The connection broke and these are subscribed again: reads what moved meanwhile. */
  async renewed(names: readonly string[]): Promise<void> {
    const feeds: RedisFeed[] = []
    for (const name of names) {
      const feed = this.#feeds.get(name)
      if (feed?.live) feeds.push(feed)
      else feed?.fill()
    }
    // Of a channel that has not begun nobody knows whether it has meanwhile, and was lost again.
    const [unbegun, begun] = [feeds.filter(feed => feed.unbegun), feeds.filter(feed => !feed.unbegun)]
    for (const feed of unbegun) feed.fill()
    await Promise.all(this.#batches(begun).map(batch => this.#compare(batch, feed => feed.fill())))
  }

  close(): void {
    this.#closed = true
    clearInterval(this.#ticks)
    for (const timer of this.#patience) clearTimeout(timer)
    for (const feed of [...this.#feeds.values()]) feed.close()
  }

  /** The next feeds whose turn it is, so many that all have theirs in time. */
  #compareSome(): void {
    const { compareEvery } = this.#options
    const some = this.#missed
    this.#missed = []
    for (
      let left = Math.ceil((this.#feeds.size * this.#tick) / compareEvery) - some.length;
      left > 0;
      left--
    ) {
      this.#turn ??= this.#feeds.values()
      const next = this.#turn.next()
      if (next.done) {
        this.#turn = undefined
        break
      }
      some.push(next.value)
    }
    const behind = (feed: RedisFeed, head: Head) => {
      const timer = setTimeout(() => {
        this.#patience.delete(timer)
        if (!feed.live || !feed.isBehind(head)) return
        feed.fill()
        this.#options.subscriptions.doubt(this.#options.feedName(feed.channel))
      }, PATIENCE)
      timer.unref()
      this.#patience.add(timer)
    }
    for (const batch of this.#batches(some.filter(feed => feed.live))) this.#compare(batch, behind)
  }

  async #compare(feeds: readonly RedisFeed[], behind: (feed: RedisFeed, head: Head) => void): Promise<void> {
    let heads: Head[]
    try {
      heads = await this.#options.heads(feeds.map(feed => feed.channel))
    } catch {
      // The log is away. Their turn comes again with the next tick.
      this.#missed.push(...feeds)
      return
    }
    for (const [i, feed] of feeds.entries()) {
      const head = heads[i]
      if (feed.live && feed.isBehind(head)) behind(feed, head)
    }
  }

  #batches(feeds: readonly RedisFeed[]): RedisFeed[][] {
    return bySlot(feeds, feed => this.#options.slot(feed.channel), HEADS)
  }
}
