// Searches one connection's bytes for markers: received, missing, repeated and late events.
//
// Frames of a wire have nearly the same length, so the next marker is expected at the same distance after the
// last one as that one was after its predecessor. There, four bytes and the sequence number show whether it is the
// next event; if not, the bytes after the last marker are searched. So no frame is parsed and nothing is allocated per
// event.
//
// The guess cannot skip a marker as long as the frames of one connection differ by less than the shortest of
// them: two frames do not fit in the place of one.

import type { Histogram } from './histogram.ts'
import { MARKER, SEQUENCE_AT, TIME_AT } from './marker.ts'

const AT = 0x40
const S = 0x53
const T = 0x54
const START = Buffer.from('@S')
/** `0` in each of eight digits. */
const ZEROS_8 = 0x30 * 11111111

export interface Counts {
  /** Received events, including duplicates. */
  received: number
  /** Sequence numbers that were skipped and have not arrived since. */
  missing: number
  /** Events that had arrived before. */
  repeated: number
  /** Events that arrived after a later one. */
  reordered: number
  bytes: number
}

export class Scanner implements Counts {
  received = 0
  missing = 0
  repeated = 0
  reordered = 0
  bytes = 0
  /** Sequence number of the newest event; -1: none yet, and the first one is not checked. */
  last = -1
  readonly #latency: Histogram
  /** Latency is sampled for events whose number has none of these bits; 2^n - 1. */
  readonly #sampled: number
  #holes: Set<number> | undefined
  /** Bytes of the last chunk that may start a marker. */
  readonly #carry = Buffer.alloc(2 * MARKER)
  #carried = 0
  /** Expected offset of the next marker, from the start of the next chunk. */
  #expected = 0
  #lastAt = 0
  #now = 0

  constructor(latency: Histogram, sampleEvery = 1) {
    this.#latency = latency
    this.#sampled = sampleEvery - 1
  }

  /** Resets the counts, not the position. */
  clear(): void {
    this.received = 0
    this.missing = 0
    this.repeated = 0
    this.reordered = 0
    this.bytes = 0
    this.#holes = undefined
  }

  /** Bytes received after the start of the newest marker. */
  get sinceMarker(): number {
    return -this.#lastAt
  }

  /** The stream was cut: the next input starts a new one. */
  cut(): void {
    this.#carried = 0
    this.#expected = 0
    this.#lastAt = 0
  }

  /** Processes the first `length` bytes of `chunk`; `now` is their arrival time, µs. The chunk is not kept. */
  scan(chunk: Buffer, length: number, now: number): void {
    this.bytes += length
    this.#now = now
    const begin = this.#carried > 0 ? this.#scanCarry(chunk, length) : 0
    if (begin === -1) return
    let from = begin
    let at = this.#expected
    for (;;) {
      if (at < from || at + MARKER > length || !isNext(chunk, at, this.last + 1)) {
        at = find(chunk, from, length)
        if (at === -1) break
      }
      this.#take(chunk, at)
      const stride = at - this.#lastAt
      this.#lastAt = at
      from = at + MARKER
      at += stride
      this.#expected = at
    }
    const rest = Math.max(from, length - MARKER + 1)
    if (rest < length) this.#carried = chunk.copy(this.#carry, 0, rest, length)
    this.#expected -= length
    this.#lastAt -= length
  }

  /** Finds a marker that spans the boundary. Returns where the rest starts; -1 if the chunk is too short to decide. */
  #scanCarry(chunk: Buffer, length: number): number {
    const held = this.#carried
    const carry = this.#carry
    const total = held + chunk.copy(carry, held, 0, Math.min(MARKER - 1, length))
    const at = find(carry, 0, total)
    if (at !== -1) {
      this.#take(carry, at)
      const inChunk = at - held
      this.#expected = 2 * inChunk - this.#lastAt
      this.#lastAt = inChunk
      this.#carried = 0
      return Math.max(0, inChunk + MARKER)
    }
    if (length >= MARKER - 1) {
      this.#carried = 0
      return 0
    }
    // The carry contains the whole chunk now; its last bytes may still start a marker.
    const rest = Math.max(0, total - MARKER + 1)
    this.#carried = carry.copy(carry, 0, rest, total)
    this.#expected -= length
    this.#lastAt -= length
    return -1
  }

  #take(bytes: Buffer, at: number): void {
    const sequence = sequenceAt(bytes, at)
    this.received++
    if (sequence === this.last + 1 || this.last === -1) this.last = sequence
    else this.#irregular(sequence)
    if ((sequence & this.#sampled) === 0) this.#latency.add(this.#now - number16(bytes, at + TIME_AT))
  }

  #irregular(sequence: number): void {
    if (sequence > this.last) {
      this.#holes ??= new Set()
      for (let hole = this.last + 1; hole < sequence; hole++) this.#holes.add(hole)
      this.missing += sequence - this.last - 1
      this.last = sequence
    } else if (this.#holes?.delete(sequence)) {
      this.missing--
      this.reordered++
    } else this.repeated++
  }
}

export function isMarker(bytes: Buffer, at: number): boolean {
  return bytes[at] === AT && bytes[at + 1] === S && bytes[at + 10] === T && bytes[at + 27] === AT
}

function isNext(bytes: Buffer, at: number, sequence: number): boolean {
  return isMarker(bytes, at) && number8(bytes, at + SEQUENCE_AT) === sequence
}

/** The start of the first marker from `from` on; -1 if none ends before `length`. */
function find(bytes: Buffer, from: number, length: number): number {
  if (from + MARKER > length) return -1
  const known = bytes.length === length ? bytes : bytes.subarray(0, length)
  for (let at = known.indexOf(START, from); at !== -1; at = known.indexOf(START, at + 1)) {
    if (at + MARKER > length) return -1
    if (isMarker(bytes, at)) return at
  }
  return -1
}

/** The number in the marker that starts at `at`. */
export function sequenceAt(bytes: Buffer, at: number): number {
  return number8(bytes, at + SEQUENCE_AT)
}

function number8(bytes: Buffer, at: number): number {
  let value = 0
  for (let i = at; i < at + 8; i++) value = value * 10 + (bytes[i] as number)
  return value - ZEROS_8
}

/** Reads 16 digits in two halves: at once, the unreduced sum would exceed 2^53. */
function number16(bytes: Buffer, at: number): number {
  return number8(bytes, at) * 1e8 + number8(bytes, at + 8)
}
