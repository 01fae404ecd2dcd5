// The entries of one bulk publish, in either form: each is published separately, and the results go out in the order of
// the entries.

import { setImmediate } from 'node:timers/promises'
import { FanwireError } from '../../errors.ts'
import type { Published, Publishing } from '../../broker/publisher.ts'
import type { Context } from '../../http/context.ts'
import { TURN } from '../../http/turns.ts'
import type { Draft } from '../../broker/event/event.ts'
import { parseEntry } from '../../broker/event/publish-entry.ts'
import { printReceipt } from '../../broker/event/receipt.ts'
import { Appender, type Outcome } from './appender.ts'

/** The maximum entries whose results are not sent yet, perhaps because an earlier one is pending. */
const WINDOW = 4096

/** Maximum number of channels that are remembered for a reached limit. Others are checked each time. */
const MOST_LIMITED = 10_000
/** Errors that an entry itself causes: they say nothing about the others. */
const OWN: ReadonlySet<string> = new Set([
  'FW_HEAD_MOVED',
  'FW_CHANNEL_ENDED',
  'FW_BAD_EVENT',
  'FW_TOO_LARGE',
])
const NOT_TRIED = 'an earlier event of this channel failed, so this one was not tried'

/** An entry in progress. */
interface Slot {
  readonly index: number
  /** Empty if the entry itself is invalid. */
  readonly channels: readonly string[]
  readonly several: boolean
  readonly outcomes: (Outcome | undefined)[]
  left: number
}

export class Entries {
  /** The number of entries taken. */
  taken = 0
  /** The number of events that the log holds, including duplicates. */
  held = 0
  /** The first failure of the log, the node or the application. */
  fault: FanwireError | undefined
  readonly #context: Context
  readonly #by: Publishing
  readonly #appender: Appender
  readonly #onResult: (json: string) => void
  /** Channels in which a limit refused an event: later events must not precede it. */
  readonly #limited = new Set<string>()
  /** The first refusal that the entry itself did not cause. */
  #refusal: FanwireError | undefined
  /** Whether entries were refused for different reasons. */
  #isMixed = false
  #slots: (Slot | undefined)[] = []
  #first = 0

  /** `onResult` gets one JSON text per entry, in order; `onFault` the node's own errors. */
  constructor(
    context: Context,
    by: Publishing,
    onResult: (json: string) => void,
    onFault: (error: unknown) => void,
  ) {
    this.#context = context
    this.#by = by
    this.#onResult = onResult
    this.#appender = new Appender(
      (channel, drafts) => context.publisher.append(channel, drafts, by),
      onFault,
      channel => context.publisher.hookOf(by.identity, channel) !== undefined,
    )
  }

  /** The error of the whole request if nothing is held. Undefined if each entry has its own. */
  get failure(): FanwireError | undefined {
    return this.fault ?? (this.#isMixed ? undefined : this.#refusal)
  }

  /** The number of events in flight to the log. */
  get pending(): number {
    return this.#appender.pending
  }

  /** Whether the log counts as lost. */
  get gaveUp(): boolean {
    return this.#appender.gaveUp
  }

  /** Whether the publisher's credentials have ended: the caller publishes no more. */
  get lapsed(): boolean {
    return !this.#context.access.isCurrent(this.#by.identity)
  }

  /** Returns when the next entry may be taken. */
  async room(): Promise<void> {
    // Gives other clients a turn, even if the log answers at once.
    if (this.taken % TURN === 0) await setImmediate()
    while (this.#full) await this.#appender.changed()
  }

  get #full(): boolean {
    return this.#appender.full || this.#slots.length - this.#first >= WINDOW
  }

  /** Takes an entry. `where` begins the message of its error, e.g. `line 3: `. */
  publish(raw: Buffer, where = ''): void {
    try {
      const { channels, several, draft } = parseEntry(raw, this.#context.config)
      const slot = this.#slot(channels, several)
      for (const [at, channel] of channels.entries()) {
        const refusal = this.#refusalOf(channel, draft)
        if (refusal === undefined)
          this.#appender.publish(channel, draft, outcome => this.#settle(slot, at, outcome))
        else this.#settle(slot, at, refusal)
      }
    } catch (error) {
      if (!(error instanceof FanwireError)) throw error
      this.refuse(new FanwireError(error.code, where + error.message, { cause: error }))
    }
  }

  /** Why the publisher may not publish to a channel. The other channels are not affected. */
  #refusalOf(channel: string, draft: Draft): FanwireError | undefined {
    try {
      if (this.#limited.has(channel)) throw new FanwireError('FW_NOT_TRIED', NOT_TRIED)
      this.#context.publisher.admit(this.#by, channel, draft)
      return undefined
    } catch (error) {
      if (!(error instanceof FanwireError)) throw error
      if (error.code === 'FW_TOO_MANY_REQUESTS' && this.#limited.size < MOST_LIMITED)
        this.#limited.add(channel)
      return error
    }
  }

  /** Takes an entry that can't be published. */
  refuse(error: FanwireError): void {
    const slot = this.#slot([''], false)
    slot.outcomes[0] = error
    slot.left = 0
    this.#isMixed = true
    this.#hand()
  }

  /** Returns when every entry taken has its result. */
  async settled(): Promise<void> {
    while (this.#appender.pending > 0) await this.#appender.changed()
  }

  #slot(channels: readonly string[], several: boolean): Slot {
    const outcomes = new Array<undefined>(channels.length).fill(undefined)
    const slot: Slot = { index: this.taken++, channels, several, outcomes, left: channels.length }
    this.#slots.push(slot)
    return slot
  }

  #settle(slot: Slot, at: number, outcome: Outcome): void {
    if (outcome instanceof FanwireError) this.#failed(outcome)
    else this.held++
    slot.outcomes[at] = outcome
    slot.left--
    if (slot.left === 0) this.#hand()
  }

  #failed(error: FanwireError): void {
    // Another entry's failure caused this one.
    if (error.code === 'FW_NOT_TRIED') return
    if (error.statusCode >= 500) this.fault ??= error
    else if (OWN.has(error.code)) this.#isMixed = true
    else if ((this.#refusal ??= error).code !== error.code) this.#isMixed = true
  }

  /** Emits the results that no earlier entry delays. */
  #hand(): void {
    for (let slot = this.#slots[this.#first]; slot?.left === 0; slot = this.#slots[this.#first]) {
      this.#slots[this.#first++] = undefined
      this.#onResult(printResult(slot))
    }
    if (this.#first < WINDOW && this.#first < this.#slots.length) return
    this.#slots = this.#slots.slice(this.#first)
    this.#first = 0
  }
}

function printResult({ index, channels, several, outcomes }: Slot): string {
  const results = outcomes.map((outcome, at) => {
    if (outcome instanceof FanwireError) return printError(index, outcome, several ? channels[at] : undefined)
    return printReceipt(channels[at] as string, outcome as Published)
  })
  return several ? `{"results":[${results.join(',')}]}` : (results[0] as string)
}

/** `channel` if the entry has several. */
export function printError(index: number, error: FanwireError, channel?: string): string {
  return JSON.stringify({ index, ...(channel === undefined ? {} : { channel }), ...error.toJSON() })
}
