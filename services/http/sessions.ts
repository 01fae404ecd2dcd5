// The node's state of an HTTP/2 session beyond its requests: how many it holds, whether writes still go out, and its
// share of one turn of the event loop.

import {
  constants,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type Http2Session,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2'
import type { Socket } from 'node:net'
import { Turns } from './turns.ts'

/**
 * Requests that one HTTP/2 session may have at a time: further ones wait at the client (RFC 9113 section 5.1.2). Node
 * counts the session's pushes among them, and resets requests beyond the limit with ENHANCE_YOUR_CALM.
 */
export const MAX_STREAMS = 100
/** A PING and its frame, bytes (RFC 9113 section 6.7). */
const PING_BYTES = 17

/** A request as it arrived. */
export interface Incoming {
  /** Node removes it from the request when it is closed. */
  readonly stream: ServerHttp2Stream
  readonly request: Http2ServerRequest
  readonly response: Http2ServerResponse
}

const sessions = new WeakMap<Http2Session, Session>()

export class Session {
  /** Requests and streams that are open. */
  streams = 0
  /** Those of them that have begun. */
  begun = 0
  readonly #session: ServerHttp2Session
  readonly #socket: Socket
  readonly #turns: Turns<Incoming>
  /** Bytes of PINGs that the node sent to see whether anything goes out. */
  #pinged = 0
  /** Bytes that the socket had been given when they last grew, and when that was, ms since 1970. */
  #given = 0
  #grew = Date.now()
  /** Whether a stream was cut and nothing was sent since. */
  #cut = false

  /** `begin` is called for each request when its turn comes. */
  constructor(session: ServerHttp2Session, socket: Socket, begin: (incoming: Incoming) => void) {
    this.#session = session
    this.#socket = socket
    this.#turns = new Turns(incoming => {
      // Its client may have reset it while it waited: then it costs nothing more.
      if (!incoming.stream.destroyed && !incoming.stream.closed) begin(incoming)
    })
    sessions.set(session, this)
  }

  /** Bytes that were written for its streams. */
  get given(): number {
    return this.#socket.bytesWritten - this.#pinged
  }

  /** A stream was cut: its client must be notified. */
  cut(): void {
    this.#cut = true
  }

  /**
   * Destroys the socket where a stream is open and nothing has gone out for `stall` ms. A malformed frame ends a
   * session without a word from Node: from then on it writes nothing, and does not see its client go. So a quiet
   * session is given a PING to write. `now`: ms since 1970.
   */
  check(now: number, stall: number): void {
    const { bytesWritten } = this.#socket
    if (bytesWritten !== this.#given || (this.streams === 0 && !this.#cut)) {
      this.#given = bytesWritten
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
