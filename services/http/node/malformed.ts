// Input that can't be parsed as HTTP, and so never becomes a request.
//
// Relies on: `_httpMessage`, the response whose turn it is on a socket; the codes of Node's parser (HPE_…) and
// `rawPacket`, the bytes in which it stopped. Tried on Node 20.19, 20.20, 22.23, 24.21 and 26.10.

import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { FanwireError } from '../../errors.ts'
import { refuse } from './closing.ts'

interface ParseError extends Error {
  readonly code?: string
  /** The bytes in which the parser stopped. */
  readonly rawPacket?: unknown
}

/** Fastify's clientErrorHandler: answers with a coded error and closes. */
export function refuseMalformed(error: ParseError, socket: Socket): void {
  const { _httpMessage: answering } = socket as { _httpMessage?: ServerResponse | null }
  // In the middle of another response the client can't be notified.
  if (error.code === 'ECONNRESET' || answering?.headersSent === true) return void socket.destroy()
  refuse(socket, refusalOf(error))
}

function refusalOf({ code, rawPacket }: ParseError): FanwireError {
  switch (code) {
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new FanwireError('FW_REQUEST_TIMEOUT', 'the request did not arrive in time')
    case 'HPE_HEADER_OVERFLOW':
      return inRequestLine(rawPacket)
        ? new FanwireError('FW_URL_TOO_LONG', 'the URL is longer than 32768 bytes')
        : new FanwireError('FW_HEADERS_TOO_LARGE', 'the request headers are larger than 65536 bytes')
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return new FanwireError('FW_TOO_LARGE', 'the chunk extensions are too large')
    default:
      return new FanwireError('FW_BAD_REQUEST', 'this is not a well-formed HTTP/1.1 request')
  }
}

/**
 * Whether the headers overflowed within the URL: the first line of the last bytes ends a request line, or no line ends.
 */
function inRequestLine(packet: unknown): boolean {
  if (!Buffer.isBuffer(packet)) return false
  const end = packet.indexOf('\r\n')
  const line = packet.toString('latin1', 0, end === -1 ? packet.length : end)
  const begins = /^[A-Z]{3,16} \S/.test(line)
  return end === -1 ? begins : / HTTP\/1\.[01]$/.test(line) && (!begins || line.length > 32 * 1024)
}
