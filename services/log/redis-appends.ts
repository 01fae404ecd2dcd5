// Appends that are asked for in one turn of the event loop, by whichever requests, go to Redis as one call.

import type { Draft } from './event.ts'
import { randomEpoch } from './history.ts'
import type { Receipt } from './log.ts'
import type { Argument } from './redis-connection.ts'
import { parseReceipts, specOf } from './redis-records.ts'
import { evalsha, type Names, type Script } from './redis-scripts.ts'

/** Events of one call, and bytes of their data: it holds up Redis for everybody else. One append is never split. */
const CALL = 128
const CALL_BYTES = 2 ** 20

interface Options {
  /** append.lua. */
  readonly script: Script
  readonly names: Names
  /** Sends EVALSHA, once, and returns the reply. */
  send(args: Argument[]): Promise<string>
}

interface Append {
  readonly channel: string
  readonly drafts: readonly Draft[]
  resolve(receipts: Receipt[]): void
  reject(error: unknown): void
}

export class Appends {
  readonly #options: Options
  #waiting: Append[] = []

  constructor(options: Options) {
    this.#options = options
  }

  /** Appends of one channel keep their order. Raises LogUnavailable. */
  append(channel: string, drafts: readonly Draft[]): Promise<Receipt[]> {
    return new Promise((resolve, reject) => {
      if (this.#waiting.push({ channel, drafts, resolve, reject }) === 1) setImmediate(() => this.#send())
    })
  }

  #send(): void {
    const waiting = this.#waiting
    this.#waiting = []
    let from = 0
    let events = 0
    let bytes = 0
    for (const [at, { drafts }] of waiting.entries()) {
      let size = 0
      for (const { data } of drafts) size += data.length
      if (at > from && (events + drafts.length > CALL || bytes + size > CALL_BYTES)) {
        void this.#call(waiting.slice(from, at))
        from = at
        events = 0
        bytes = 0
      }
      events += drafts.length
      bytes += size
    }
    void this.#call(from === 0 ? waiting : waiting.slice(from))
  }

  async #call(appends: readonly Append[]): Promise<void> {
    const { script, names, send } = this.#options
    const keys: string[] = []
    const args: Argument[] = [randomEpoch()]
    for (const { channel, drafts } of appends) {
      keys.push(...names.keys(channel))
      args.push(names.feed(channel), drafts.length)
      for (const draft of drafts) args.push(specOf(draft), draft.data)
    }
    try {
      const lines = (await send(evalsha(script, keys, args))).split('\n')
      for (const [at, append] of appends.entries()) settle(append, lines[at])
    } catch (error) {
      for (const { reject } of appends) reject(error)
    }
  }
}

function settle({ drafts, resolve, reject }: Append, line = '- Redis said nothing of this append'): void {
  try {
    resolve(parseReceipts(line, drafts.length))
  } catch (error) {
    reject(error)
  }
}
