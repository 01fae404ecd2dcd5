// Large responses over HTTP/2, sent in pieces: Node does not report the progress of a large write of a stream, and other
// streams of its session may progress. A client that accepts no piece for long loses the stream.

import type { ServerHttp2Stream } from 'node:http2'
import { Readable } from 'node:stream'
import { cutStream } from './sessions.ts'

/** Smaller responses are sent as they are. */
export const PIECE_BYTES = 64 * 1024

export class Pieces extends Readable {
  readonly #body: Buffer
  readonly #stream: ServerHttp2Stream
  /** How many bytes were taken. */
  #taken = 0
  /** How many had been at the last check at which there were more, and the time of that check. */
  #before = -1
  #progressAt = 0

  constructor(body: Buffer, stream: ServerHttp2Stream) {
    super({ highWaterMark: PIECE_BYTES })
    this.#body = body
    this.#stream = stream
  }

  override _read(): void {
    const piece = this.#body.subarray(this.#taken, this.#taken + PIECE_BYTES)
    this.#taken += piece.length
    this.push(piece.length === 0 ? null : piece)
  }

  /** Cuts the stream of a client that has accepted no piece for `stall` ms. */
  check(now: number, stall: number): void {
    if (this.#taken !== this.#before) {
      this.#before = this.#taken
      this.#progressAt = now
    } else if (now - this.#progressAt >= stall) cutStream(this.#stream)
  }
}
