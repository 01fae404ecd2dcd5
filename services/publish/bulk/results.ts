// The response to a streamed publish. Lines are sent as they arrive, and held while the client does not read.

import { Readable } from 'node:stream'

/** The maximum characters that are collected before they are written. */
const PIECE = 16 * 1024
/** Lines are written at the end of the tick, but not sooner than this after the previous lines, ms. */
const APART_MS = 5

export class Results {
  /** The body of the response. */
  readonly stream: Readable
  #lines = ''
  #scheduled = false
  #writtenAt = 0
  #ended = false

  /** `onTaken` is called whenever the client has accepted something. */
  constructor(onTaken: () => void) {
    this.stream = new Readable({ highWaterMark: PIECE, read: onTaken })
  }

  /** Bytes that the client has not accepted yet. */
  get held(): number {
    return this.stream.readableLength + this.#lines.length
  }

  write(json: string): void {
    this.#lines += `${json}\n`
    if (this.#lines.length >= PIECE) this.#flush()
    else if (!this.#scheduled) {
      this.#scheduled = true
      const due = () => {
        this.#scheduled = false
        this.#flush()
      }
      if (performance.now() - this.#writtenAt < APART_MS) setTimeout(due, APART_MS)
      else setImmediate(due)
    }
  }

  end(): void {
    this.#flush()
    if (!this.#ended && !this.stream.destroyed) this.stream.push(null)
    this.#ended = true
  }

  #flush(): void {
    if (this.#lines === '' || this.#ended || this.stream.destroyed) return
    this.stream.push(this.#lines)
    this.#lines = ''
    this.#writtenAt = performance.now()
  }
}
