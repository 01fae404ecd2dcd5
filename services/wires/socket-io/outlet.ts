// The client's end of a Socket.IO session. Over WebSocket, frames bypass the library and go straight to the socket, as
// on the ws wire. While the client polls, packets are buffered here for the next poll and go through the library. A
// client may change from polling to WebSocket in mid-stream: buffered packets are then sent first.

import type { IncomingMessage } from 'node:http'
import type { Socket as NetSocket } from 'node:net'
import { type Duplex, Writable } from 'node:stream'
import type { Socket } from 'socket.io'
import { type ServerOptions, type WebSocket, WebSocketServer } from 'ws'
import type { Outlet } from '../../broker/fanout/connection.ts'
import type { CloseReason } from '../../broker/fanout/framing.ts'
import { queuedBytes } from '../../http/node/queued-bytes.ts'
import { SERVED } from '../../http/node/served-socket.ts'
import { hold, limitMessages, release, shareTurns } from '../../http/node/ws-intake.ts'
import { underWay } from '../streaming.ts'
import { wsText } from '../ws-frames.ts'
import { PACKET_SEPARATOR, type PacketFraming, socketIoFraming, socketIoPollFraming } from './framing.ts'

/** The library's Engine.IO session below Socket.IO. It continues when the transport changes. */
export type Session = Socket['conn']

/** The library keeps an ended session for this long, to answer one more poll with the end. */
const CLOSE_TIMEOUT_MS = 2000

/** The network socket of each WebSocket. */
const sockets = new WeakMap<WebSocket, NetSocket>()

/** Creates the library's WebSockets, with our own `ws`, and records their network sockets. */
export class Handshakes extends WebSocketServer {
  constructor(options: ServerOptions) {
    // Socket.IO has no subprotocol.
    super({ ...options, ...SERVED, handleProtocols: () => false })
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

/** Applies settings for which the library has no option. Call it when a session begins. */
export function tune(session: Session): void {
  // The library would keep the first request for as long as the session lasts.
  session.request = undefined as unknown as IncomingMessage
  const polling = session.transport as { closeTimeout?: number }
  if (polling.closeTimeout !== undefined) polling.closeTimeout = CLOSE_TIMEOUT_MS
}

/** Limits the session's messages and POSTs to `bytes`. Call it again when its transport changes. */
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

  /** Called when the session's transport is now WebSocket. */
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

  /** Whether the client is polling. */
  get polls(): boolean {
    return this.#polls !== undefined
  }

  /** The bytes that may be in flight through TLS; none for a poll sink. */
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
   * Sends the reason, and ends the transport. Does not use Socket.IO's DISCONNECT, after which its clients do not
   * reconnect.
   */
  end(reason: CloseReason): void {
    const bytes = this.framing.closing(reason)
    if (this.#websocket !== undefined) {
      this.sink.write(bytes)
      this.#websocket.close(reason.code, reason.reason)
      return
    }
    // The end is sent in a further poll: clients drop other packets of the same response.
    this.sink.end(bytes, () => this.#session.close())
    this.room()
  }

  cut(): void {
    if (this.#websocket === undefined) this.#session.close(true)
    else this.#websocket.terminate()
  }

  /** Stops reading. */
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

  /** Returns when the POST of a polling client may be read. */
  async readable(): Promise<void> {
    // A client that changes its transport does not poll until its POST is answered.
    if (!this.#paused || this.#session.upgrading || this.#session.readyState !== 'open') return
    await new Promise<void>(resolve => this.#waiting.push(resolve))
  }

  /** Lets waiting POSTs continue. */
  release(): void {
    for (const resolve of this.#waiting.splice(0)) resolve()
  }
}

/** Accepts bytes while a poll waits for its response. A chunk is one or more packets, with separators between them. */
class PollSink extends Writable {
  readonly #session: Session
  readonly #onReady = () => this.#flush()
  #held = ''
  #done: (() => void) | undefined
  #movedTo: NetSocket | undefined

  constructor(session: Session) {
    super()
    this.#session = session
    session.transport.on('ready', this.#onReady)
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
    this.#done = done
    this.#flush()
  }

  #flush(): void {
    const done = this.#done
    const { transport } = this.#session
    if (done === undefined) return
    if (this.#movedTo !== undefined) {
      this.#movedTo.write(Buffer.concat(this.#held.split(PACKET_SEPARATOR).map(wsText)))
    } else if (transport.name === 'polling' && transport.writable) {
      // As one packet: the library writes the first packet's type and leaves the rest unchanged.
      this.#session.write(this.#held.slice(1), { compress: false })
    } else return
    this.#held = ''
    this.#done = undefined
    done()
  }

  /** The client no longer polls: buffered and later bytes go to its WebSocket. */
  moveTo(socket: NetSocket): void {
    this.#movedTo = socket
    this.#flush()
    while (this.writableCorked > 0) this.uncork()
  }
}
