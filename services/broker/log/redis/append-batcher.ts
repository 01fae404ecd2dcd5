// Sends all appends of one turn of the event loop, from any requests, to Redis as one call. In a cluster this applies
// within a slot, and a slot's next call waits for the reply to the previous one: otherwise it could overtake a call that
// is redirected to another master.

import type { Draft } from '../../event/event.ts'
import { randomEpoch } from '../history.ts'
import type { Receipt } from '../log.ts'
import type { Argument } from './resp.ts'
import { countOf, isRefusal, parseReceipts, specOf } from './records.ts'
import { evalsha, type Names, type RetentionArgument, type Script } from './scripts.ts'
import { slotOf } from './slots.ts'
import type { Call } from './topology.ts'

/** The maximum events of one call, and bytes of their data, since a call blocks Redis. An append is never split. */
const CALL = 128
const CALL_BYTES = 2 ** 20

interface Options {
  /** append.lua. */
  readonly script: Script
  readonly names: Names
  readonly retention: RetentionArgument
  /** Whether Redis is a cluster. */
  readonly sharded: boolean
  /** Sends a call, once, and returns the reply. */
  send(call: Call): Promise<unknown>
  /** If set, calls are sent one after the other, and `idle` is called when none is left. */
  readonly serial?: { idle(): void }
}

interface Append {
  readonly channel: string
  readonly drafts: readonly Draft[]
  resolve(receipts: Receipt[]): void
  reject(error: unknown): void
}

/** A message that keeps its place among the appends. */
interface Relay {
  readonly channel: string
  readonly message: Buffer
  resolve(): void
  reject(error: unknown): void
}

type Waiting = Append | Relay

interface SlotOptions extends Omit<Options, 'send' | 'serial'> {
  send(slot: number, call: Call): Promise<unknown>
}

/** The appends of a cluster, batched separately for each slot. */
export class SlotAppends {
  readonly #options: SlotOptions
  readonly #slots = new Map<number, Appends>()

  constructor(options: SlotOptions) {
    this.#options = options
  }

  /** See Appends. */
  append(channel: string, drafts: readonly Draft[]): Promise<Receipt[]> {
    return this.#of(channel).append(channel, drafts)
  }

  /** See Appends. */
  relay(channel: string, message: Buffer): Promise<void> {
    return this.#of(channel).relay(channel, message)
  }

  #of(channel: string): Appends {
    const slot = slotOf(channel)
    let appends = this.#slots.get(slot)
    if (appends === undefined) {
      const { send } = this.#options
      const serial = { idle: () => void this.#slots.delete(slot) }
      appends = new Appends({ ...this.#options, send: call => send(slot, call), serial })
      this.#slots.set(slot, appends)
    }
    return appends
  }
}

export class Appends {
  readonly #options: Options
  #waiting: Waiting[] = []

  constructor(options: Options) {
    this.#options = options
  }

  /** See ChannelLog.append. Appends to one channel keep their order. Raises LogUnavailable. */
  append(channel: string, drafts: readonly Draft[]): Promise<Receipt[]> {
    return new Promise((resolve, reject) => this.#wait({ channel, drafts, resolve, reject }))
  }

  /** Publishes a message after the appends that precede it. Raises LogUnavailable. */
  relay(channel: string, message: Buffer): Promise<void> {
    return new Promise((resolve, reject) => this.#wait({ channel, message, resolve, reject }))
  }

  #wait(waiting: Waiting): void {
    if (this.#waiting.push(waiting) === 1) setImmediate(() => this.#send())
  }

  #send(): void {
    const { serial } = this.#options
    if (serial !== undefined) {
      void this.#sendSerially(serial.idle)
      return
    }
    const waiting = this.#waiting
    this.#waiting = []
    for (let at = 0; at < waiting.length;) {
      const until = endOfCall(waiting, at)
      void this.#call(at === 0 && until === waiting.length ? waiting : waiting.slice(at, until))
      at = until
    }
  }

  async #sendSerially(idle: () => void): Promise<void> {
    // While the queue is not empty, `append` does not start another loop.
    while (this.#waiting.length > 0) {
      const until = endOfCall(this.#waiting, 0)
      await this.#call(this.#waiting.slice(0, until))
      this.#waiting.splice(0, until)
    }
    idle()
  }

  async #call(waiting: readonly Waiting[]): Promise<void> {
    const [first] = waiting
    if (first !== undefined && 'message' in first) await this.#publish(first)
    else await this.#append(merged(waiting as readonly Append[]))
  }

  async #append(groups: readonly Group[]): Promise<void> {
    const { script, names, retention, send } = this.#options
    const keys: string[] = []
    const args: Argument[] = [randomEpoch()]
    const refused: Group[] = []
    for (const { channel, drafts } of groups) {
      keys.push(...names.keys(channel))
      args.push(names.feed(channel), retention(channel), countOf(drafts))
      for (const draft of drafts) args.push(specOf(draft), draft.data)
    }
    try {
      const reply = (await send({ args: evalsha(script, keys, args), gathered: true })) as string
      const lines = reply.split('\n')
      for (const [at, group] of groups.entries()) {
        // Sends each of them again separately: a duplicate gets its first result.
        const several = group.appends.length > 1
        if (several && isRefusal(lines[at])) refused.push(...group.appends.flatMap(each => merged([each])))
        else settle(group, lines[at])
      }
    } catch (error) {
      for (const { appends } of groups) for (const { reject } of appends) reject(error)
    }
    if (refused.length > 0) await this.#append(refused)
  }

  async #publish({ channel, message, resolve, reject }: Relay): Promise<void> {
    const { names, sharded, send } = this.#options
    try {
      const command = sharded ? 'spublish' : 'publish'
      await send({ command, args: [names.feed(channel), message], gathered: true })
      resolve()
    } catch (error) {
      reject(error)
    }
  }
}

/** The end of the call that begins at `from`. A message is sent alone. */
function endOfCall(waiting: readonly Waiting[], from: number): number {
  let events = 0
  let bytes = 0
  for (let at = from; at < waiting.length; at++) {
    const each = waiting[at] as Waiting
    if ('message' in each) return Math.max(at, from + 1)
    for (const { data } of each.drafts) bytes += data.length
    events += each.drafts.length
    if (at > from && (events > CALL || bytes > CALL_BYTES)) return at
  }
  return waiting.length
}

/** Appends to one channel that are sent as one. */
interface Group {
  readonly channel: string
  readonly drafts: Draft[]
  readonly appends: Append[]
}

/** Merges the appends to each channel, in order, except those that depend on earlier ones. */
function merged(appends: readonly Append[]): Group[] {
  const groups: Group[] = []
  const open = new Map<string, Group>()
  for (const append of appends) {
    const { channel, drafts } = append
    const alone = drafts.some(({ ifHead, end }) => ifHead !== undefined || end === true)
    const group = alone ? undefined : open.get(channel)
    if (group === undefined) {
      const begun = { channel, drafts: [...drafts], appends: [append] }
      groups.push(begun)
      if (alone) open.delete(channel)
      else open.set(channel, begun)
    } else {
      group.drafts.push(...drafts)
      group.appends.push(append)
    }
  }
  return groups
}

function settle({ drafts, appends }: Group, line = '- Redis did not report on this append'): void {
  try {
    const receipts = parseReceipts(line, drafts.length)
    let at = 0
    for (const { drafts, resolve } of appends) resolve(receipts.slice(at, (at += drafts.length)))
  } catch (error) {
    for (const { reject } of appends) reject(error)
  }
}
