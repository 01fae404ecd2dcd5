// The state of an HTTP/2 session: how many requests it has, whether writes still go out, and its share of one turn of the
// event loop.

import {
  constants,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type Http2Session,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2'
import type { Socket } from 'node:net'
import { acceptedBytes } from './node/queued-bytes.ts'
import { Turns } from './turns.ts'

/**
 * The maximum concurrent requests of one HTTP/2 session. Further ones wait at the client (RFC 9113 section 5.1.2). Node
 * counts the session's pushes too, and resets requests beyond the limit with ENHANCE_YOUR_CALM.
 */
export const MAX_STREAMS = 100
/** A PING and its frame, bytes (RFC 9113 section 6.7). */
const PING_BYTES = 17

/** A request as it arrived. */
export interface Incoming {
  /** The request's stream, which Node removes from the request when it is closed. */
  readonly stream: ServerHttp2Stream
  readonly request: Http2ServerRequest
  readonly response: Http2ServerResponse
}

const sessions = new WeakMap<Http2Session, Session>()

export class Session {
  /** The number of open requests and streams. */
  streams = 0
  /** How many of them have begun. */
  begun = 0
  readonly #session: ServerHttp2Session
  readonly #socket: Socket
  readonly #turns: Turns<Incoming>
  /** Bytes of the PINGs that the node sent to check that the session still writes. */
  #pinged = 0
  /** The bytes that the kernel had accepted when they last grew, and the time of that check. */
  #accepted = -1
  #grew = 0
  /** Whether a stream was cut and nothing was sent since. */
  #cut = false

  /** `begin` is called for each request when its turn comes. */
  constructor(session: ServerHttp2Session, socket: Socket, begin: (incoming: Incoming) => void) {
    this.#session = session
    this.#socket = socket
    this.#turns = new Turns(incoming => {
      // The client may have reset the request while it waited.
      if (!incoming.stream.destroyed && !incoming.stream.closed) begin(incoming)
    })
    sessions.set(session, this)
  }

  /** Bytes that were written for its streams. */
  get given(): number {
    return this.#socket.bytesWritten - this.#pinged
  }

  /** Called when a stream was cut, so that its client must be notified. */
  cut(): void {
    this.#cut = true
  }

  /**
   * Destroys the socket if a stream is open and nothing was sent for `stall` ms. After a malformed frame, a session silently
   * stops writing, and does not notice that its client leaves. So a PING is sent on quiet sessions. `now`: see
   * AwakeClock; between two calls it grows by at most half of `stall`, so that the PING comes first.
   */
  check(now: number, stall: number): void {
    const accepted = acceptedBytes(this.#socket)
    if (accepted !== this.#accepted || (this.streams === 0 && !this.#cut)) {
      this.#accepted = accepted
      this.#grew = now
      this.#cut = false
    } else if (now - this.#grew >= stall) this.#socket.destroy()
    else if (now - this.#grew >= stall / 2) this.#ping()
  }

  #ping(): void {
    if (this.#session.destroyed) return
    const before = this.#socket.bytesWritten
    this.#session.ping(() => {})
    // It is written by then, unless the kernel accepts nothing.
    setImmediate(() => {
      if (this.#socket.bytesWritten > before) this.#pinged += PING_BYTES
    })
  }

  /** Begins a request when its turn comes. */
  take(incoming: Incoming): void {
    this.#turns.take(incoming)
  }
}

export function sessionOf(stream: ServerHttp2Stream | undefined): Session | undefined {
  return stream?.session && sessions.get(stream.session)
}

/** Ends a stream at once; later its socket too, if its client can't be notified. */
export function cutStream(stream: ServerHttp2Stream): void {
  const session = sessionOf(stream)
  stream.close(constants.NGHTTP2_CANCEL)
  stream.destroy()
  session?.cut()
}
