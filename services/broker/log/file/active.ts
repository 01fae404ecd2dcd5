// The segment that is being written. Zeros are written ahead of the records, so that a commit changes only data and
// reaches the disk with one write.

import {
  close as closeFile,
  constants,
  fdatasync as syncData,
  fsync as syncFile,
  ftruncate as truncateFile,
  open as openFile,
  rmSync,
  write as writeFile,
} from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type FileChannel, Run } from './channel.ts'
import { encodeContents, type OfChannel, stretchOf } from './contents.ts'
import type { ChannelState } from './records.ts'
import { encodeHeader, HEADER, type Header, nameOf, Segment } from './segment.ts'
import { GrowingTable } from './table.ts'

const close = promisify(closeFile)
const fdatasync = promisify(syncData)
const fsync = promisify(syncFile)
const ftruncate = promisify(truncateFile)
const open = promisify(openFile)
const write = promisify(writeFile)

/** Bounds of the bytes of zeros that are written ahead at a time: as many as there are bytes of records. */
const LEAST_AHEAD = 1 << 18
const MOST_AHEAD = 1 << 22

const NEW_FILE = constants.O_CREAT | constants.O_EXCL | constants.O_RDWR

/** The part of a channel in the segment. */
interface Entry {
  readonly id: number
  state: ChannelState
  readonly table: GrowingTable
  first: number
  bytes: number
  run: Run | undefined
}

/** A record of an event that was written. */
export interface Written {
  readonly offset: number
  readonly time: number
  /** Where the records of the same write begin. */
  readonly at: number
  readonly length: number
  /** Bytes of its data. */
  readonly bytes: number
}

export class ActiveSegment {
  readonly segment: Segment
  readonly #entries = new Map<FileChannel, Entry>()
  /** A file descriptor whose writes are on disk when they return. */
  readonly #direct: number
  /** A file descriptor for other writes. */
  readonly #plain: number
  readonly #sync: boolean
  #ahead = HEADER
  #reserving: Promise<void> = Promise.resolve()
  #isReserving = false
  /** Whether parts of a failed write may follow the records. */
  #torn = false

  private constructor(segment: Segment, plain: number, direct: number, sync: boolean) {
    this.segment = segment
    this.#plain = plain
    this.#direct = direct
    this.#sync = sync
    segment.size = HEADER
  }

  /**
   * Creates a file, and syncs its folder. With `sync`, every write is on disk when it returns. If it raises, the file does
   * not exist.
   */
  static async create(folder: string, header: Header, sync: boolean): Promise<ActiveSegment> {
    const path = join(folder, nameOf(header.number))
    const plain = await open(path, NEW_FILE, 0o600)
    try {
      await writeAll(plain, encodeHeader(header), 0)
      await fsync(plain)
      await syncFolder(folder)
      const direct = sync ? await open(path, constants.O_RDWR | constants.O_DSYNC) : plain
      return new ActiveSegment(new Segment(path, header), plain, direct, sync)
    } catch (error) {
      await close(plain).catch(() => {})
      rmSync(path, { force: true })
      throw error
    }
  }

  /** Where the records end. */
  get size(): number {
    return this.segment.size
  }

  get channels(): number {
    return this.#entries.size
  }

  idOf(channel: FileChannel): number | undefined {
    return this.#entries.get(channel)?.id
  }

  /**
   * Writes after the records, then calls `acknowledge` with the size. If either raises, the records are taken back: nothing
   * was written, or the next write raises too.
   */
  async write(bytes: Buffer, acknowledge: (size: number) => void): Promise<void> {
    if (this.#torn) await this.#clean()
    if (this.size + bytes.length > this.#ahead) await this.#reserving
    try {
      await writeAll(this.#direct, bytes, this.size)
      acknowledge(this.size + bytes.length)
    } catch (error) {
      this.#torn = true
      await this.#clean().catch(() => {})
      throw error
    }
    this.segment.size += bytes.length
    this.#ahead = Math.max(this.#ahead, this.size)
    const chunk = Math.min(MOST_AHEAD, Math.max(LEAST_AHEAD, this.size))
    if (this.#ahead - this.size < chunk / 2 && !this.#isReserving) this.#reserve(chunk)
  }

  /** Notes that a write had a record about the channel, with this id. */
  setState(channel: FileChannel, id: number, state: ChannelState): void {
    channel.stateIn = this.segment
    const entry = this.#entries.get(channel)
    if (entry !== undefined) entry.state = { ...state, head: entry.state.head }
    else
      this.#entries.set(channel, { id, state, table: new GrowingTable(), first: 0, bytes: 0, run: undefined })
  }

  /** Notes that a write that began at `base` had these events of the channel. `setState` precedes it. */
  add(channel: FileChannel, base: number, written: readonly Written[]): void {
    const entry = this.#entries.get(channel)
    const [first] = written
    if (entry === undefined || first === undefined) return
    let added = 0
    for (const { time, at, length, bytes } of written) {
      entry.table.push(time, base + at, length, bytes)
      added += bytes
    }
    const to = written.at(-1)?.time ?? first.time
    entry.bytes += added
    if (entry.run === undefined) {
      const { table } = entry
      entry.first = first.offset
      entry.run = new Run(this.segment, {
        first: first.offset,
        count: table.length,
        bytes: added,
        from: first.time,
        to,
        table,
      })
      channel.add(entry.run)
    } else channel.grow(entry.run, { count: written.length, bytes: added, to })
  }

  /** Returns when everything written is on disk. */
  async sync(): Promise<void> {
    await fdatasync(this.#plain)
  }

  /** Writes the table of contents; nothing is written after it. Keys that were used before `keysSince` are omitted. */
  async seal(keysSince: number): Promise<void> {
    await this.#reserving
    await this.#clean()
    const entries = [...this.#entries]
    const channels = entries.map(([channel, { state, first, bytes, table }]): OfChannel => {
      const keys = [...channel.keys].filter(
        ([, { position }]) => table.length > 0 && position.offset >= first,
      )
      return {
        state,
        over: channel.over,
        stretch: stretchOf(first, bytes, table),
        keys: keys.map(([key, { position, time }]) => [key, position.offset, time]),
      }
    })
    const { bytes, places } = encodeContents({ end: this.size, channels, cut: false }, keysSince)
    try {
      await writeAll(this.#plain, bytes, this.size)
      await fsync(this.#plain)
    } catch (error) {
      this.#torn = true
      throw error
    }
    for (const [i, [, { run }]] of entries.entries()) {
      const place = places[i]
      if (place !== undefined) run?.sealed(place)
    }
    await this.close()
  }

  async close(): Promise<void> {
    await this.#reserving
    if (this.#direct !== this.#plain) await close(this.#direct)
    if (this.#sync) await fsync(this.#plain)
    await close(this.#plain)
  }

  /** Writes zeros ahead, concurrently with writes of records. Writes that would reach the zeros wait. */
  #reserve(chunk: number): void {
    const at = this.#ahead
    const zeros = async () => {
      try {
        await writeAll(this.#plain, Buffer.alloc(chunk), at)
        await fdatasync(this.#plain)
        this.#ahead = at + chunk
      } catch {
        // There is no room for zeros; the next write of records finds out whether there is room for those.
      }
      this.#isReserving = false
    }
    this.#isReserving = true
    this.#reserving = zeros()
  }

  /** Cuts off what follows the records. */
  async #clean(): Promise<void> {
    await this.#reserving
    await ftruncate(this.#plain, this.size)
    this.#ahead = this.size
    this.#torn = false
  }
}

export async function writeAll(fd: number, bytes: Buffer, at: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await write(fd, bytes, done, bytes.length - done, at + done)
    done += bytesWritten
  }
}

/** Returns when creations, renames and removals in the folder are on disk. */
export async function syncFolder(folder: string): Promise<void> {
  const fd = await open(folder, 'r')
  try {
    await fsync(fd)
  } finally {
    await close(fd)
  }
}
