// Sends all reads of one turn of the event loop to Redis as one call, so that a poll of a hundred channels takes one round
// trip. In a cluster, whose slots move independently, each channel has a separate call.

import { randomEpoch } from '../history.ts'
import type { PageLimit } from '../log.ts'
import type { Argument } from './resp.ts'
import { parseRead, type Reading } from './records.ts'
import { answered } from './replies.ts'
import { evalsha, type Names, type Script } from './scripts.ts'
import type { Topology } from './topology.ts'

/** The maximum channels of one call, and bytes of their pages, since a call blocks Redis. */
const CALL = 64
const CALL_BYTES = 4 * 2 ** 20
/** Bytes of replies that may be expected at a time: an append waits behind them. One read may always be under way. */
const EXPECTED_BYTES = 2 * 2 ** 20
/** The number of reads over which the average size of a reply is taken, which is expected of the next reads. */
const AVERAGED = 32

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
  #scheduled = false
  /** Average bytes of a reply. A read returns at least one event, however large. */
  #average = 0
  /** Calls that have no reply yet, and the bytes that are expected of them. */
  #calls = 0
  #expected = 0

  constructor(options: Options) {
    this.#options = options
  }

  /** `args` are those of read.lua after the epoch's name. Raises LogUnavailable. */
  read(channel: string, args: readonly Argument[], { bytes }: PageLimit): Promise<Reading> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ channel, args, bytes, resolve, reject })
      this.#schedule()
    })
  }

  #schedule(): void {
    if (this.#scheduled || this.#waiting.length === 0) return
    this.#scheduled = true
    setImmediate(() => this.#send())
  }

  #send(): void {
    this.#scheduled = false
    const reads = this.#waiting
    let at = 0
    while (at < reads.length) {
      const most = this.#room()
      if (most === 0) break
      const until = endOfCall(reads, at, most)
      void this.#call(reads.slice(at, until))
      at = until
    }
    this.#waiting = reads.slice(at)
  }

  /** How many reads the next call may have; 0: it has to wait for replies. */
  #room(): number {
    // Each master of a cluster has its own connection: one that does not answer must not delay the others.
    if (this.#options.sharded) return 1
    const room = Math.floor((EXPECTED_BYTES - this.#expected) / Math.max(1, this.#average))
    return Math.max(this.#calls === 0 ? 1 : 0, Math.min(CALL, room))
  }

  async #call(reads: readonly Read[]): Promise<void> {
    const { script, names, topology } = this.#options
    const keys = reads.flatMap(({ channel }) => names.keys(channel))
    const args = [randomEpoch(), ...reads.flatMap(each => each.args)]
    const expected = reads.length * Math.ceil(this.#average)
    this.#calls++
    this.#expected += expected
    try {
      const call = { args: evalsha(script, keys, args), buffers: true, again: true, gathered: true }
      const replies = (await topology.call(topology.slot(reads[0]?.channel ?? ''), call)) as unknown[]
      for (const [i, read] of reads.entries()) {
        this.#average += (bytesOf(replies[i]) - this.#average) / AVERAGED
        settle(read, replies[i])
      }
    } catch (error) {
      // Redis may be unavailable: then all waiting reads fail at once, instead of after one timeout each.
      this.#average = 0
      for (const read of reads) read.reject(error)
    } finally {
      this.#calls--
      this.#expected -= expected
      this.#schedule()
    }
  }
}

/** The bytes that a reply holds. */
function bytesOf(reply: unknown): number {
  if (!Array.isArray(reply)) return 0
  return reply.reduce((sum: number, part: unknown) => sum + (Buffer.isBuffer(part) ? part.length : 0), 0)
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
