// How fast a WebSocket's messages are processed. The library delivers everything that a read brings, thousands of small
// messages, before anything else has its turn, and continues while its socket is paused. Here a client has a limited
// number of messages, PINGs and PONGs per turn of the event loop, with large ones counting for more; then other clients
// have their turn. No messages of a held client are processed, so its input waits in its socket.
//
// Relies on: the methods and fields of Receiver that are named below. While `_allowSynchronousEvents` is false it
// delivers the next message by setImmediate, and continues by `startLoop`; until that calls back, it accepts no more
// bytes. Tried with ws 8.23.0 on Node 20.19, 20.20, 24.21 and 26.10.

import type { Socket } from 'node:net'
import type { WebSocket } from 'ws'
import { TURN } from '../turns.ts'

/** A message counts once more for each time that it contains this many bytes. */
const COUNTED_BYTES = 2048

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

/** Created for a client that has sent something, which most never do. */
class Intake {
  readonly #websocket: WebSocket
  readonly #receiver: Receiver
  /** Messages since turns were last counted. Turns are counted only above the share. */
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
    // The library reports that a WebSocket is closed once all input has been processed.
    socket.once('close', () => {
      this.#closed = true
      this.release()
    })
  }

  took(bytes: number): void {
    const receiver = this.#receiver
    // It arrived in a separate turn.
    if (!receiver._allowSynchronousEvents) this.#taken = 0
    this.#taken += 1 + Math.floor(bytes / COUNTED_BYTES)
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

/** Limits the client to its share of a turn. */
export function shareTurns(websocket: WebSocket): void {
  websocket.on('message', took)
  websocket.on('ping', took)
  websocket.on('pong', tookPong)
}

/** Clients that have sent one PONG in this turn, and nothing else before: the answer to a heartbeat. */
const answered = new Set<WebSocket>()

function tookPong(this: WebSocket, data: { readonly length: number }): void {
  if (intakes.has(this) || answered.has(this)) return intakeOf(this).took(data.length)
  if (answered.size === 0) setImmediate(() => answered.clear())
  answered.add(this)
}

/** Not a closure per client: there are many. */
function took(this: WebSocket, data: { readonly length: number }): void {
  intakeOf(this).took(data.length)
}

/** Processes nothing more, except one message that may be in progress. */
export function hold(websocket: WebSocket): void {
  intakeOf(websocket).hold()
}

/** Continues. */
export function release(websocket: WebSocket): void {
  intakes.get(websocket)?.release()
}

/** Limits messages to `bytes`, also after decompression; beyond that the library closes with 1009. */
export function limitMessages(websocket: WebSocket, bytes: number): void {
  const { _receiver: receiver } = websocket as unknown as Library
  receiver._maxPayload = bytes
  for (const extension of Object.values(receiver._extensions)) extension._maxPayload = bytes
}
