// A Socket.IO client's end. Over WebSocket, frames go past the library straight to the socket, as on the ws wire;
// while it polls, packets wait here for the next poll and go through the library. A client may change from polling to
// WebSocket in mid-stream: whatever waits then goes first.

import type { IncomingMessage } from 'node:http'
import type { Socket as NetSocket } from 'node:net'
import { type Duplex, Writable } from 'node:stream'
import type { Socket } from 'socket.io'
import { type ServerOptions, type WebSocket, WebSocketServer } from 'ws'
import type { Outlet } from '../../broker/fanout/connection.ts'
import type { CloseReason } from '../../broker/fanout/framing.ts'
import { queuedBytes } from '../../http/node/queued-bytes.ts'
import { hold, limitMessages, release, shareTurns } from '../../http/node/ws-intake.ts'
import { underWay } from '../streaming.ts'
import { wsText } from '../ws-frames.ts'
import { PACKET_SEPARATOR, type PacketFraming, socketIoFraming, socketIoPollFraming } from './framing.ts'

/** The library's session below Socket.IO: Engine.IO. It goes on when the transport changes. */
export type Session = Socket['conn']

/** The library keeps an ended session for this long, for a poll that it can answer with the end, ms. */
const HEARS_END_WITHIN = 2000

/** The sockets below WebSockets. */
const sockets = new WeakMap<WebSocket, NetSocket>()

/** What the library makes WebSockets with: one of our own `ws`, which says what their sockets are. */
export class Handshakes extends WebSocketServer {
  constructor(options: ServerOptions) {
    // Socket.IO has no subprotocol.
    super({ ...options, handleProtocols: () => false })
  }

  override handleUpgrade(
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    callback: (client: WebSocket, request: IncomingMessage) => void,
  ): void {
    super.handleUpgrade(request, socket, head, (websocket, request) => {
      sockets.set(websocket, socket as NetSocket)
      shareTurns(websocket)
      callback(websocket, request)
    })
  }
}

/** Sets what the library has no option for. To be called when a session begins. */
export function tune(session: Session): void {
  // It would keep the first request for as long as the session lasts.
  session.request = undefined as unknown as IncomingMessage
  const polling = session.transport as { closeTimeout?: number }
  if (polling.closeTimeout !== undefined) polling.closeTimeout = HEARS_END_WITHIN
}

/** A message, or a post, of the session may have `bytes` and no more. To be called again when its transport changes. */
export function limitMessagesOf({ transport }: Session, bytes: number): void {
  const { socket } = transport as { socket?: WebSocket }
  if (socket !== undefined) limitMessages(socket, bytes)
  else (transport as { maxHttpBufferSize?: number }).maxHttpBufferSize = bytes
}

/** The WebSocket of a session, and the socket below it; undefined while it polls. */
function websocketOf({ transport }: Session): { websocket: WebSocket; socket: NetSocket } | undefined {
  const { socket: websocket } = transport as { socket?: WebSocket }
  const socket = websocket && sockets.get(websocket)
  return websocket && socket && { websocket, socket }
}

export class SocketIoOutlet implements Outlet {
  framing: PacketFraming
  sink: Writable
  readonly #session: Session
  #websocket: WebSocket | undefined
  #polls: PollSink | undefined
  #paused = false
  #waiting: (() => void)[] = []

  constructor(session: Session) {
    this.#session = session
    const over = websocketOf(session)
    if (over === undefined) {
      this.framing = socketIoPollFraming
      this.sink = this.#polls = new PollSink(session)
    } else {
      this.framing = socketIoFraming
      this.sink = over.socket
      this.#websocket = over.websocket
    }
  }

  /** The session has another transport: WebSocket. */
  upgraded(): void {
    const over = websocketOf(this.#session)
    if (over === undefined) return
    this.framing = socketIoFraming
    this.sink = over.socket
    this.#websocket = over.websocket
    this.#polls?.moveTo(over.socket)
    this.#polls = undefined
    if (this.#paused) hold(over.websocket)
  }

  /** The client polls, for now. */
  get polls(): boolean {
    return this.#polls !== undefined
  }

  /** What may be under way through TLS; a poll sink has nothing of the kind. */
  get underWay(): number {
    return this.#websocket === undefined ? 0 : underWay(this.sink as NetSocket)
  }

  get open(): boolean {
    // After a close frame nothing may follow (RFC 6455 section 5.5.1).
    const closing = this.#websocket !== undefined && this.#websocket.readyState !== this.#websocket.OPEN
    return this.#session.readyState === 'open' && this.sink.writable && !closing
  }

  get queued(): number {
    return queuedBytes(this.sink)
  }

  /**
   * Tells why, and ends the transport. Not by Socket.IO's own DISCONNECT: of that, its clients believe that they
   * must not come back.
   */
  end(reason: CloseReason): void {
    const bytes = this.framing.closing(reason)
    if (this.#websocket !== undefined) {
      this.sink.write(bytes)
      this.#websocket.close(reason.code, reason.reason)
      return
    }
    // The end itself goes with a further poll: clients drop what comes in one answer with it.
    this.sink.end(bytes, () => this.#session.close())
    this.room()
  }

  cut(): void {
    if (this.#websocket === undefined) this.#session.close(true)
    else this.#websocket.terminate()
  }

  /** Reads no more. */
  pause(): void {
    this.#paused = true
    if (this.#websocket !== undefined) hold(this.#websocket)
  }

  room(): void {
    if (!this.#paused) return
    this.#paused = false
    if (this.#websocket !== undefined) release(this.#websocket)
    this.release()
  }

  /** Returns when what a client that polls has posted may be read. */
  async readable(): Promise<void> {
    // A client that changes its transport waits for its post to be answered, and polls no more until then.
    if (!this.#paused || this.#session.upgrading || this.#session.readyState !== 'open') return
    await new Promise<void>(resolve => this.#waiting.push(resolve))
  }

  /** Lets posts in that wait. */
  release(): void {
    for (const resolve of this.#waiting.splice(0)) resolve()
  }
}

/** Takes bytes while a poll waits to be answered. Each chunk is packets, with separators between but none around. */
class PollSink extends Writable {
  readonly #session: Session
  readonly #offer = () => this.#give()
  #held = ''
  #given: (() => void) | undefined
  #movedTo: NetSocket | undefined

  constructor(session: Session) {
    super()
    this.#session = session
    session.transport.on('ready', this.#offer)
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#hold([chunk], done)
  }

  override _writev(chunks: { chunk: Buffer }[], done: () => void): void {
    this.#hold(
      chunks.map(({ chunk }) => chunk),
      done,
    )
  }

  #hold(chunks: Buffer[], done: () => void): void {
    const texts = chunks.filter(chunk => chunk.length > 0).map(chunk => chunk.toString())
    if (texts.length === 0) return done()
    this.#held = texts.join(PACKET_SEPARATOR)
    this.#given = done
    this.#give()
  }

  #give(): void {
    const done = this.#given
    const { transport } = this.#session
    if (done === undefined) return
    if (this.#movedTo !== undefined) {
      this.#movedTo.write(Buffer.concat(this.#held.split(PACKET_SEPARATOR).map(wsText)))
    } else if (transport.name === 'polling' && transport.writable) {
      // As one packet: the library writes the first one's type, and leaves the rest as it is.
      this.#session.write(this.#held.slice(1), { compress: false })
    } else return
    this.#held = ''
    this.#given = undefined
    done()
  }

  /** The client polls no more: what waits, and what is still written here, goes to its WebSocket. */
  moveTo(socket: NetSocket): void {
    this.#movedTo = socket
    this.#give()
    while (this.writableCorked > 0) this.uncork()
  }
}
