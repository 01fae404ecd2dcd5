// Responses whose body is left without an end, so that no client takes what it has for all there is: a client that lost
// its node, or was told to come back, would stay away for good.

import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http'
import type { ServerHttp2Stream } from 'node:http2'
import type { Writable } from 'node:stream'

/** Whether a body for this client is chunked. Otherwise it ends with the connection (RFC 9112 sections 6.1 and 6.3). */
export function takesChunks({ httpVersion }: IncomingMessage): boolean {
  return httpVersion === '1.1'
}

/**
 * Writes the head of a 200. What is written to the response after it goes out as it is: chunks where the client
 * `takesChunks`, and no last one at the end. The connection ends with the response, and whatever a client sends behind
 * this request (pipelining) is never answered. Only HTTP/1.0 is told `Connection: close`: Node's fetch (undici,
 * `onHttpSocketEnd`) takes what came with it for a whole body, also where the last chunk is missing.
 */
export function writeOpenHead(
  request: IncomingMessage,
  response: ServerResponse,
  headers: OutgoingHttpHeaders,
): void {
  const { connection: _, ...others } = headers
  const coding = takesChunks(request) ? { 'transfer-encoding': 'chunked' } : { connection: 'close' }
  response.removeHeader('transfer-encoding')
  // Node adds no header of its own then, and ends the connection all the same.
  response.removeHeader('connection')
  response.shouldKeepAlive = false
  response.writeHead(200, { ...others, ...coding })
  // Node would make chunks of the caller's chunks, and write the last one.
  response.chunkedEncoding = false
}

/** What a client of HTTP/2 is told in place of an end. */
class BrokenOff extends Error {
  override readonly message = 'the body is left without an end'
}

/**
 * Writes the last bytes of a stream of HTTP/2, and resets it with INTERNAL_ERROR once they have gone out. `sink` is what
 * takes the bytes for it. (CANCEL would do, but Node sends an end before it, and some clients take it for one.)
 */
export function breakOff(stream: ServerHttp2Stream, sink: Writable, last: Buffer): void {
  // Later, since this may run within the session's own call.
  sink.write(last, () => setImmediate(() => stream.destroy(new BrokenOff())))
}
