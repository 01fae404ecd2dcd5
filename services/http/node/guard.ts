// Makes an error in a listener of a socket end that socket instead of the process: libraries parse client input in such
// listeners.
//
// Relies on: everything that happens to a socket goes through its `emit`, looked up each time. Tried on Node 20.19,
// 20.20, 22.23, 24.21 and 26.10.

import type { Socket } from 'node:net'
import type { FastifyBaseLogger } from 'fastify'

/** Logs errors in the socket's listeners, and destroys the socket. */
export function guard(socket: Socket, logger: FastifyBaseLogger): void {
  loggers.set(socket, logger)
  socket.emit = guarded
}

/** Not a closure per socket: there are many sockets. */
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
