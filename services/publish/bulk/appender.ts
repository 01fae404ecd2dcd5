// Appends for one bulk request: in order within a channel, in few round trips, and bounded.

import { FanwireError } from '../../errors.ts'
import { clientErrorOf } from '../../broker/log/client-error.ts'
import type { Draft } from '../../broker/event/event.ts'
import { ChannelEnded, NotAppended } from '../../broker/log/log.ts'
import type { Published } from '../../broker/publisher.ts'

export type Outcome = Published | FanwireError

/** The maximum events of one request in flight to the log. */
const IN_FLIGHT = 256
/** The maximum bytes of their data. A larger event is sent alone. */
const IN_FLIGHT_BYTES = 4 * 2 ** 20
/** The maximum events of one append, since it blocks the log for other clients. */
const BATCH = 128
const BATCH_BYTES = 2 ** 20
/** The consecutive failed appends after which the log counts as lost. */
const FAILED_IN_A_ROW = 256
/** The failed channels after which the log counts as lost, since each must be remembered. */
const FAILED_CHANNELS = 10_000

type Append = (channel: string, drafts: readonly Draft[]) => Promise<readonly Published[]>

interface Publish {
  readonly draft: Draft
  /** Called once; never before `publish` has returned. */
  readonly done: (outcome: Outcome) => void
}

/** The publishes of one channel that wait for the append before them. A channel has at most one append in flight. */
interface Lane {
  readonly channel: string
  waiting: Publish[]
  busy: boolean
}

/**
 * When a channel's append has returned, all its events that arrived meanwhile form the next one. If an append fails, its
 * events fail, and all later ones of that channel fail untried: otherwise the log could have a later event without an
 * earlier one.
 */
export class Appender {
  readonly #append: Append
  readonly #onFault: (error: unknown) => void
  readonly #isJudged: (channel: string) => boolean
  readonly #lanes = new Map<string, Lane>()
  readonly #failed = new Set<string>()
  /** Lanes with something to append and no append in flight. */
  #ready: Lane[] = []
  #scheduled = false
  #inFlight = 0
  #inFlightBytes = 0
  #waiting = 0
  #waitingBytes = 0
  #failedInARow = 0
  #wake: (() => void)[] = []

  /**
   * `onFault` receives the node's own errors; the client gets FW_INTERNAL. `isJudged`: whether a hook decides about
   * each event of the channel: the result for one does not affect the others.
   */
  constructor(
    append: Append,
    onFault: (error: unknown) => void,
    isJudged: (channel: string) => boolean = () => false,
  ) {
    this.#append = append
    this.#isJudged = isJudged
    this.#onFault = onFault
  }

  /** The number of publishes without a result. */
  get pending(): number {
    return this.#inFlight + this.#waiting
  }

  /** Whether enough is in flight: the caller publishes no more before `changed`. */
  get full(): boolean {
    return this.pending >= IN_FLIGHT || this.#inFlightBytes + this.#waitingBytes >= IN_FLIGHT_BYTES
  }

  /** Whether the log counts as lost: later publishes fail untried. */
  get gaveUp(): boolean {
    return this.#failedInARow >= FAILED_IN_A_ROW || this.#failed.size >= FAILED_CHANNELS
  }

  /** Returns after the next append has returned. */
  async changed(): Promise<void> {
    await new Promise<void>(resolve => {
      this.#wake.push(resolve)
    })
  }

  publish(channel: string, draft: Draft, done: (outcome: Outcome) => void): void {
    let lane = this.#lanes.get(channel)
    if (lane === undefined) {
      lane = { channel, waiting: [], busy: false }
      this.#lanes.set(channel, lane)
    }
    if (!lane.busy && lane.waiting.length === 0) this.#ready.push(lane)
    lane.waiting.push({ draft, done })
    this.#waiting++
    this.#waitingBytes += draft.data.length
    this.#schedule()
  }

  /** Appends in a microtask, so that synchronous publishes are appended together. */
  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    queueMicrotask(() => {
      this.#scheduled = false
      this.#send()
    })
  }

  #send(): void {
    let next = 0
    for (; next < this.#ready.length; next++) {
      if (this.#inFlight >= IN_FLIGHT) break
      if (this.#inFlight > 0 && this.#inFlightBytes >= IN_FLIGHT_BYTES) break
      const lane = this.#ready[next]
      if (lane === undefined) continue
      if (this.#failed.has(lane.channel) || this.gaveUp) this.#refuse(lane)
      else void this.#run(lane)
    }
    this.#ready = this.#ready.slice(next)
  }

  async #run(lane: Lane): Promise<void> {
    const judged = this.#isJudged(lane.channel)
    const { batch, bytes } = takeBatch(lane, judged ? 1 : IN_FLIGHT - this.#inFlight)
    lane.busy = true
    this.#move(batch.length, bytes)
    const drafts = batch.map(publish => publish.draft)
    let outcome: readonly Published[] | FanwireError
    let outcomes: readonly Outcome[] | undefined
    try {
      outcome = await this.#append(lane.channel, drafts)
      if (outcome.length !== batch.length) throw new Error(`${outcome.length} receipts of ${batch.length}`)
      this.#failedInARow = 0
    } catch (error) {
      outcome = this.#errorOf(error)
      // An event that conflicts with the channel's state does not affect later events.
      if (!(error instanceof NotAppended || (judged && error instanceof FanwireError))) {
        this.#failedInARow++
        this.#failed.add(lane.channel)
      }
      if (error instanceof ChannelEnded && batch.length > 1)
        outcomes = await this.#oneByOne(lane.channel, drafts)
    }
    lane.busy = false
    this.#inFlight -= batch.length
    this.#inFlightBytes -= bytes
    for (const [at, { done }] of batch.entries()) {
      if (outcomes !== undefined) done(outcomes[at] as Outcome)
      else if (outcome instanceof FanwireError) done(outcome)
      else done(outcome[at] as Published)
    }
    if (lane.waiting.length === 0) this.#lanes.delete(lane.channel)
    else this.#ready.push(lane)
    this.#send()
    this.#wakeUp()
  }

  /** Appends one by one to a channel that has ended, so that duplicates get their first result. */
  async #oneByOne(channel: string, drafts: readonly Draft[]): Promise<Outcome[]> {
    const outcomes: Outcome[] = []
    for (const draft of drafts) {
      const outcome = await this.#append(channel, [draft]).catch(error => this.#errorOf(error))
      outcomes.push(outcome instanceof FanwireError ? outcome : (outcome[0] as Published))
    }
    return outcomes
  }

  /** Moves events from waiting to in flight. */
  #move(count: number, bytes: number): void {
    this.#waiting -= count
    this.#waitingBytes -= bytes
    this.#inFlight += count
    this.#inFlightBytes += bytes
  }

  /** Fails the waiting events, untried. */
  #refuse(lane: Lane): void {
    const message = this.#failed.has(lane.channel)
      ? 'an earlier event of this channel failed, so this one was not tried'
      : 'the log failed too often, so this event was not tried'
    const error = new FanwireError('FW_NOT_TRIED', message)
    this.#lanes.delete(lane.channel)
    for (const { draft, done } of lane.waiting) {
      this.#waiting--
      this.#waitingBytes -= draft.data.length
      done(error)
    }
    this.#wakeUp()
  }

  #wakeUp(): void {
    const woken = this.#wake
    this.#wake = []
    for (const resolve of woken) resolve()
  }

  #errorOf(cause: unknown): FanwireError {
    const coded = clientErrorOf(cause)
    if (coded !== undefined) return coded
    this.#onFault(cause)
    return new FanwireError('FW_INTERNAL', 'a fault of the node', { cause })
  }
}

function takeBatch(lane: Lane, room: number): { batch: Publish[]; bytes: number } {
  const most = Math.min(room, BATCH, lane.waiting.length)
  let count = 0
  let bytes = 0
  const first = lane.waiting[0]?.draft
  while (count < most && (count === 0 || bytes < BATCH_BYTES)) {
    const draft = lane.waiting[count]?.draft
    // An event with a condition is appended separately, and kept events separately from transient ones.
    const alone = first?.ifHead !== undefined || draft?.ifHead !== undefined
    if (count > 0 && (alone || draft?.transient !== first?.transient)) break
    bytes += lane.waiting[count]?.draft.data.length ?? 0
    count++
  }
  return { batch: lane.waiting.splice(0, count), bytes }
}
