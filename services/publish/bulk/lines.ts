// Splits a stream of bytes into lines.

import { withoutMark } from '../../broker/event/json-spans.ts'
import { ByteAccumulator } from '../../http/byte-accumulator.ts'

export interface Line {
  /** The line's number from 1, including blank lines. */
  readonly number: number
  /** The line without its line feed; undefined if it is longer than the limit. */
  readonly bytes: Buffer | undefined
}

const LINE_FEED = 0x0a

/**
 * Splits at line feeds; a carriage return is white space in JSON. Skips blank lines, a byte order mark before the first
 * line, and lines that are too long: it never holds more than `limit` bytes of a line.
 */
export class LineSplitter {
  readonly #limit: number
  readonly #part = new ByteAccumulator()
  #tooLong = false
  #number = 0

  constructor(limit: number) {
    this.#limit = limit
  }

  /** The lines that `chunk` completes: views of it if it contains them whole. */
  *push(chunk: Buffer): Generator<Line, void> {
    let start = 0
    for (let at = chunk.indexOf(LINE_FEED); at !== -1; at = chunk.indexOf(LINE_FEED, start)) {
      this.#add(chunk.subarray(start, at))
      start = at + 1
      yield* this.#finish()
    }
    if (start < chunk.length) this.#add(chunk.subarray(start))
  }

  /** The last line, if it has no line feed. */
  *end(): Generator<Line, void> {
    if (this.#part.length > 0 || this.#tooLong) yield* this.#finish()
  }

  #add(bytes: Buffer): void {
    if (this.#tooLong) return
    if (this.#part.length + bytes.length <= this.#limit) this.#part.add(bytes)
    else {
      this.#tooLong = true
      this.#part.take()
    }
  }

  *#finish(): Generator<Line, void> {
    this.#number++
    const tooLong = this.#tooLong
    const taken = this.#part.take()
    const bytes = this.#number === 1 ? withoutMark(taken) : taken
    this.#tooLong = false
    if (tooLong) yield { number: this.#number, bytes: undefined }
    else if (!isBlank(bytes)) yield { number: this.#number, bytes }
  }
}

function isBlank(bytes: Buffer): boolean {
  for (const byte of bytes) if (byte !== 0x20 && byte !== 0x09 && byte !== 0x0d) return false
  return true
}
