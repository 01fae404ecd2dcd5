// A WebSocket that reports at once that its client is gone. The library emits 'close' only when TCP has ended, which can be
// seconds after a client's close frame; until then the client would still count as a reader and a member. It also closes
// with a reason of any length, for which the library throws.
//
// Relies on: the library calls `close` of a socket when it has received a close frame or an invalid frame, and
// `emitClose` when TCP has ended; `_closeFrameReceived`; `_receiver`, which has an error after an invalid frame; the
// option `closeTimeout`, which its types lack. Tried with ws 8.23.0 on Node 20.20.

import type { Readable } from 'node:stream'
import { StringDecoder } from 'node:string_decoder'
import { WebSocket } from 'ws'

/** How long a client may take to end TCP after the closing handshake began, ms. */
const CLOSE_TIMEOUT_MS = 2000
/** A close frame has at most 125 bytes, two of which are the code (RFC 6455 section 5.5). */
const MAX_REASON_BYTES = 123
const GONE = 'gone'

interface Library {
  readonly _closeFrameReceived: boolean
  readonly _receiver: Pick<Readable, 'errored'>
}

const library = WebSocket.prototype as unknown as { emitClose(this: WebSocket): void }

class ServedSocket extends WebSocket {
  override close(code?: number, reason?: string | Buffer): void {
    super.close(code, typeof reason === 'string' ? shortened(reason) : reason)
    const { _closeFrameReceived: closed, _receiver: receiver } = this as unknown as Library
    if (closed || receiver.errored !== null) this.#gone()
  }

  emitClose(): void {
    library.emitClose.call(this)
    this.#gone()
  }

  #gone(): void {
    this.emit(GONE)
    this.removeAllListeners(GONE)
  }
}

/** The first characters that fit into a close frame. */
function shortened(reason: string): string {
  return new StringDecoder().write(Buffer.from(reason).subarray(0, MAX_REASON_BYTES))
}

/** The options of a server whose sockets support `whenGone`, and close with a reason of any length. */
export const SERVED = {
  /** The library's types ask for the whole module. */
  WebSocket: ServedSocket as never,
  closeTimeout: CLOSE_TIMEOUT_MS,
  clientTracking: false,
} as const

/** Calls `run` once, when the client has sent a close frame or an invalid frame, or its connection has ended. */
export function whenGone(socket: WebSocket, run: () => void): void {
  socket.on(GONE, run)
}
