// A reader with a plan: it has an end, or reads the past at a pace. It has a separate loop, so that flushes stay simple.
// Once it has caught up, a reader without an end becomes an ordinary one.

import type { LogEvent } from '../event/event.ts'
import type { Gap, Position } from '../event/position.ts'
import type { Page } from '../log/log.ts'
import type { Channel } from './channel.ts'
import { pageOf } from './collect.ts'
import { End, Pacing, type Plan } from './plan.ts'
import { Reader, type ReaderOwner } from './reader.ts'
import type { Selection } from './selection.ts'
import { STRETCH } from './stretches.ts'
import type { View } from './view.ts'

/** The connection of a reader with a plan. */
export interface ReplayOwner extends ReaderOwner {
  /** Whether the socket is full. */
  readonly blocked: boolean
  readonly ended: boolean
  /** Writes the next events of the reader, which is then at `to`. */
  deliver(reader: Reader, events: readonly LogEvent[], to: Position): void
  skip(reader: Reader, gap: Gap, to: Position): void
  /** Called when the reader has reached the end of its plan. */
  finished(reader: Reader, plan: Plan): void
}

/** How long an event may wait before it is read again, since it may have been erased, ms. */
const KEPT_MS = 500
/** The longest timer, ms. */
const LONGEST_WAIT_MS = 3_600_000

export class Replay extends Reader {
  readonly #owner: ReplayOwner
  readonly #plan: Plan
  #end: End | undefined
  #pacing: Pacing | undefined
  #state: 'new' | 'running' | 'live' | 'over' = 'new'
  /** Whether there was news or room since the last check. */
  #woken = false
  #resume: (() => void) | undefined

  constructor(channel: Channel, owner: ReplayOwner, at: Position, view: View | undefined, plan: Plan) {
    super(channel, owner, at, view)
    this.#owner = owner
    this.#plan = plan
    this.#pacing = plan.speed === undefined ? undefined : new Pacing(plan.speed)
  }

  /** Whether it has reached the end of its plan. */
  get isOver(): boolean {
    return this.#state === 'over'
  }

  override get atHead(): boolean {
    return this.#state === 'live' && super.atHead
  }

  override wake(): void {
    if (this.#state === 'live') return super.wake()
    this.#woken = true
    this.#resume?.()
    if (this.#state !== 'new') return
    this.#state = 'running'
    void this.#run()
  }

  /** Does not skip: every event is delivered when it is due. */
  override skipToNewest(): void {
    if (this.#state === 'live') super.skipToNewest()
  }

  override leave(): void {
    super.leave()
    if (this.#state !== 'live') this.#state = 'over'
    this.#resume?.()
  }

  get #runs(): boolean {
    return this.#state === 'running' && !this.#owner.ended
  }

  async #run(): Promise<void> {
    while (this.#runs) {
      const page = await this.#read()
      if (page === undefined || !this.#runs) continue
      const result = await this.#play(page)
      if (!this.#runs) return
      if (result === 'live') {
        this.#state = 'live'
        this.wake()
      } else if (result === 'end') {
        this.#state = 'over'
        this.#owner.finished(this, this.#plan)
      }
    }
  }

  /** Reads the next page; undefined if the log is unavailable at the moment. */
  async #read(): Promise<Page | undefined> {
    const { channel, view } = this
    try {
      this.#end ??= await this.#findEnd()
      return await pageOf(channel, { epoch: this.epoch, offset: this.offset }, STRETCH, view?.selection)
    } catch {
      await new Promise<void>(resolve => channel.reads.retryLater(resolve))
      return undefined
    }
  }

  async #findEnd(): Promise<End | undefined> {
    const { until } = this.#plan
    if (until === undefined) return undefined
    return new End(until === 'head' ? await this.channel.resolve('latest') : until)
  }

  /** Writes the events of a page that are due. */
  async #play({ gap, start, events, cursor, more, ended }: Page): Promise<'more' | 'live' | 'end'> {
    const from = { epoch: this.epoch, offset: this.offset }
    if (gap !== undefined) this.#owner.skip(this, gap, start)
    if (this.#end?.isBetween(from, start)) return 'end'
    const kept = Date.now() + KEPT_MS
    for (let at = 0; at < events.length;) {
      const event = events[at] as LogEvent
      if (this.#end?.isBeyond(event)) return 'end'
      // All readers receive the end of a channel in the same way.
      if (event.kind === 'end') return 'live'
      await this.#untilDue(event)
      if (!this.#runs || Date.now() > kept) return 'more'
      const to = this.#countDue(events, at)
      const { epoch, offset } = events[to - 1] as LogEvent
      this.#owner.deliver(this, events.slice(at, to), { epoch, offset })
      at = to
    }
    this.#owner.deliver(this, [], cursor)
    if (this.#end?.isBetween(start, cursor)) return 'end'
    if (more) return 'more'
    return ended ? 'live' : await this.#atHead(cursor)
  }

  /** Waits for room, and for the time of the event. */
  async #untilDue(event: LogEvent): Promise<void> {
    while (this.#runs) {
      const ms = (this.#pacing?.due(event, Date.now()) ?? 0) - Date.now()
      if (ms > 0) await this.#pause(ms)
      else if (this.#owner.blocked) await this.#pause()
      else return
    }
  }

  /** The index after the last event that is due. The event at `from` is due. */
  #countDue(events: readonly LogEvent[], from: number): number {
    const now = Date.now()
    let to = from + 1
    for (; to < events.length; to++) {
      const event = events[to] as LogEvent
      if (event.kind === 'end' || this.#end?.isBeyond(event)) break
      if (this.#pacing !== undefined && this.#pacing.due(event, now) > now) break
    }
    return to
  }

  async #atHead(head: Position): Promise<'more' | 'live' | 'end'> {
    this.#pacing = undefined
    if (this.#end === undefined) return 'live'
    const time = this.#end.timeAt(head)
    if (time !== undefined && time <= Date.now()) return 'end'
    await this.#pause(time === undefined ? undefined : time - Date.now())
    return 'more'
  }

  /** Waits until there is news or room, the reader ends, or `ms` have passed. */
  async #pause(ms = LONGEST_WAIT_MS): Promise<void> {
    if (this.#woken) {
      this.#woken = false
      return
    }
    await new Promise<void>(resolve => {
      const timer = setTimeout(resolve, Math.min(LONGEST_WAIT_MS, Math.ceil(ms)))
      this.#resume = () => {
        clearTimeout(timer)
        resolve()
      }
    })
    this.#resume = undefined
    this.#woken = false
  }
}

/** Creates a reader with a plan, which does not join the channel yet. Raises FW_TOO_MANY_FILTERS. */
export function createReplay(
  channel: Channel,
  owner: ReplayOwner,
  at: Position,
  selection: Selection | undefined,
  plan: Plan,
): Replay {
  return new Replay(channel, owner, at, selection && channel.view(selection), plan)
}
