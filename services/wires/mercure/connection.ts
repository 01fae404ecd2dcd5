// A subscriber's connection: receives the updates of each stretch that are meant for it.

import type { Identity } from '../../broker/access/identity.ts'
import type { Gap, Position } from '../../broker/event/position.ts'
import {
  Connection,
  type ConnectionRegistry,
  type Outlet,
  REPORT_AFTER,
} from '../../broker/fanout/connection.ts'
import type { CloseReason, Framing } from '../../broker/fanout/framing.ts'
import type { Reader } from '../../broker/fanout/reader.ts'
import { allocateChunk } from '../../http/chunks.ts'
import type { Audience } from './audience.ts'
import { mercureFraming, type Piece, piecesOf } from './framing.ts'

export interface SubscriberParts {
  readonly audience: Audience
  /** Literal topics, without templates and patterns. */
  readonly topics: readonly string[]
  /** Called when the client is gone. */
  gone(): void
}

export class MercureConnection extends Connection {
  readonly #parts: SubscriberParts

  constructor(registry: ConnectionRegistry, framing: Framing, outlet: Outlet, parts: SubscriberParts) {
    super(registry, framing, outlet)
    this.#parts = parts
  }

  /** The channels for which its rights are checked when rules change. */
  override get channels(): string[] {
    return [...this.#parts.topics]
  }

  override grantIn(): undefined {
    return undefined
  }

  override drop(_channel: string, reason: CloseReason): boolean {
    this.end(reason)
    return false
  }

  became(identity: Identity): void {
    this.#parts.audience.identity = identity
  }

  override skip(reader: Reader, gap: Gap, to?: Position): void {
    super.skip(reader, gap, to)
    this.#parts.audience.crosses(gap)
  }

  override write(bytes: Buffer): void {
    const pieces = piecesOf(bytes)
    if (pieces === undefined) return super.write(bytes)
    const wanted = pieces.filter(({ event }) => this.#parts.audience.takes(event))
    if (wanted.length > 0) super.write(this.#frame(bytes, pieces, wanted))
    const last = wanted.findLast(({ event }) => event.kind !== 'transient')
    this.#reportAfter(REPORT_AFTER, last?.event.offset)
  }

  override beat(): void {
    if (!this.blocked) this.#reportAfter(1)
    super.beat()
  }

  /** Sends the position if the client has not received the last `updates` updates. `known`: the last that it has. */
  #reportAfter(updates: number, known?: number): void {
    const [reader] = this.readers
    if (reader === undefined) return
    if (known !== undefined) reader.reportedOffset = known
    if (reader.offset - reader.reportedOffset < updates) return
    reader.reportedOffset = reader.offset
    super.write(this.framing.passed(reader.channel.name, reader, this.cursor()))
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
    this.#parts.gone()
  }
}
