// What a listener of a socket raises ends that socket, and not the process: libraries that parse what a stranger sends
// do so in such listeners.
//
// Relies on: all that happens to a socket is told by its `emit`, looked up each time. Tried on Node 20.19, 20.20, 22.23,
// 24.21 and 26.10.

import type { Socket } from 'node:net'
import type { FastifyBaseLogger } from 'fastify'

/** From now on the socket is destroyed with whatever its listeners raise, which is logged. */
export function guard(socket: Socket, logger: FastifyBaseLogger): void {
  loggers.set(socket, logger)
  socket.emit = guarded
}

/** Not in a closure for each socket: there are many. */
const loggers = new WeakMap<Socket, FastifyBaseLogger>()

function guarded(this: Socket, event: string | symbol, ...args: unknown[]): boolean {
  try {
    const { emit } = Object.getPrototypeOf(this) as Socket
    return Reflect.apply(emit, this, [event, ...args])
  } catch (error) {
    loggers.get(this)?.error({ err: error, event }, 'a connection failed, and is closed')
    this.destroy()
    return true
  }
}
