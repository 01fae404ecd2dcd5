// Chunked transfer coding (RFC 9112 section 7.1), taken off the bytes in place: what a chunk's boundary would cut in
// two is whole again.

const CR = 0x0d
const LF = 0x0a

export class Dechunker {
  /** Bytes of the chunk that are still to come. */
  #left = 0
  /** Of a line that is being read: a chunk's size, or the end of its data. */
  #inLine = true
  #size = 0
  #inExtension = false
  /** Bytes of a line before its end: the one behind a chunk's data has none. */
  #digits = 0
  /** The last chunk has come. */
  ended = false

  /** Moves the data among the first `length` bytes together, from `from` on; returns where it ends. */
  strip(bytes: Buffer, from: number, length: number): number {
    let at = from
    let to = from
    while (at < length && !this.ended) {
      if (this.#inLine) this.#byte(bytes[at++] as number)
      else {
        const count = Math.min(this.#left, length - at)
        if (to !== at) bytes.copyWithin(to, at, at + count)
        to += count
        at += count
        this.#left -= count
        if (this.#left === 0) this.#beginLine()
      }
    }
    return to
  }

  #beginLine(): void {
    this.#inLine = true
    this.#size = 0
    this.#digits = 0
    this.#inExtension = false
  }

  #byte(byte: number): void {
    if (byte === LF) {
      // The line end behind a chunk's data.
      if (this.#digits === 0) return
      this.#left = this.#size
      this.#inLine = false
      this.ended = this.#size === 0
      return
    }
    if (byte === CR || this.#inExtension) return
    const digit = Number.parseInt(String.fromCharCode(byte), 16)
    if (Number.isNaN(digit)) this.#inExtension = true
    else {
      this.#size = this.#size * 16 + digit
      this.#digits++
    }
  }
}
