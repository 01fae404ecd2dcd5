// Compares feeds with the log's heads periodically, since a lost last message leaves no hole. The log records changes by
// buckets of channels, and only the feeds of changed buckets are compared.

import { type Head, type RedisFeed } from './feed.ts'
import { bySlot } from './slots.ts'

/** The number of channels whose heads are read in one call. */
const HEADS = 100

/** Every 16th turn of a bucket compares it even without a change, so that its channels' keys are refreshed. */
const WHOLE = 16

/** How long a message may be in flight before its feed counts as behind, ms. */
const IN_FLIGHT_MS = 200

export interface Changes {
  /** Differs if changes may not have been recorded. */
  readonly identity: string
  /** For each bucket, a value that differs after each change; null before the first. */
  readonly values: readonly (string | null)[]
}

export interface ComparisonOptions {
  /** Only heads of channels of one slot may be read in one call. */
  slot(channel: string): number
  bucket(channel: string): string
  /**
   * The recorded values of these buckets. Raises LogUnavailable. Absent if changes are not recorded: then all buckets
   * count as changed.
   */
  changes?(buckets: readonly string[]): Promise<Changes>
  /** The heads of these channels. Raises LogUnavailable. */
  heads(channels: readonly string[]): Promise<Head[]>
  /** The time in which every bucket has its turn, ms. */
  readonly compareEvery: number
}

interface Bucket {
  readonly name: string
  readonly feeds: Set<RedisFeed>
  /** The bucket's value before the last comparison of its feeds; undefined if they have to be compared. */
  value: string | null | undefined
  /** Turns until it is compared in any case. */
  left: number
}

export class Comparison {
  readonly #options: ComparisonOptions
  readonly #behind: (feed: RedisFeed) => void
  readonly #buckets = new Map<string, Bucket>()
  readonly #tick: number
  readonly #ticks: NodeJS.Timeout
  readonly #waits = new Set<NodeJS.Timeout>()
  #turn: Iterator<Bucket> | undefined
  /** Buckets whose turn failed. */
  #missed = new Set<Bucket>()
  #identity = ''

  /** `behind` is called with feeds that are persistently behind the log. */
  constructor(options: ComparisonOptions, behind: (feed: RedisFeed) => void) {
    this.#options = options
    this.#behind = behind
    this.#tick = Math.min(500, options.compareEvery / 4)
    this.#ticks = setInterval(() => void this.#compareSome(), this.#tick)
    this.#ticks.unref()
  }

  add(feed: RedisFeed): void {
    const name = this.#options.bucket(feed.channel)
    let bucket = this.#buckets.get(name)
    if (bucket === undefined) {
      const left = Number.parseInt(name, 16) % WHOLE
      bucket = { name, feeds: new Set(), value: undefined, left }
      this.#buckets.set(name, bucket)
    }
    bucket.feeds.add(feed)
  }

  remove(feed: RedisFeed): void {
    const name = this.#options.bucket(feed.channel)
    const bucket = this.#buckets.get(name)
    if (bucket?.feeds.delete(feed) && bucket.feeds.size === 0) this.#buckets.delete(name)
  }

  /** Compares these feeds now. Does not raise: buckets for which the log does not answer are retried at the next tick. */
  async compare(feeds: readonly RedisFeed[], behind: (feed: RedisFeed, head: Head) => void): Promise<void> {
    const batches = bySlot(feeds, feed => this.#options.slot(feed.channel), HEADS)
    await Promise.all(batches.map(batch => this.#compareBatch(batch, behind)))
  }

  close(): void {
    clearInterval(this.#ticks)
    for (const timer of this.#waits) clearTimeout(timer)
  }

  async #compareSome(): Promise<void> {
    const buckets = this.#next()
    if (buckets.length === 0) return
    let changes: Changes | undefined
    try {
      changes = await this.#options.changes?.(buckets.map(({ name }) => name))
    } catch {
      // Without values, all buckets count as changed.
    }
    if (changes !== undefined && changes.identity !== this.#identity) {
      this.#identity = changes.identity
      for (const bucket of this.#buckets.values()) bucket.value = undefined
    }
    const feeds: RedisFeed[] = []
    for (const [i, bucket] of buckets.entries()) {
      const value = changes?.values[i]
      if (value !== undefined && value === bucket.value && --bucket.left >= 0) continue
      bucket.left = WHOLE - 1
      const all = [...bucket.feeds]
      const live = all.filter(feed => feed.live)
      // A feed that is not live was not compared: the next turn compares it.
      bucket.value = live.length === all.length ? value : undefined
      feeds.push(...live)
    }
    await this.compare(feeds, (feed, head) => this.#wait(feed, head))
  }

  /** The buckets of this turn: first those whose last turn failed, then enough others for all to have a turn in time. */
  #next(): Bucket[] {
    const some = [...this.#missed].filter(({ feeds }) => feeds.size > 0)
    this.#missed.clear()
    const share = Math.ceil((this.#buckets.size * this.#tick) / this.#options.compareEvery)
    while (some.length < share) {
      this.#turn ??= this.#buckets.values()
      const next = this.#turn.next()
      if (next.done) {
        this.#turn = undefined
        break
      }
      some.push(next.value)
    }
    return some
  }

  #wait(feed: RedisFeed, head: Head): void {
    const timer = setTimeout(() => {
      this.#waits.delete(timer)
      if (feed.live && feed.isBehind(head)) this.#behind(feed)
    }, IN_FLIGHT_MS)
    timer.unref()
    this.#waits.add(timer)
  }

  async #compareBatch(
    feeds: readonly RedisFeed[],
    behind: (feed: RedisFeed, head: Head) => void,
  ): Promise<void> {
    let heads: Head[]
    try {
      heads = await this.#options.heads(feeds.map(feed => feed.channel))
    } catch {
      for (const feed of feeds) this.#miss(feed)
      return
    }
    for (const [i, feed] of feeds.entries()) {
      const head = heads[i]
      if (feed.live && feed.isBehind(head)) behind(feed, head)
    }
  }

  #miss(feed: RedisFeed): void {
    const bucket = this.#buckets.get(this.#options.bucket(feed.channel))
    if (bucket === undefined) return
    bucket.value = undefined
    this.#missed.add(bucket)
  }
}
