// Removes chunked transfer coding (RFC 9112 section 7.1) without copying. An input is usually one whole chunk.

const CR = 0x0d
const LF = 0x0a
const ZERO = 0x30
const NINE = 0x39
const A = 0x61
const LOWER_CASE = 0x20

export class Dechunker {
  /** Bytes of the chunk that have not arrived. */
  #left = 0
  /** State of the current line: a chunk's size, or the end of its data. */
  #inLine = true
  #size = 0
  #inExtension = false
  /** Hexadecimal digits read in the current line; 0 in the empty line after a chunk's data. */
  #digits = 0
  /** Whether the last chunk has arrived. */
  ended = false

  /** Returns the data of the next input as views of it, in order. */
  take(bytes: Buffer): Buffer[] {
    const data: Buffer[] = []
    for (let at = 0; at < bytes.length && !this.ended;) {
      if (this.#inLine) this.#byte(bytes[at++] as number)
      else {
        const end = Math.min(at + this.#left, bytes.length)
        data.push(bytes.subarray(at, end))
        this.#left -= end - at
        at = end
        if (this.#left === 0) this.#beginLine()
      }
    }
    return data
  }

  #beginLine(): void {
    this.#inLine = true
    this.#size = 0
    this.#digits = 0
    this.#inExtension = false
  }

  #byte(byte: number): void {
    if (byte === LF) {
      // The line end after a chunk's data.
      if (this.#digits === 0) return
      this.#left = this.#size
      this.#inLine = false
      this.ended = this.#size === 0
      return
    }
    if (byte === CR || this.#inExtension) return
    const digit = byte <= NINE ? byte - ZERO : (byte | LOWER_CASE) - A + 10
    if (digit < 0 || digit > 15) this.#inExtension = true
    else {
      this.#size = this.#size * 16 + digit
      this.#digits++
    }
  }
}
