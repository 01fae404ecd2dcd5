// Restores the log from its folder. All acknowledged events are there, unless the machine lost power, files were cut, or
// the folder is a copy: then all channels begin an epoch after the last surviving event.

import { closeSync, fsyncSync, ftruncateSync, openSync, readdirSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { epochOf } from '../history.ts'
import type { Receipt } from '../log.ts'
import { LogRefused } from '../log.ts'
import { FileChannel, Run } from './channel.ts'
import { type Contents, encodeContents, type OfChannel, readContents, scanContents } from './contents.ts'
import { isLock } from './lock.ts'
import { type Acknowledged, makeSeed, readMark } from './mark.ts'
import type { ChannelState } from './records.ts'
import { decodeHeader, HEADER, isUnfinished, nameOf, numberIn, Segment } from './segment.ts'

export interface Restored {
  readonly channels: Map<string, FileChannel>
  readonly segments: Segment[]
  /** Number of the next segment. */
  readonly next: number
  /** Why acknowledged events may have been lost; undefined if they cannot. */
  readonly loss: string | undefined
  /** See mark.ts. */
  readonly seed: string
  /** Events that were discarded because earlier ones are missing. */
  readonly leftOut: number
  /** Called once the new epochs, if any, are on disk. */
  seal(): void
}

/** Reads the folder. Raises LogRefused if it holds other files, or is damaged in the middle. */
export function restore(folder: string, now: number, window: number): Restored {
  const { segments, missing } = findSegments(folder)
  const mark = readMark(folder, number => join(folder, nameOf(number)))
  const restoring = new Restoring(mark, now - window)
  const usable: Segment[] = []
  for (const segment of segments) {
    segment.hold()
    try {
      if (restoring.add(segment, missing.has(segment))) usable.push(segment)
    } finally {
      segment.release()
    }
  }
  if (segments.length > 0) restoring.judgeMark()
  const next = Math.max(mark?.segment ?? 0, segments.at(-1)?.number ?? 0) + 1
  const { channels, loss, leftOut } = restoring
  const seed = (loss === undefined && mark?.seed) || makeSeed()
  return { channels, segments: usable, next, loss, seed, leftOut, seal: () => restoring.seal() }
}

/** The existing segments, in order, and those whose predecessors are missing. */
function findSegments(folder: string): { segments: Segment[]; missing: Set<Segment> } {
  const segments: Segment[] = []
  const unfinished: string[] = []
  for (const name of readdirSync(folder).sort()) {
    const path = join(folder, name)
    const number = numberIn(name)
    if (number !== undefined) segments.push(segmentOf(path, number))
    else if (isUnfinished(name)) unfinished.push(path)
    else if (name !== 'mark' && name !== 'lost+found' && !name.startsWith('.') && !isLock(folder, name)) {
      throw new LogRefused(
        `${folder} (FANWIRE_DATA) holds ${name}, which does not belong to a fanwire log; nothing was changed`,
        'foreign',
      )
    }
  }
  for (const path of unfinished) rmSync(path)
  const missing = new Set<Segment>()
  const kept: Segment[] = []
  let least = Number.POSITIVE_INFINITY
  for (const segment of segments.toReversed()) {
    // A rewritten segment has replaced it.
    if (segment.number >= least) rmSync(segment.path)
    else kept.unshift(segment)
    least = Math.min(least, segment.header.from)
  }
  let next = 1
  for (const segment of kept) {
    if (segment.header.from !== next) missing.add(segment)
    next = segment.number + 1
  }
  return { segments: kept, missing }
}

function segmentOf(path: string, number: number): Segment {
  const bare = new Segment(path, { number, from: number, epoch: '' })
  bare.hold()
  try {
    const header = decodeHeader(bare.bytesSync(0, HEADER), path)
    if (header !== undefined && header.number !== number)
      throw new LogRefused(
        `${path} has the header of number ${header.number}; nothing was changed`,
        'foreign',
      )
    return new Segment(path, header ?? bare.header)
  } finally {
    bare.release()
    bare.forget()
  }
}

/** Whether the channel had this epoch. */
function isOf({ epoch, ended }: FileChannel, name: string): boolean {
  return epoch === name || ended.some(each => each.epoch === name)
}

/** A segment without a table of contents, which was read record by record. */
interface Scanned {
  readonly segment: Segment
  readonly contents: Contents
  readonly runs: (Run | undefined)[]
}

/** Writes its table of contents, so that the next start need not read the records, nor this process keep the table. */
function seal({ segment, contents, runs }: Scanned, keysSince: number): void {
  const { bytes, places } = encodeContents(contents, keysSince)
  let fd: number | undefined
  try {
    fd = openSync(segment.path, 'r+')
    ftruncateSync(fd, contents.end)
    for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at, bytes.length - at, contents.end + at)
    fsyncSync(fd)
    for (const [i, place] of places.entries()) if (place !== undefined) runs[i]?.sealed(place)
  } catch {
    // The disk does not accept writes. Appends will report it.
  } finally {
    if (fd !== undefined) closeSync(fd)
  }
}

class Restoring {
  readonly channels = new Map<string, FileChannel>()
  loss: string | undefined
  leftOut = 0

  readonly #mark: Acknowledged | undefined
  readonly #keysSince: number
  /** Number of the newest segment after which events may be missing. */
  #lostAt = 0
  readonly #scanned: Scanned[] = []
  /** Channels whose later events were discarded. */
  readonly #cut = new Set<FileChannel>()

  constructor(mark: Acknowledged | undefined, keysSince: number) {
    this.#mark = mark
    this.#keysSince = keysSince
  }

  /** Returns whether it contains anything. */
  add(segment: Segment, missing: boolean): boolean {
    if (missing) this.#lose(segment.number - 1, `segments before ${segment.path} are missing`)
    const { epoch } = segment.header
    if (epoch !== '') {
      for (const channel of this.channels.values()) if (!isOf(channel, epoch)) channel.begin(epoch)
      this.loss = undefined
      this.#lostAt = 0
      this.#cut.clear()
    }
    const size = segment.fileSize
    const sealed = readContents((at, length) => segment.bytesSync(at, length), size)
    const contents = sealed ?? this.#scan(segment, size)
    if (contents === undefined) return false
    segment.size = contents.end
    segment.cut = contents.cut
    if (sealed?.cut) this.#lose(segment.number, `${segment.path} was cut`)
    const runs = contents.channels.map(each => this.#take(segment, each))
    if (sealed === undefined) this.#scanned.push({ segment, contents, runs })
    return true
  }

  /** Called once the new epochs, if any, are on disk. */
  seal(): void {
    for (const scanned of this.#scanned) seal(scanned, this.#keysSince)
  }

  /** Detects losses that only the mark reveals. */
  judgeMark(): void {
    const last = Number.MAX_SAFE_INTEGER
    if (this.#mark === undefined) this.#lose(last, 'the file "mark" is missing or damaged')
    else if (!this.#mark.continuous)
      this.#lose(last, 'the machine restarted before the log was closed, or the folder is a copy')
  }

  #lose(at: number, why: string): void {
    this.#lostAt = Math.max(this.#lostAt, at)
    this.loss = why
  }

  #scan(segment: Segment, size: number): Contents | undefined {
    const { number, path } = segment
    const acknowledged = this.#acknowledgedIn(number)
    if (size < acknowledged) this.#lose(number, `${path} is cut`)
    if (size < HEADER) return undefined
    const contents = scanContents(segment.bytesSync(0, size), HEADER, acknowledged)
    const { end, broken } = contents
    if (end < acknowledged) {
      // Only a write that did not reach the disk completely may leave broken records.
      if (broken && this.#mark?.continuous !== false) {
        throw new LogRefused(
          `${path} is damaged at byte ${end}; restore it from a copy, or cut it there (truncate -s ${end} ${path}) to ` +
            'continue with the events before; readers receive a gap',
          'damaged',
        )
      }
      this.#lose(number, `${path} is cut at byte ${end}`)
    }
    return contents
  }

  /** Bytes of a segment's records that are certainly on disk; unlimited in a sealed segment. */
  #acknowledgedIn(number: number): number {
    if (this.#mark === undefined || number > this.#mark.segment) return 0
    return number === this.#mark.segment ? this.#mark.length : Number.POSITIVE_INFINITY
  }

  #take(segment: Segment, { state, stretch, keys, over }: OfChannel): Run | undefined {
    const known = this.#known(state)
    const channel = known ?? new FileChannel(state.name, state.epoch, state.time)
    const first = stretch?.first ?? state.head + 1
    if (known === undefined) {
      const isLost = this.#lostAt > 0 && state.head > state.floor
      channel.head = channel.floor = isLost ? state.floor : first - 1
      channel.ended = isLost ? state.ended.filter(({ end }) => end <= state.floor) : []
      channel.stateIn = segment
      this.channels.set(state.name, channel)
      if (isLost) return this.#leaveOut(segment, channel, stretch)
    } else if (first !== channel.head + 1) {
      const overLoss = (channel.stateIn?.number ?? 0) <= this.#lostAt && segment.number > this.#lostAt
      if (first <= channel.head || overLoss || this.#cut.has(channel)) {
        return this.#leaveOut(segment, channel, stretch)
      }
      // The events in between were trimmed.
      channel.dropTo(channel.head)
      channel.head = channel.floor = first - 1
    }
    this.#cut.delete(channel)
    channel.epoch = state.epoch
    channel.ended = state.ended
    channel.over = over
    channel.time = Math.max(channel.time, state.time)
    channel.stateIn = segment
    const run = stretch && new Run(segment, stretch)
    if (run !== undefined) channel.add(run)
    channel.dropTo(Math.min(state.floor, channel.head))
    this.#remember(channel, keys)
    return run
  }

  /** Discards events, since earlier ones are missing. */
  #leaveOut(segment: Segment, channel: FileChannel, stretch: OfChannel['stretch']): undefined {
    this.#cut.add(channel)
    if (stretch === undefined) return
    const { count, bytes, to } = stretch
    segment.add(count, bytes, to)
    segment.drop(count, bytes)
    this.leftOut += count
  }

  /** The channel that the record is about, unless that was forgotten and has begun again. */
  #known({ name, epoch, ended }: ChannelState): FileChannel | undefined {
    const known = this.channels.get(name)
    if (known === undefined || known.epoch === epoch || ended.some(each => each.epoch === known.epoch))
      return known
    known.dropTo(known.head)
    this.channels.delete(name)
    return undefined
  }

  #remember(channel: FileChannel, keys: OfChannel['keys']): void {
    for (const [key, offset, time] of keys) {
      if (time < this.#keysSince || offset > channel.head) continue
      const receipt: Receipt = {
        position: { epoch: epochOf(channel.history, offset), offset },
        time,
        replayed: false,
      }
      channel.keys.set(key, receipt)
    }
  }
}
