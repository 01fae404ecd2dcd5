// The interface of the encodings of commands and replies: json.ts and protobuf.ts.

import type { LogEvent } from '../../broker/event/event.ts'
import type { Command, Reply } from './protocol.ts'

/** A reply in pieces, so that data is copied once. */
export type Pieces = readonly Uint8Array[]

export interface Encoding {
  /** A push: within a reply, or alone if the transport is one-way. */
  push(push: Reply): Uint8Array
  publication(event: LogEvent): Pieces
  reply(reply: Reply): Uint8Array
  parse(message: Buffer): Command[]
  readonly ping: Uint8Array
}
