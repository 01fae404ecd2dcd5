// Responses whose body is left without an end, so that clients recognize an interruption. Otherwise a client that lost its
// node, or should reconnect, might not reconnect.

import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http'
import type { ServerHttp2Stream } from 'node:http2'
import type { Writable } from 'node:stream'

/** Whether a body for this client is chunked. Otherwise it ends with the connection (RFC 9112 sections 6.1 and 6.3). */
export function takesChunks({ httpVersion }: IncomingMessage): boolean {
  return httpVersion === '1.1'
}

/**
 * Writes the head of a 200. Later writes go out unchanged: as chunks if the client `takesChunks`, without a last chunk.
 * The connection ends with the response, and requests that a client sends after this one (pipelining) are never
 * answered. Only HTTP/1.0 receives `Connection: close`: with it, Node's fetch (undici, `onHttpSocketEnd`) treats a
 * partial body as complete, even if the last chunk is missing.
 */
export function writeOpenHead(
  request: IncomingMessage,
  response: ServerResponse,
  headers: OutgoingHttpHeaders,
): void {
  const { connection: _, ...others } = headers
  const coding = takesChunks(request) ? { 'transfer-encoding': 'chunked' } : { connection: 'close' }
  response.removeHeader('transfer-encoding')
  // Then Node adds no such header, but still ends the connection.
  response.removeHeader('connection')
  response.shouldKeepAlive = false
  response.writeHead(200, { ...others, ...coding })
  // Otherwise Node would put the caller's chunks into chunks, and write the last one.
  response.chunkedEncoding = false
}

/** The error with which an HTTP/2 stream is reset in place of its end. */
class BrokenOff extends Error {
  override readonly message = 'the body is left without an end'
}

/**
 * Writes the last bytes of an HTTP/2 stream, and resets it with INTERNAL_ERROR once they have gone out. `sink` accepts
 * the bytes for it. (Instead of CANCEL: Node sends an end before that, and some clients treat it as the end.)
 */
export function breakOff(stream: ServerHttp2Stream, sink: Writable, last: Buffer): void {
  // Deferred, since this may run within the session's own call.
  sink.write(last, () => setImmediate(() => stream.destroy(new BrokenOff())))
}
