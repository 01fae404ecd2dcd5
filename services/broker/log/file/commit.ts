// The content of one write to the log: the calls of one turn of the event loop, or those that arrived during the
// previous write. It takes effect once it is written.

import { type Draft, encodeEvent, type EventHead, headOfDraft, transientOf } from '../../event/event.ts'
import { clearedHistory, headOf, type History, refusalOf } from '../history.ts'
import { ChannelEnded, type Receipt } from '../log.ts'
import type { ActiveSegment, Written } from './active.ts'
import type { FileChannel, Run } from './channel.ts'
import type { RecordWriter, ChannelState } from './records.ts'

export type Operation =
  | { readonly act: 'append'; readonly channel: FileChannel; readonly drafts: readonly Draft[] }
  /** Delivers transient events to the follower after the events that are written. */
  | {
      readonly act: 'relay'
      readonly channel: FileChannel
      readonly drafts: readonly Draft[]
      readonly time: number
    }
  /** Begins this epoch. `cleared` receives the runs of the erased events. */
  | {
      readonly act: 'clear'
      readonly channel: FileChannel
      readonly epoch: string
      cleared(runs: Run[]): void
    }
  /** Shows that the log can be written to. */
  | { readonly act: 'nothing'; readonly channel: undefined }

/** An operation and its caller's promise. Operations are executed in the order of the calls. */
export interface Call {
  readonly operation: Operation
  resolve(receipts: Receipt[]): void
  reject(error: Error): void
}

/** The planned state of a channel. */
interface Plan {
  readonly id: number
  state: ChannelState | undefined
  history: History
  time: number
  readonly written: Written[]
  readonly keys: Map<string, Receipt>
  cleared: boolean
}

interface Answer {
  readonly call: Call
  receipts: Receipt[]
  readonly events: { readonly head: EventHead; readonly data: Buffer }[]
  error: Error | undefined
}

export class Commit {
  readonly #active: ActiveSegment
  readonly #records: RecordWriter
  readonly #now: number
  readonly #plans = new Map<FileChannel, Plan>()
  readonly #answers: Answer[] = []
  #news = 0

  constructor(active: ActiveSegment, records: RecordWriter, now: number) {
    this.#active = active
    this.#records = records
    this.#now = now
    records.clear()
  }

  get bytes(): Buffer {
    return this.#records.bytes
  }

  get channels(): Iterable<FileChannel> {
    return this.#plans.keys()
  }

  /** Returns false if the call has to be in the next commit: one that clears a channel has no other call for it. */
  add(call: Call): boolean {
    const { operation } = call
    const { channel } = operation
    const plan = channel && this.#plans.get(channel)
    if (plan?.cleared || (operation.act === 'clear' && plan !== undefined)) return false
    const answer: Answer = { call, receipts: [], events: [], error: undefined }
    this.#answers.push(answer)
    if (operation.act === 'nothing') this.#records.nothing()
    if (operation.act === 'append') this.#append(answer, operation.channel, operation.drafts)
    if (operation.act === 'clear') this.#clear(operation.channel, operation.epoch)
    if (operation.act === 'relay') {
      const { history } = plan ?? operation.channel
      if (history.over) answer.error = new ChannelEnded(headOf(history))
    }
    return true
  }

  /** Called once it is written: applies the plan, then notifies the followers, then the callers. */
  apply(): void {
    const base = this.#active.size - this.#records.length
    const cleared = new Map<FileChannel, Run[]>()
    for (const [channel, plan] of this.#plans) {
      const { id, state, written, keys, history } = plan
      if (state !== undefined) this.#active.setState(channel, id, state)
      if (plan.cleared) cleared.set(channel, channel.clear(history))
      channel.over = history.over ?? false
      this.#active.add(channel, base, written)
      for (const [key, receipt] of keys) channel.keys.set(key, receipt)
    }
    for (const { call, receipts, events, error } of this.#answers) {
      if (error !== undefined) call.reject(error)
      else {
        const { operation } = call
        const follower = operation.channel?.follower
        if (events.length > 0) follower?.events(events.map(({ head, data }) => encodeEvent(head, data)))
        if (operation.act === 'clear') notifyCleared(operation, cleared.get(operation.channel) ?? [])
        if (operation.act === 'relay') relay(operation)
        call.resolve(receipts)
      }
    }
  }

  fail(error: Error): void {
    for (const { call } of this.#answers) refuse(call, error)
  }

  #plan(channel: FileChannel): Plan {
    const known = this.#plans.get(channel)
    if (known !== undefined) return known
    const id = this.#active.idOf(channel) ?? this.#active.channels + this.#news++
    const { history, time } = channel
    const plan = { id, state: undefined, history, time, written: [], keys: new Map(), cleared: false }
    this.#plans.set(channel, plan)
    if (this.#active.idOf(channel) === undefined) this.#setState(plan, channel.state)
    return plan
  }

  #setState(plan: Plan, state: ChannelState): void {
    plan.state = state
    this.#records.channel(plan.id, state)
  }

  #clear(channel: FileChannel, epoch: string): void {
    const plan = this.#plan(channel)
    plan.cleared = true
    plan.history = clearedHistory(plan.history, epoch)
    const { ended, head, floor } = plan.history
    this.#setState(plan, { name: channel.name, epoch, ended, head, floor, time: plan.time, over: false })
  }

  #append(answer: Answer, channel: FileChannel, drafts: readonly Draft[]): void {
    const plan = this.#plan(channel)
    const firstOf = ({ idempotencyKey: key }: Draft) =>
      key === undefined ? undefined : (plan.keys.get(key) ?? channel.keys.get(key))
    answer.error = refusalOf(plan.history, drafts, draft => firstOf(draft) === undefined)
    if (answer.error !== undefined) return
    for (const draft of drafts) {
      const first = firstOf(draft)
      answer.receipts.push(
        first === undefined ? this.#write(answer, channel, plan, draft) : { ...first, replayed: true },
      )
    }
  }

  #write(answer: Answer, { name }: FileChannel, plan: Plan, draft: Draft): Receipt {
    const { idempotencyKey: key, data, end } = draft
    const { epoch } = plan.history
    const time = Math.max(this.#now, plan.time)
    const offset = plan.history.head + 1
    plan.history = { ...plan.history, head: offset, over: end ?? false }
    plan.time = time
    const at = this.#records.length
    const length = this.#records.event(plan.id, offset, time, draft)
    plan.written.push({ offset, time, at, length, bytes: data.length })
    const position = { epoch, offset }
    answer.events.push({ head: headOfDraft(name, position, time, draft), data })
    const receipt = { position, time, replayed: false }
    if (key !== undefined) plan.keys.set(key, receipt)
    return receipt
  }
}

function notifyCleared({ channel, cleared }: Extract<Operation, { act: 'clear' }>, runs: Run[]): void {
  const { epoch, ended, head } = channel
  const from = { epoch: ended.at(-1)?.epoch ?? epoch, offset: head }
  channel.follower?.gap({ from, to: { epoch, offset: head } }, false)
  cleared(runs)
}

export function relay({ channel, drafts, time }: Extract<Operation, { act: 'relay' }>): void {
  channel.follower?.transient(drafts.map(draft => transientOf(channel.name, time, draft)))
}

/** Called if it could not be written. Transient events succeed nevertheless: they are not written. */
export function refuse({ operation, resolve, reject }: Call, error: Error): void {
  if (operation.act !== 'relay') return reject(error)
  relay(operation)
  resolve([])
}
