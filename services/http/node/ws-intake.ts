// How fast a WebSocket's messages are taken. The library hands on all that a read brings, thousands of small messages,
// before anything else has its turn, and goes on with them while its socket is paused. Here a client has so many
// messages, PINGs and PONGs a turn of the event loop, large ones counting for more; then others have theirs. And one
// that is held has none taken, so that what it has sent waits in its socket.
//
// Relies on: the methods and fields of Receiver that are named below. While `_allowSynchronousEvents` is false it hands
// the next message on by setImmediate, and goes on by `startLoop`; until that calls back, it takes no more bytes. Tried
// with ws 8.23.0 on Node 20.19, 20.20, 24.21 and 26.10.

import type { Socket } from 'node:net'
import type { WebSocket } from 'ws'
import { TURN } from '../turns.ts'

/** Bytes for which a message counts as one more. */
const BYTES = 2048

type Done = (error?: Error) => void

interface Receiver {
  _allowSynchronousEvents: boolean
  _maxPayload: number
  _extensions: Readonly<Record<string, { _maxPayload: number }>>
  startLoop(done: Done): void
}

interface Library {
  readonly _receiver: Receiver
  readonly _socket: Socket
}

/** Of a client that has said something: most never do. */
class Intake {
  readonly #websocket: WebSocket
  readonly #receiver: Receiver
  /** What was taken since turns were last counted: nothing is counted below the share. */
  #taken = 0
  #held = false
  #closed = false
  #goOn: (() => void) | undefined

  constructor(websocket: WebSocket) {
    const { _receiver: receiver, _socket: socket } = websocket as unknown as Library
    this.#websocket = websocket
    this.#receiver = receiver
    const startLoop = receiver.startLoop.bind(receiver)
    receiver.startLoop = done => {
      if (this.#held) this.#goOn = () => startLoop(done)
      else startLoop(done)
    }
    // The library says that a WebSocket is closed once all of it has been taken.
    socket.once('close', () => {
      this.#closed = true
      this.release()
    })
  }

  took(bytes: number): void {
    const receiver = this.#receiver
    // It came in a turn of its own.
    if (!receiver._allowSynchronousEvents) this.#taken = 0
    this.#taken += 1 + Math.floor(bytes / BYTES)
    receiver._allowSynchronousEvents = this.#taken < TURN && !this.#held
  }

  hold(): void {
    if (this.#held || this.#closed) return
    this.#held = true
    this.#receiver._allowSynchronousEvents = false
    this.#websocket.pause()
  }

  release(): void {
    if (!this.#held) return
    this.#held = false
    const goOn = this.#goOn
    this.#goOn = undefined
    goOn?.()
    this.#websocket.resume()
  }
}

const intakes = new WeakMap<WebSocket, Intake>()

function intakeOf(websocket: WebSocket): Intake {
  let intake = intakes.get(websocket)
  if (intake === undefined) {
    intake = new Intake(websocket)
    intakes.set(websocket, intake)
  }
  return intake
}

/** From now on the client has its share of a turn and no more. */
export function shareTurns(websocket: WebSocket): void {
  websocket.on('message', took)
  websocket.on('ping', took)
  websocket.on('pong', took)
}

/** Not in a closure for each: there are many. */
function took(this: WebSocket, data: { readonly length: number }): void {
  intakeOf(this).took(data.length)
}

/** Takes nothing more, save one message that may be on its way. */
export function hold(websocket: WebSocket): void {
  intakeOf(websocket).hold()
}

/** Goes on. */
export function release(websocket: WebSocket): void {
  intakes.get(websocket)?.release()
}

/** From now on a message may have `bytes` and no more, also one that was compressed; else the library closes with 1009. */
export function limitMessages(websocket: WebSocket, bytes: number): void {
  const { _receiver: receiver } = websocket as unknown as Library
  receiver._maxPayload = bytes
  for (const extension of Object.values(receiver._extensions)) extension._maxPayload = bytes
}
