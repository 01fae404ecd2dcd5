// Periodic maintenance: drops events that are too old, forgets channels that hold nothing, and rewrites segments that hold
// little.

import type { Logger } from '../../logger.ts'
import type { RetentionOf } from '../log.ts'
import type { FileChannel } from './channel.ts'
import { rewrite } from './rewrite.ts'
import type { Segment } from './segment.ts'
import type { Writer } from './writer.ts'

const UPKEEP_MS = 5000
/** The number of channels that are visited in one turn of the event loop. */
const SLICE = 2000
/** How long an empty channel is remembered, ms, after its events and keys have expired. */
const REMEMBERED_MS = 86_400_000

/**
 * Shares of the segment size. A segment is rewritten if its unreadable records exceed WASTE, and half of the segment; it
 * is small below SMALL.
 */
const WASTE = 1 / 32
const SMALL = 1 / 4
/** The number of consecutive small segments that are rewritten as one. */
const MANY = 8

export interface UpkeepOptions {
  readonly folder: string
  readonly channels: Map<string, FileChannel>
  /** The sealed segments, in order. */
  readonly segments: Segment[]
  readonly writer: Writer
  /** Size from which a segment is sealed. */
  readonly segmentBytes: number
  readonly retentionOf: RetentionOf
  readonly idempotencyWindow: number
  readonly now: () => number
  readonly logger: Logger
  /** How often, ms; for tests. */
  readonly every?: number | undefined
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

  /** Runs all of it now. */
  async run(): Promise<void> {
    const { folder, logger } = this.#options
    clearTimeout(this.#timer)
    try {
      await this.#expire()
      while (!this.#closed && (await this.alone(() => this.#rewrite())));
    } catch (error) {
      logger.warn({ err: error, folder }, 'segments of the log could not be rewritten')
    }
    clearTimeout(this.#timer)
    if (!this.#closed) this.#timer = this.#later()
  }

  /** Runs `act` while nothing is rewritten. */
  async alone<T>(act: () => Promise<T>): Promise<T> {
    const done = this.#running.then(act)
    this.#running = done.then(
      () => {},
      () => {},
    )
    return await done
  }

  #later(): NodeJS.Timeout {
    return setTimeout(() => void this.run(), this.#options.every ?? UPKEEP_MS).unref()
  }

  async #expire(): Promise<void> {
    const { channels, writer, retentionOf, idempotencyWindow, now } = this.#options
    let forgets = false
    let left = SLICE
    for (const channel of channels.values()) {
      const retention = retentionOf(channel.name)
      const { age } = retention
      channel.expire(retention, now())
      channel.expireKeys(now() - idempotencyWindow)
      const idle = channel.follower === undefined && channel.pending === 0 && channel.stateIn !== undefined
      const old = channel.time < now() - Math.max(age, idempotencyWindow) - REMEMBERED_MS
      if (idle && old && channel.runs.length === 0) {
        if (!forgets) writer.forget()
        forgets = true
        channels.delete(channel.name)
      }
      if (--left > 0) continue
      left = SLICE
      await new Promise(resolve => setImmediate(resolve))
      if (this.#closed) return
    }
  }

  /** Returns whether there was anything to rewrite. */
  async #rewrite(): Promise<boolean> {
    const { folder, channels, segments, writer } = this.#options
    const newest = writer.segment ?? segments.at(-1)
    if (newest !== undefined && this.#isOld(newest) && this.#isWaste(newest)) await writer.roll()
    const group = this.#group()
    if (group === undefined) return false
    await rewrite(folder, group, channels, segment => {
      segments.splice(segments.indexOf(group[0]), group.length, segment)
    })
    return true
  }

  /** Consecutive segments that are worth rewriting as one. */
  #group(): readonly [Segment, ...Segment[]] | undefined {
    const { segments, writer, segmentBytes } = this.#options
    // The mark refers to the file of the newest segment.
    const sealed = writer.segment === undefined ? segments.slice(0, -1) : segments
    let group: Segment[] = []
    let bytes = 0
    for (const segment of sealed) {
      const may = this.#isOld(segment) && (this.#isWaste(segment) || segment.size < segmentBytes * SMALL)
      const left = segment.size - segment.waste
      // Events of an earlier epoch must not get into a segment with which an epoch began, if older segments precede it.
      const begins = segment.header.epoch !== '' && group[0] !== sealed[0]
      if (!may || begins || bytes + left > segmentBytes) {
        if (this.#isWorth(group)) break
        group = []
        bytes = 0
      }
      if (!may) continue
      group.push(segment)
      bytes += left
    }
    const [first, ...rest] = group
    return first !== undefined && this.#isWorth(group) ? [first, ...rest] : undefined
  }

  /** Whether all idempotency keys of its events have expired: a rewritten segment has no keys. */
  #isOld({ last }: Segment): boolean {
    const { now, idempotencyWindow } = this.#options
    return last < now() - idempotencyWindow
  }

  #isWaste({ size, waste, isDead }: Segment): boolean {
    return waste > size / 2 && (isDead || waste > this.#options.segmentBytes * WASTE)
  }

  #isWorth(group: readonly Segment[]): boolean {
    return group.length >= MANY || group.some(segment => this.#isWaste(segment))
  }
}
