// Sends all reads of one turn of the event loop to Redis as one call, so that a poll of a hundred channels takes one round
// trip. In a cluster, whose slots move independently, each channel has a separate call.

import { randomEpoch } from '../history.ts'
import type { PageLimit } from '../log.ts'
import type { Argument } from './connection.ts'
import { parseRead, type Reading } from './records.ts'
import { answered } from './replies.ts'
import { evalsha, type Names, type Script } from './scripts.ts'
import type { Topology } from './topology.ts'

/** The maximum channels of one call, and bytes of their pages, since a call blocks Redis. */
const CALL = 64
const CALL_BYTES = 4 * 2 ** 20

interface Options {
  /** reads.lua. */
  readonly script: Script
  readonly names: Names
  /** Whether Redis is a cluster. */
  readonly sharded: boolean
  readonly topology: Pick<Topology, 'call' | 'slot'>
}

interface Read {
  readonly channel: string
  readonly args: readonly Argument[]
  readonly bytes: number
  resolve(reading: Reading): void
  reject(error: unknown): void
}

export class Reads {
  readonly #options: Options
  #waiting: Read[] = []

  constructor(options: Options) {
    this.#options = options
  }

  /** `args` are those of read.lua after the epoch's name. Raises LogUnavailable. */
  read(channel: string, args: readonly Argument[], { bytes }: PageLimit): Promise<Reading> {
    return new Promise((resolve, reject) => {
      if (this.#waiting.push({ channel, args, bytes, resolve, reject }) === 1)
        setImmediate(() => this.#send())
    })
  }

  #send(): void {
    const waiting = this.#waiting
    this.#waiting = []
    const most = this.#options.sharded ? 1 : CALL
    for (let at = 0; at < waiting.length;) {
      const until = endOfCall(waiting, at, most)
      void this.#call(waiting.slice(at, until))
      at = until
    }
  }

  async #call(reads: readonly Read[]): Promise<void> {
    const { script, names, topology } = this.#options
    const keys = reads.flatMap(({ channel }) => names.keys(channel))
    const args = [randomEpoch(), ...reads.flatMap(each => each.args)]
    try {
      const call = { args: evalsha(script, keys, args), buffers: true, again: true }
      const replies = (await topology.call(topology.slot(reads[0]?.channel ?? ''), call)) as unknown[]
      for (const [i, read] of reads.entries()) settle(read, replies[i])
    } catch (error) {
      for (const read of reads) read.reject(error)
    }
  }
}

/** The end of the call that begins at `from`. */
function endOfCall(reads: readonly Read[], from: number, most: number): number {
  let bytes = 0
  for (let at = from; at < reads.length && at < from + most; at++) {
    bytes += (reads[at] as Read).bytes
    if (bytes > CALL_BYTES && at > from) return at
  }
  return Math.min(reads.length, from + most)
}

function settle({ channel, resolve, reject }: Read, reply: unknown): void {
  try {
    if (Buffer.isBuffer(reply)) throw answered(reply.toString('latin1', 1))
    resolve(parseRead(channel, reply))
  } catch (error) {
    reject(error)
  }
}
