// The feeds of one node: opens and closes them, hands them the messages from pub/sub, and compares them with the log's
// heads.

import type { Feed, Follower, PageLimit } from '../log.ts'
import { LogUnavailable } from '../log.ts'
import type { Start } from '../../event/position.ts'
import { Comparison, type ComparisonOptions } from './comparison.ts'
import { type FeedPage, RedisFeed } from './feed.ts'

export interface FeedsOptions extends ComparisonOptions {
  /** See Subscriptions. */
  readonly subscriptions: {
    subscribe(name: string): Promise<void>
    unsubscribe(name: string): void
    doubt(name: string): void
  }
  /** The name of a channel's pub/sub channel. */
  feedName(channel: string): string
  read(channel: string, after: Start, limit: PageLimit, stays: boolean): Promise<FeedPage>
}

export class Feeds {
  readonly #options: FeedsOptions
  readonly #feeds = new Map<string, RedisFeed>()
  readonly #comparison: Comparison
  #closed = false
  /** The number of holes that were filled from the log, for metrics. */
  holesFilled = 0

  constructor(options: FeedsOptions) {
    this.#options = options
    this.#comparison = new Comparison(options, feed => {
      feed.fill()
      options.subscriptions.doubt(options.feedName(feed.channel))
    })
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
        this.#comparison.remove(feed)
        subscriptions.unsubscribe(name)
      },
    })
    this.#feeds.set(name, feed)
    this.#comparison.add(feed)
    try {
      await subscriptions.subscribe(name)
      await feed.open()
    } catch (error) {
      feed.close()
      throw error
    }
    return feed
  }

  /** Receives a pub/sub message. Does not keep the buffers. Returns false if nobody follows that channel. */
  message(name: string, payload: Buffer): boolean {
    const feed = this.#feeds.get(name)
    feed?.message(payload)
    return feed !== undefined
  }

  /** Called when these are subscribed again after a broken connection: reads what changed meanwhile. */
  async renewed(names: readonly string[]): Promise<void> {
    const feeds: RedisFeed[] = []
    for (const name of names) {
      const feed = this.#feeds.get(name)
      if (feed?.live) feeds.push(feed)
      else feed?.fill()
    }
    // A channel that had not begun may have begun meanwhile and been lost again.
    const [unbegun, begun] = [feeds.filter(feed => feed.unbegun), feeds.filter(feed => !feed.unbegun)]
    for (const feed of unbegun) feed.fill()
    await this.#comparison.compare(begun, feed => feed.fill())
  }

  close(): void {
    this.#closed = true
    this.#comparison.close()
    for (const feed of [...this.#feeds.values()]) feed.close()
  }
}
