// What is done from time to time: events that are too old leave, channels that nobody could read from are forgotten, and
// segments that hold little are rewritten.

import type { Logger } from '../../logger.ts'
import type { RetentionOf } from '../log.ts'
import type { FileChannel } from './channel.ts'
import { rewrite } from './rewrite.ts'
import type { Segment } from './segment.ts'

const EVERY = 5000
/** Channels that are looked at in one turn of the event loop. */
const SLICE = 2000
/** A channel without events is remembered for so long, ms, beyond the time for which events and keys are kept. */
const REMEMBERED = 86_400_000

/** Bytes of a segment that are no longer read, beyond which it is rewritten, if they are half of it. */
const WASTE = 2 ** 20
/** So many small segments on end become one, of at most so many bytes. */
const MANY = 8
const SMALL = 8 * 2 ** 20
const LARGEST = 32 * 2 ** 20
/** Of a record, beside the data, about. */
const OVERHEAD = 40

export interface UpkeepOptions {
  readonly folder: string
  readonly channels: Map<string, FileChannel>
  /** Those that are sealed, in order. */
  readonly segments: Segment[]
  readonly retentionOf: RetentionOf
  readonly idempotencyWindow: number
  readonly now: () => number
  readonly logger: Logger
}

export class Upkeep {
  readonly #options: UpkeepOptions
  #timer: NodeJS.Timeout
  #running: Promise<void> = Promise.resolve()
  #closed = false

  constructor(options: UpkeepOptions) {
    this.#options = options
    this.#timer = this.#later()
  }

  async close(): Promise<void> {
    this.#closed = true
    clearTimeout(this.#timer)
    await this.#running
  }

  /** Does all of it now. */
  run(): Promise<void> {
    clearTimeout(this.#timer)
    this.#running = this.#running.then(() => this.#run())
    return this.#running
  }

  /** Does this while nothing is rewritten. */
  async alone<T>(act: () => Promise<T>): Promise<T> {
    const done = this.#running.then(act)
    this.#running = done.then(
      () => {},
      () => {},
    )
    return await done
  }

  #later(): NodeJS.Timeout {
    return setTimeout(() => void this.run(), EVERY).unref()
  }

  async #run(): Promise<void> {
    const { folder, logger } = this.#options
    try {
      await this.#expire()
      for (let group = this.#group(); group !== undefined && !this.#closed; group = this.#group())
        await this.#rewrite(group)
    } catch (error) {
      logger.warn({ err: error, folder }, 'segments of the log could not be rewritten')
    }
    if (!this.#closed) this.#timer = this.#later()
  }

  async #expire(): Promise<void> {
    const { channels, retentionOf, idempotencyWindow, now } = this.#options
    let left = SLICE
    for (const channel of channels.values()) {
      const { age } = retentionOf(channel.name)
      channel.expire(now() - age)
      channel.expireKeys(now() - idempotencyWindow)
      const idle = channel.follower === undefined && channel.pending === 0 && channel.toldIn !== undefined
      const old = channel.time < now() - Math.max(age, idempotencyWindow) - REMEMBERED
      if (idle && old && channel.runs.length === 0) channels.delete(channel.name)
      if (--left > 0) continue
      left = SLICE
      await new Promise(resolve => setImmediate(resolve))
      if (this.#closed) return
    }
  }

  async #rewrite(group: readonly [Segment, ...Segment[]]): Promise<void> {
    const { folder, channels, segments } = this.#options
    const segment = await rewrite(folder, group, channels)
    segments.splice(segments.indexOf(group[0]), group.length, segment)
  }

  /** Segments that follow on each other and are worth to be rewritten as one. */
  #group(): readonly [Segment, ...Segment[]] | undefined {
    const { segments, idempotencyWindow, now } = this.#options
    const young = now() - idempotencyWindow
    let group: Segment[] = []
    let bytes = 0
    for (const segment of segments) {
      // Its events carry keys that are still known.
      const fits =
        segment.last < young && bytes + live(segment) <= LARGEST && (isWaste(segment) || segment.size < SMALL)
      if (!fits) {
        if (isWorth(group)) break
        group = []
        bytes = 0
      }
      if (segment.last < young && (isWaste(segment) || segment.size < SMALL)) {
        group.push(segment)
        bytes += live(segment)
      }
    }
    const [first, ...rest] = group
    return first !== undefined && isWorth(group) ? [first, ...rest] : undefined
  }
}

function live({ live, liveBytes }: Segment): number {
  return liveBytes + live * OVERHEAD
}

function isWaste(segment: Segment): boolean {
  const waste = segment.size - live(segment)
  return waste > WASTE && waste > segment.size / 2
}

function isWorth(group: readonly Segment[]): boolean {
  return group.length >= MANY || group.some(isWaste)
}
