// Answers and ends sockets that do not belong to Node's HTTP server (any more): nothing else closes them, or reads their
// remaining input.
//
// Relies on: `_httpMessage`, the response whose turn it is on a socket; the next one has its turn before that one emits
// 'close'. Tried on Node 20.19, 20.20, 22.23, 24.21 and 26.10.

import { type ServerResponse, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { FanwireError } from '../../errors.ts'

/** How long a client has to receive the last response, ms. */
const LINGER_MS = 1000

/** Calls `run` when all earlier requests on the socket are answered (pipelining), unless it ends with them. */
export function whenAnswered(socket: Socket, run: () => void): void {
  const { _httpMessage: earlier } = socket as { _httpMessage?: ServerResponse | null }
  if (earlier) earlier.once('close', () => whenAnswered(socket, run))
  else if (socket.writable) run()
}

/** Answers with a coded error, and ends the socket. */
export function refuse(
  socket: Socket,
  error: FanwireError,
  headers: Readonly<Record<string, string>> = {},
): void {
  if (!socket.writable) return
  const body = JSON.stringify(error)
  const fields = {
    ...headers,
    'Content-Type': 'application/json; charset=utf-8',
    'Cache-Control': 'no-store',
    'Content-Length': Buffer.byteLength(body),
    Connection: 'close',
  }
  const { statusCode } = error
  const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`)
  socket.write(
    `HTTP/1.1 ${statusCode} ${STATUS_CODES[statusCode] ?? 'Error'}\r\n${lines.join('')}\r\n${body}`,
  )
  endGently(socket)
}

/**
 * Ends a socket whose last response is written. Closing it at once would reset the connection while the client still
 * sends, and the client might not see the response. So input is discarded until the client has ended too, or for a second.
 */
export function endGently(socket: Socket): void {
  if (socket.destroyed) return
  const timer = setTimeout(() => socket.destroy(), LINGER_MS).unref()
  socket.once('close', () => clearTimeout(timer))
  socket.on('error', destroy)
  socket.once('end', destroy)
  socket.end()
  socket.resume()
}

/** A listener for 'error' and 'end'. */
export function destroy(this: Socket): void {
  this.destroy()
}
