// The parser of a WebSocket's bytes, the Receiver of `ws`, continues after an error: it inflates in the background, and
// Node's Writable buffers later input and writes all of it, even after an error. Then the parser reads in a stale
// state, and raises an uncaught error: one client could end the process. Here nothing is parsed after the first error,
// and an error raised by the parser, or by a listener that it calls, affects only that one socket.
//
// Relies on: the methods and fields of Receiver that are named below, through which all parsing goes, in the background
// as well. Tried with ws 8.23.0 on Node 20.19, 20.20, 22.23, 24.21 and 26.10.

import type { Writable } from 'node:stream'
import * as library from 'ws'

type Done = (error?: Error) => void

interface Parser extends Writable {
  /** Whether it has called back with an error. */
  _errored: boolean
  /** Whether there is more to parse. */
  _loop: boolean
  /** Continues to parse the buffered input. */
  startLoop(done: Done): void
  /** Delivers a complete message. */
  dataMessage(done: Done): void
}

const { Receiver } = library as unknown as { Receiver: { prototype: Parser } }
let hardened = false

/** Patches the library. Call it once, before the first handshake. */
export function hardenReceiver(): void {
  if (hardened) return
  hardened = true
  const { prototype } = Receiver
  const write = prototype._write
  prototype._write = function (chunk, encoding, done) {
    if (this.errored !== null) done()
    else write.call(this, chunk, encoding, done)
  }
  prototype.startLoop = guarded(prototype.startLoop)
  prototype.dataMessage = guarded(prototype.dataMessage)
}

function guarded(parse: (this: Parser, done: Done) => void): (this: Parser, done: Done) => void {
  return function (done) {
    if (this.errored !== null) return
    try {
      parse.call(this, done)
    } catch (error) {
      this._errored = true
      this._loop = false
      // The library ends a socket whose receiver has an error.
      this.destroy(error instanceof Error ? error : new Error(String(error)))
    }
  }
}
