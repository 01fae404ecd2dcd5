// Collects bytes that arrive in pieces of any size into one Buffer.

/** Uses at most twice the memory of the added bytes, however small the pieces are. */
export class ByteAccumulator {
  #bytes: Buffer | undefined
  #length = 0
  /** Whether `#bytes` was allocated here, so that the bytes after `#length` are free. */
  #own = false

  get length(): number {
    return this.#length
  }

  /** Keeps `piece` itself as long as it is the only one. */
  add(piece: Buffer): void {
    if (this.#bytes === undefined) {
      this.#bytes = piece
      this.#length = piece.length
      return
    }
    const length = this.#length + piece.length
    if (!this.#own || length > this.#bytes.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(1024, length * 2))
      this.#bytes.copy(larger, 0, 0, this.#length)
      this.#bytes = larger
      this.#own = true
    }
    piece.copy(this.#bytes, this.#length)
    this.#length = length
  }

  /** Returns everything added since the last take, and starts again. */
  take(): Buffer {
    const taken = this.#bytes?.subarray(0, this.#length) ?? Buffer.alloc(0)
    this.#bytes = undefined
    this.#length = 0
    this.#own = false
    return taken
  }
}
