// What one write puts into the log: the calls of a turn of the event loop, or those that came while the write before it
// was under way. Nothing of it counts until it is written.

import { type Draft, encodeEvent } from '../../event/event.ts'
import type { Receipt } from '../log.ts'
import type { ActiveSegment, Written } from './active.ts'
import type { FileChannel } from './channel.ts'
import type { RecordWriter, Told } from './records.ts'

/** Something that is to be written, and somebody who waits for it. */
export interface Call {
  /** Undefined where the log only has to show that it can be written to. */
  readonly channel: FileChannel | undefined
  readonly drafts: readonly Draft[]
  resolve(receipts: Receipt[]): void
  reject(error: Error): void
}

/** A channel as it will be. */
interface Plan {
  readonly id: number
  /** Set where the segment did not tell of it yet. */
  readonly told: Told | undefined
  head: number
  time: number
  readonly added: { readonly draft: Draft; readonly written: Written }[]
  readonly keys: Map<string, Receipt>
}

export class Commit {
  readonly #active: ActiveSegment
  readonly #records: RecordWriter
  readonly #now: number
  readonly #plans = new Map<FileChannel, Plan>()
  readonly #answers: { readonly call: Call; readonly receipts: Receipt[] }[] = []
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

  add(call: Call): void {
    const { channel, drafts } = call
    const receipts: Receipt[] = []
    this.#answers.push({ call, receipts })
    if (channel === undefined) {
      this.#records.nothing()
      return
    }
    const plan = this.#plan(channel)
    for (const draft of drafts) receipts.push(this.#receipt(channel, plan, draft))
  }

  /** It is written: what was planned holds, followers are told, and then whoever called. */
  apply(): void {
    const base = this.#active.size - this.#records.length
    for (const [channel, { id, told, added, keys }] of this.#plans) {
      if (told !== undefined) this.#active.tell(channel, id, told)
      const written = added.map(each => each.written)
      this.#active.add(channel, base, written)
      for (const [key, receipt] of keys) channel.keys.set(key, receipt)
    }
    for (const [channel, { added }] of this.#plans) this.#deliver(channel, added)
    for (const { call, receipts } of this.#answers) call.resolve(receipts)
  }

  fail(error: Error): void {
    for (const { call } of this.#answers) call.reject(error)
  }

  get channels(): Iterable<FileChannel> {
    return this.#plans.keys()
  }

  #plan(channel: FileChannel): Plan {
    const known = this.#plans.get(channel)
    if (known !== undefined) return known
    const id = this.#active.idOf(channel)
    const { head, time, told } = channel
    const plan: Plan = {
      id: id ?? this.#active.channels + this.#news,
      told: id === undefined ? told : undefined,
      head,
      time,
      added: [],
      keys: new Map(),
    }
    if (id === undefined) {
      this.#news++
      this.#records.channel(plan.id, told)
    }
    this.#plans.set(channel, plan)
    return plan
  }

  #receipt(channel: FileChannel, plan: Plan, draft: Draft): Receipt {
    const { idempotencyKey: key, data } = draft
    const first = key === undefined ? undefined : (plan.keys.get(key) ?? channel.keys.get(key))
    if (first !== undefined) return { ...first, replayed: true }
    const time = Math.max(this.#now, plan.time)
    const offset = ++plan.head
    plan.time = time
    const at = this.#records.length
    const length = this.#records.event(plan.id, offset, time, draft)
    plan.added.push({ draft, written: { offset, time, at, length, bytes: data.length } })
    const receipt = { position: { epoch: channel.epoch, offset }, time, replayed: false }
    if (key !== undefined) plan.keys.set(key, receipt)
    return receipt
  }

  #deliver({ name, epoch, follower }: FileChannel, added: Plan['added']): void {
    if (follower === undefined || added.length === 0) return
    follower.events(
      added.map(({ draft, written: { offset, time } }) => {
        const { type, tags, encoding, priority, data } = draft
        return encodeEvent(
          { channel: name, epoch, offset, time, type, tags, encoding, low: priority === 'low' },
          data,
        )
      }),
    )
  }
}
