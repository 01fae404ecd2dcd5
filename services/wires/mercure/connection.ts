// A subscriber's connection: of each stretch it is sent what it may have.

import type { Position } from '../../broker/event/position.ts'
import { Connection, type ConnectionRegistry, type Outlet } from '../../broker/fanout/connection.ts'
import type { CloseReason, Framing } from '../../broker/fanout/framing.ts'
import { allocateChunk } from '../../http/chunks.ts'
import type { Audience } from './audience.ts'
import { mercureFraming, type Piece, piecesOf } from './framing.ts'

export class MercureConnection extends Connection {
  readonly #audience: Audience
  readonly #topics: readonly string[]
  readonly #gone: () => void

  /** `topics`: those that are named as they are. `gone` is called when the client is. */
  constructor(
    registry: ConnectionRegistry,
    framing: Framing,
    outlet: Outlet,
    audience: Audience,
    topics: readonly string[],
    gone: () => void,
  ) {
    super(registry, framing, outlet)
    this.#audience = audience
    this.#topics = topics
    this.#gone = gone
  }

  /** It is judged by these where rules change. */
  override get channels(): string[] {
    return [...this.#topics]
  }

  override positionIn(): Position | undefined {
    const [reader] = this.readers
    return reader && { epoch: reader.epoch, offset: reader.offset }
  }

  override grantIn(): undefined {
    return undefined
  }

  override drop(_channel: string, reason: CloseReason): boolean {
    this.end(reason)
    return false
  }

  override write(bytes: Buffer): void {
    const pieces = piecesOf(bytes)
    if (pieces === undefined) return super.write(bytes)
    const wanted = pieces.filter(({ event }) => this.#audience.takes(event))
    if (wanted.length > 0) super.write(this.#frame(bytes, pieces, wanted))
  }

  #frame(bytes: Buffer, pieces: readonly Piece[], wanted: readonly Piece[]): Buffer {
    const chosen =
      wanted.length === pieces.length
        ? bytes
        : Buffer.concat(wanted.map(({ from, to }) => bytes.subarray(from, to)))
    if (this.framing !== mercureFraming.chunked) return chosen
    const { chunk, at } = allocateChunk(chosen.length)
    chunk.set(chosen, at)
    return chunk
  }

  override closed(): void {
    super.closed()
    this.#gone()
  }
}
