// Rewrites consecutive segments as one, channel by channel, without the unreadable events.

import { closeSync, constants, fsync as syncFile, openSync, renameSync, rmSync } from 'node:fs'
import { promisify } from 'node:util'
import { syncFolder, writeAll } from './active.ts'
import { type FileChannel, Run } from './channel.ts'
import { encodeContents, type OfChannel, stretchOf } from './contents.ts'
import { readPieces } from './read.ts'
import { RecordWriter, type ChannelState } from './records.ts'
import { encodeHeader, Segment, unfinishedOf } from './segment.ts'
import { GrowingTable, type TablePlace } from './table.ts'

const fsync = promisify(syncFile)

const NEW_FILE = constants.O_CREAT | constants.O_TRUNC | constants.O_RDWR
/** Bytes per write. */
const PIECE_BYTES = 2 ** 20

/**
 * The first segment has to be the oldest one, or one with which an epoch began. `replaced` receives the new segment. If
 * this raises before, nothing has changed; if it raises afterwards, the next start removes the files that are left.
 */
export async function rewrite(
  folder: string,
  old: readonly [Segment, ...Segment[]],
  channels: ReadonlyMap<string, FileChannel>,
  replaced: (segment: Segment) => void,
): Promise<void> {
  const last = old.at(-1) ?? old[0]
  const path = unfinishedOf(last.path)
  const { from, epoch } = old[0].header
  const segment = new Segment(last.path, { number: last.number, from, epoch })
  const epochs = old.findLastIndex(({ header }) => header.epoch !== '')
  segment.cut = old.slice(Math.max(0, epochs)).some(({ cut }) => cut)
  const copy = new Copy(path, old)
  try {
    await copy.write(encodeHeader(segment.header))
    for (const channel of carried(old, channels)) await copy.channel(channel)
    const places = await copy.finish(segment.cut)
    renameSync(path, last.path)
    // Nothing was read since the check. Later reads use the new segment.
    copy.replace(segment, places, channels)
    replaced(segment)
  } catch (error) {
    copy.close()
    rmSync(path, { force: true })
    throw error
  }
  for (const each of old) each.forget()
  // A power failure may undo the removals, but not the new name.
  await syncFolder(folder)
  for (const each of old) if (each !== last) rmSync(each.path, { force: true })
}

/** The channels about which the new segment needs a record: it has their events, or no other segment has a record. */
function carried(old: readonly Segment[], channels: ReadonlyMap<string, FileChannel>): FileChannel[] {
  const segments = new Set(old)
  return [...channels.values()].filter(
    ({ stateIn, runs }) =>
      stateIn !== undefined && (segments.has(stateIn) || runs.some(run => segments.has(run.segment))),
  )
}

interface Copied {
  readonly channel: FileChannel
  readonly state: ChannelState
  readonly first: number
  readonly bytes: number
  readonly table: GrowingTable
}

class Copy {
  readonly #fd: number
  readonly #old: ReadonlySet<Segment>
  /** Number of the newest of them. */
  readonly #newest: number
  readonly #records = new RecordWriter()
  readonly #copied: Copied[] = []
  #size = 0
  #closed = false

  constructor(path: string, old: readonly Segment[]) {
    this.#fd = openSync(path, NEW_FILE, 0o600)
    this.#old = new Set(old)
    this.#newest = old.at(-1)?.number ?? 0
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
    // No later segment has a record about it.
    const isNewest = (channel.stateIn?.number ?? 0) <= this.#newest
    const { name, epoch, ended, floor, time } = channel
    const over = isNewest && channel.over
    const then = isNewest ? { epoch, ended } : channel.epochsAt(end)
    const state = { name, ...then, head: first - 1, floor: Math.min(floor, end), time, over }
    this.#records.channel(id, state)
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
      if (this.#records.length > PIECE_BYTES) await this.#flush()
    }
    this.#copied.push({ channel, state, first, bytes, table })
  }

  async finish(cut: boolean): Promise<(TablePlace | undefined)[]> {
    await this.#flush()
    const channels = this.#copied.map(({ state, first, bytes, table }): OfChannel => {
      return { state, stretch: stretchOf(first, bytes, table), keys: [], over: state.over }
    })
    const { bytes, places } = encodeContents({ end: this.#size, channels, cut }, 0)
    await writeAll(this.#fd, bytes, this.#size)
    await fsync(this.#fd)
    this.close()
    return places
  }

  /** Notes that the new segment has replaced the old ones. */
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
      if ((channel.stateIn?.number ?? 0) <= this.#newest) channel.stateIn = segment
      const run = stretch && new Run(segment, stretch)
      channel.replace(this.#old, run)
      if (place !== undefined) run?.sealed(place)
    }
  }

  close(): void {
    if (!this.#closed) closeSync(this.#fd)
    this.#closed = true
  }

  async #flush(): Promise<void> {
    await this.write(this.#records.bytes)
    this.#records.clear()
  }
}
