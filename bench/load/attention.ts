// Messages between the events of a streaming wire that must be counted or answered: gaps, pings, close frames. They are
// found by a search in the bytes, because no bytes of the bench's events can match them.

import { isMarker, type Scanner, sequenceAt } from './scan.ts'

export type StreamKind = 'ws' | 'sse' | 'stream' | 'socket.io'

const GAPS: Record<StreamKind, string> = {
  ws: '{"gap":{',
  stream: '{"gap":{',
  sse: 'event: gap\n',
  'socket.io': '["gap",',
}
const ID = Buffer.from('"id":"')
/** An Engine.IO frame with its ping. */
const ENGINE_PING = '\x81\x012'
const PING = 0x89
const CLOSE = 0x88
/** The end of an event's frame. */
const ENDS = new Set([0x7d, 0x5d])

/** Counts a short text in a stream of bytes, wherever the stream is split. */
export class Needle {
  readonly #needle: Buffer
  /** How many of the needle's first bytes end the last chunk. */
  #begun = 0

  constructor(text: string) {
    this.#needle = Buffer.from(text, 'latin1')
  }

  /** Counts matches in `bytes` and across the boundary to the previous chunk. */
  count(bytes: Buffer): number {
    if (this.#begun === 0) return this.#in(bytes)
    const { length } = this.#needle
    const seam = Buffer.concat([this.#needle.subarray(0, this.#begun), bytes.subarray(0, length - 1)])
    return this.#in(seam) + (bytes.length < length ? 0 : this.#in(bytes))
  }

  forget(): void {
    this.#begun = 0
  }

  #in(bytes: Buffer): number {
    let found = 0
    for (let at = bytes.indexOf(this.#needle); at !== -1; at = bytes.indexOf(this.#needle, at + 1)) found++
    this.#begun = this.#beginningAtEnd(bytes)
    return found
  }

  /** The length of the longest proper prefix of the needle at the end of `bytes`. */
  #beginningAtEnd(bytes: Buffer): number {
    const { length } = this.#needle
    for (let size = Math.min(length - 1, bytes.length); size > 0; size--) {
      const from = bytes.length - size
      let same = 0
      while (same < size && bytes[from + same] === this.#needle[same]) same++
      if (same === size) return size
    }
    return 0
  }
}

export interface Said {
  readonly gaps: number
  readonly pings: number
  /** The server has asked the client to disconnect. */
  readonly farewell: boolean
}

export class Attention {
  /** Id of an event; below, its sequence number. Positions are counted from this event until the next gap. */
  id = ''
  sequence = -1
  #isStale = true
  readonly #kind: StreamKind
  readonly #gaps: Needle
  readonly #pings = new Needle(ENGINE_PING)

  constructor(kind: StreamKind) {
    this.#kind = kind
    this.#gaps = new Needle(GAPS[kind])
  }

  /** The connection was cut. */
  cut(): void {
    this.#isStale = true
    this.#gaps.forget()
    this.#pings.forget()
  }

  /** `bytes` are the last input of `scanner`. */
  read(bytes: Buffer, scanner: Scanner): Said {
    const gaps = this.#gaps.count(bytes)
    if (gaps > 0) this.#isStale = true
    const newest = bytes.length - scanner.sinceMarker
    // The position of an event before the gap does not determine positions after it.
    if (this.#isStale && (gaps === 0 || newest > bytes.lastIndexOf(GAPS[this.#kind])))
      this.#stand(bytes, newest)
    if (this.#kind === 'socket.io') {
      return { gaps, pings: this.#pings.count(bytes), farewell: has(bytes, CLOSE, isClose) }
    }
    if (this.#kind !== 'ws') return { gaps, pings: 0, farewell: false }
    return { gaps, pings: has(bytes, PING, isPing) ? 1 : 0, farewell: has(bytes, CLOSE, isClose) }
  }

  /** Stores the id of the event whose marker starts at `at`, if it has arrived. */
  #stand(bytes: Buffer, at: number): void {
    if (at < 0 || !isMarker(bytes, at)) return
    const id = bytes.lastIndexOf(ID, at)
    if (id === -1) return
    const from = id + ID.length
    this.id = bytes.toString('latin1', from, bytes.indexOf(0x22, from))
    this.sequence = sequenceAt(bytes, at)
    this.#isStale = false
  }
}

/** Whether `bytes` have a control frame, at the start of the chunk or directly after an event. */
function has(bytes: Buffer, opcode: number, fits: (bytes: Buffer, at: number) => boolean): boolean {
  for (let at = bytes.indexOf(opcode); at !== -1; at = bytes.indexOf(opcode, at + 1)) {
    if ((at === 0 || ENDS.has(bytes[at - 1] as number)) && fits(bytes, at)) return true
  }
  return false
}

function isPing(bytes: Buffer, at: number): boolean {
  return at + 1 === bytes.length || bytes[at + 1] === 0
}

/** A close frame with a status code, which no two characters of an event can form. */
function isClose(bytes: Buffer, at: number): boolean {
  if (at + 4 > bytes.length) return false
  const code = bytes.readUInt16BE(at + 2)
  return code >= 1000 && code < 5000
}
