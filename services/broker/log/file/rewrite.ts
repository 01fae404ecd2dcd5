// Rewrites segments that follow on each other as one, without what is no longer readable, and channel by channel.

import { closeSync, constants, fsyncSync, openSync, renameSync, rmSync } from 'node:fs'
import { syncFolder, writeAll } from './active.ts'
import { type FileChannel, Run } from './channel.ts'
import { encodeContents, type OfChannel, stretchOf } from './contents.ts'
import { readPieces } from './read.ts'
import { RecordWriter, type Told } from './records.ts'
import { encodeHeader, Segment } from './segment.ts'
import { GrowingTable, type TablePlace } from './table.ts'

const NEW_FILE = constants.O_CREAT | constants.O_TRUNC | constants.O_RDWR
/** Bytes that are written at a time. */
const PIECE = 2 ** 20

/** Returns the segment that has taken their place. Where it raises nothing has changed. */
export async function rewrite(
  folder: string,
  old: readonly [Segment, ...Segment[]],
  channels: ReadonlyMap<string, FileChannel>,
): Promise<Segment> {
  const last = old.at(-1) ?? old[0]
  const path = `${last.path}.new`
  const copy = new Copy(path, new Set(old))
  try {
    const epochs = old.findLastIndex(({ header }) => header.epoch !== '')
    const epoch = old[epochs]?.header.epoch ?? ''
    const header = { number: last.number, from: old[0].header.from, epoch }
    const segment = new Segment(last.path, header)
    segment.cut = old.slice(Math.max(0, epochs)).some(({ cut }) => cut)
    await copy.write(encodeHeader(header))
    for (const channel of told(old, channels)) await copy.channel(channel)
    const places = await copy.finish(segment.cut)
    renameSync(path, last.path)
    copy.replace(segment, places, channels)
    for (const each of old) {
      if (each !== last) rmSync(each.path, { force: true })
      each.forget()
    }
    await syncFolder(folder)
    return segment
  } catch (error) {
    copy.close()
    rmSync(path, { force: true })
    throw error
  }
}

/** Channels of which the new segment has to tell: no other one does, or it has events of theirs. */
function told(old: readonly Segment[], channels: ReadonlyMap<string, FileChannel>): FileChannel[] {
  const segments = new Set(old)
  const newest = old.at(-1)?.number ?? 0
  const epochs = old.some(({ header }) => header.epoch !== '')
  return [...channels.values()].filter(
    ({ toldIn, runs }) =>
      toldIn !== undefined &&
      (segments.has(toldIn) ||
        (epochs && toldIn.number < newest) ||
        runs.some(run => segments.has(run.segment))),
  )
}

interface Copied {
  readonly channel: FileChannel
  readonly told: Told
  readonly first: number
  readonly bytes: number
  readonly table: GrowingTable
}

class Copy {
  readonly #fd: number
  readonly #old: ReadonlySet<Segment>
  readonly #records = new RecordWriter()
  readonly #copied: Copied[] = []
  #size = 0
  #closed = false

  constructor(path: string, old: ReadonlySet<Segment>) {
    this.#fd = openSync(path, NEW_FILE, 0o600)
    this.#old = old
  }

  async write(bytes: Buffer): Promise<void> {
    await writeAll(this.#fd, bytes, this.#size)
    this.#size += bytes.length
  }

  async channel(channel: FileChannel): Promise<void> {
    const id = this.#copied.length
    const runs = channel.runs.filter(({ segment }) => this.#old.has(segment))
    const first = runs[0] === undefined ? channel.head + 1 : Math.max(runs[0].first, channel.floor + 1)
    const end = runs.at(-1)?.end ?? channel.head
    const isNewest = channel.toldIn === undefined || channel.runs.length === runs.length
    const { name, epoch, ended, floor, time } = channel
    const over = isNewest && channel.over
    const then = isNewest ? { epoch, ended } : channel.toldAt(end)
    const told = { name, ...then, head: first - 1, floor: Math.min(floor, end), time, over }
    this.#records.channel(id, told)
    const table = new GrowingTable()
    let bytes = 0
    const parts = runs.map(({ segment, table, first: from, count }) => ({
      segment,
      table,
      from: Math.max(0, first - from),
      to: count,
    }))
    for await (const { record, event } of readPieces(parts)) {
      const at = this.#size + this.#records.length
      const length = this.#records.copy(record, id)
      table.push(event.time, at, length, event.data.length)
      bytes += event.data.length
      if (this.#records.length > PIECE) await this.#flush()
    }
    this.#copied.push({ channel, told, first, bytes, table })
  }

  async finish(cut: boolean): Promise<(TablePlace | undefined)[]> {
    await this.#flush()
    const channels = this.#copied.map(({ told, first, bytes, table }): OfChannel => {
      return { told, stretch: stretchOf(first, bytes, table), keys: [], over: told.over }
    })
    const { bytes, places } = encodeContents({ end: this.#size, channels, cut }, 0)
    await writeAll(this.#fd, bytes, this.#size)
    fsyncSync(this.#fd)
    this.close()
    return places
  }

  /** The new segment is in the place of the old ones. */
  replace(
    segment: Segment,
    places: readonly (TablePlace | undefined)[],
    channels: ReadonlyMap<string, FileChannel>,
  ): void {
    segment.size = this.#size
    for (const [i, { channel, first, bytes, table }] of this.#copied.entries()) {
      const stretch = stretchOf(first, bytes, table)
      const place = places[i]
      if (channels.get(channel.name) !== channel) continue
      if (channel.toldIn !== undefined && this.#isOlder(channel.toldIn, segment)) channel.toldIn = segment
      if (stretch === undefined || place === undefined) channel.replace(this.#old, undefined)
      else {
        segment.last = Math.max(segment.last, stretch.to)
        channel.replace(this.#old, new Run(segment, { ...stretch, table: place }))
      }
    }
  }

  close(): void {
    if (!this.#closed) closeSync(this.#fd)
    this.#closed = true
  }

  #isOlder(told: Segment, { number }: Segment): boolean {
    return this.#old.has(told) || told.number < number
  }

  async #flush(): Promise<void> {
    await this.write(this.#records.bytes)
    this.#records.clear()
  }
}
