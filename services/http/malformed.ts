// What can't be parsed as HTTP, and so never becomes a request.

import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { FanwireError } from '../errors.ts'

interface ParseError extends Error {
  readonly code?: string
  /** The bytes in which the parser stopped. */
  readonly rawPacket?: unknown
}

/** The client may take so long to take the answer, ms. */
const LINGER = 1000

/** Fastify's clientErrorHandler: answers with a coded error and closes. */
export function refuseMalformed(error: ParseError, socket: Socket): void {
  const { _httpMessage: answering } = socket as { _httpMessage?: ServerResponse | null }
  // In the middle of another answer there is no way to tell.
  if (error.code === 'ECONNRESET' || answering?.headersSent === true) return void socket.destroy()
  if (!socket.writable) return
  const refusal = refusalOf(error)
  const body = JSON.stringify(refusal)
  const { statusCode } = refusal
  socket.end(
    `HTTP/1.1 ${statusCode} ${REASONS[statusCode] ?? 'Error'}\r\nContent-Type: application/json; charset=utf-8\r\n` +
      `Cache-Control: no-store\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  )
  // Not at once: that would reset the connection before the client has read.
  setTimeout(() => socket.destroy(), LINGER).unref()
}

const REASONS: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  408: 'Request Timeout',
  413: 'Payload Too Large',
  414: 'URI Too Long',
  431: 'Request Header Fields Too Large',
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

/** Whether headers overflowed with the URL: the first line of what came last ends a request line, or none ends. */
function inRequestLine(packet: unknown): boolean {
  if (!Buffer.isBuffer(packet)) return false
  const end = packet.indexOf('\r\n')
  const line = packet.toString('latin1', 0, end === -1 ? packet.length : end)
  const begins = /^[A-Z]{3,16} \S/.test(line)
  return end === -1 ? begins : / HTTP\/1\.[01]$/.test(line) && (!begins || line.length > 32 * 1024)
}
