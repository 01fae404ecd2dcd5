// Writes appends, one write at a time: all calls of one turn of the event loop, then all calls that arrived meanwhile.

import { createHash } from 'node:crypto'
import type { Logger } from '../../logger.ts'
import { AppendsRefused, LogUnavailable, type Receipt } from '../log.ts'
import { ActiveSegment } from './active.ts'
import type { FileChannel } from './channel.ts'
import { type Call, Commit, type Operation, refuse, relay } from './commit.ts'
import { Mark } from './mark.ts'
import { RecordWriter } from './records.ts'
import { Refusals } from './refusals.ts'
import type { Segment } from './segment.ts'

/** A segment is sealed when it exceeds this many bytes or channels. */
export const SEGMENT_BYTES = 32 * 2 ** 20
/** Bytes of records after which a write takes no further calls. */
const WRITE_BYTES = 8 * 2 ** 20

export interface WriterOptions {
  readonly folder: string
  /** Ms until acknowledged events are on disk; 0: they are on disk before they are acknowledged. */
  readonly fsync: number
  readonly idempotencyWindow: number
  readonly now: () => number
  readonly segmentBytes: number
  readonly logger: Logger
  /** Called with channels that have new events, or their first record in the log. */
  committed(channels: Iterable<FileChannel>): void
  sealed(segment: Segment): void
}

export class Writer {
  readonly #options: WriterOptions
  readonly #mark: Mark
  readonly #records = new RecordWriter()
  readonly #refusals: Refusals
  #queue: Call[] = []
  #active: ActiveSegment | undefined
  /** Number of the next segment. */
  #next: number
  #busy = false
  #idle: (() => void)[] = []
  #syncing: NodeJS.Timeout | undefined
  #closed = false

  constructor(options: WriterOptions, next: number, seed: string) {
    this.#options = options
    this.#next = next
    this.#mark = new Mark(options.folder, seed)
    this.#refusals = new Refusals(options.logger, options.folder)
  }

  /** The epoch of a channel that has no record in the log. */
  epochOf(channel: string): string {
    const hash = createHash('sha256').update(`${this.#mark.seed} ${channel}`)
    return hash.digest('hex').slice(0, 12)
  }

  /** Called before the log forgets channels. */
  forget(): void {
    this.#mark.reseed()
  }

  /** Returns once the call is written. Raises AppendsRefused, HeadMoved, ChannelEnded, LogUnavailable. */
  do(operation: Operation): Promise<Receipt[]> {
    if (this.#closed) throw new LogUnavailable('the log is closed')
    return new Promise((resolve, reject) => {
      if (operation.act === 'relay' && !this.#busy) {
        relay(operation)
        resolve([])
        return
      }
      const { channel } = operation
      if (channel !== undefined) channel.pending++
      this.#queue.push({ operation, resolve, reject })
      if (this.#busy) return
      this.#busy = true
      setImmediate(() => void this.#run())
    })
  }

  /** Begins this epoch in all existing channels. Returns once it is on disk. */
  async beginEpoch(epoch: string): Promise<void> {
    await this.#alone(() => this.#roll(epoch))
  }

  /** Switches to a new segment, so that this one can be rewritten. */
  async roll(): Promise<void> {
    await this.#alone(() => this.#roll(''))
  }

  /** The active segment. */
  get segment(): Segment | undefined {
    return this.#active?.segment
  }

  /** Completes the write in progress; later calls are refused. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    for (const call of this.#queue.splice(0)) this.#refuse(call, new LogUnavailable('the log is closed'))
    while (this.#busy) await this.#untilIdle()
    clearTimeout(this.#syncing)
    let clean = true
    try {
      await this.#seal()
    } catch {
      clean = false
      await this.#active?.close()
    }
    this.#mark.close(clean)
  }

  async #run(): Promise<void> {
    while (this.#queue.length > 0) await this.#commit()
    this.#busy = false
    for (const resolve of this.#idle.splice(0)) resolve()
  }

  async #commit(): Promise<void> {
    let commit: Commit | undefined
    try {
      const active = await this.#room()
      commit = new Commit(active, this.#records, this.#options.now())
      while (commit.bytes.length < WRITE_BYTES) {
        const [call] = this.#queue
        if (call === undefined || !commit.add(call)) break
        this.#queue.shift()
        if (call.operation.channel !== undefined) call.operation.channel.pending--
      }
      if (commit.bytes.length > 0) {
        await active.write(commit.bytes, size => this.#mark.move(size))
        this.#syncSoon()
        this.#refusals.written(commit.bytes.length)
      }
    } catch (error) {
      const refusal = refusalOf(error)
      this.#refusals.refused(commit?.bytes.length ?? 0, refusal)
      if (commit === undefined) for (const call of this.#queue.splice(0)) this.#refuse(call, refusal)
      commit?.fail(refusal)
      return
    }
    commit.apply()
    this.#options.committed(commit.channels)
  }

  #refuse(call: Call, error: Error): void {
    if (call.operation.channel !== undefined) call.operation.channel.pending--
    refuse(call, error)
  }

  async #room(): Promise<ActiveSegment> {
    if (this.#active === undefined || this.#active.size >= this.#options.segmentBytes)
      return await this.#roll('')
    return this.#active
  }

  async #roll(epoch: string): Promise<ActiveSegment> {
    await this.#seal()
    const { folder, fsync } = this.#options
    const number = this.#next
    const active = await ActiveSegment.create(folder, { number, from: number, epoch }, fsync === 0)
    this.#next++
    this.#active = active
    this.#mark.begin(number, active.segment.path)
    this.#mark.move(active.size)
    return active
  }

  async #seal(): Promise<void> {
    const active = this.#active
    if (active === undefined) return
    await active.seal(this.#options.now() - this.#options.idempotencyWindow)
    this.#active = undefined
    this.#options.sealed(active.segment)
  }

  #syncSoon(): void {
    const { fsync } = this.#options
    if (fsync === 0 || this.#syncing !== undefined) return
    this.#syncing = setTimeout(() => {
      this.#syncing = undefined
      // If it fails, later writes fail too.
      this.#active?.sync().catch(() => {})
    }, fsync).unref()
  }

  /** Runs `act` while nothing is written. */
  async #alone(act: () => Promise<unknown>): Promise<void> {
    while (this.#busy) await this.#untilIdle()
    this.#busy = true
    try {
      await act()
    } finally {
      void this.#run()
    }
  }

  /** Returns when no write is in progress. Another one may have begun by the time the caller continues. */
  #untilIdle(): Promise<void> {
    return new Promise(resolve => this.#idle.push(resolve))
  }
}

function refusalOf(error: unknown): LogUnavailable {
  const { code = 'EIO', message } = error as NodeJS.ErrnoException
  const why =
    code === 'ENOSPC' || code === 'EDQUOT'
      ? 'the disk is full'
      : `the disk does not accept writes: ${message}`
  return new AppendsRefused(`${why} (FANWIRE_DATA)`, code)
}
