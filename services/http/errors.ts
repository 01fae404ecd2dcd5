// How errors are sent: `{"error":{"code","message"}}`, and to an EventSource so that it reconnects
// (docs/protocol.md#errors).

import type { OutgoingHttpHeaders } from 'node:http'
import type { ServerHttp2Stream } from 'node:http2'
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { CODES, type ErrorCode, FanwireError } from '../errors.ts'
import { jitter } from '../backoff.ts'
import { clientErrorOf } from '../broker/log/client-error.ts'
import { breakOff, takesChunks, writeOpenHead } from './open-ended.ts'
import { chunkOf } from './chunks.ts'
import { answerAndClose, http2StreamOf, isHttp2 } from './exchange.ts'
import { loggedPath } from './target.ts'

/** The maximum length of a URL, bytes. */
export const MAX_URL_BYTES = 32 * 1024
/** The maximum length of the request line and headers together, bytes. */
export const MAX_HEADERS_BYTES = 64 * 1024
/** How long a client may continue to send a body that nobody reads, ms. */
const UNREAD_MS = 5000
/** The delay before an EventSource reconnects, ms, plus or minus half. */
const RECONNECT_MS = 3000

/** Our codes for Fastify's errors. Its other request errors become FW_BAD_REQUEST. */
const FASTIFY: Readonly<Record<string, ErrorCode>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: 'FW_TOO_LARGE',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'FW_MEDIA_TYPE',
  FST_ERR_CTP_EMPTY_TYPE: 'FW_MEDIA_TYPE',
  FST_ERR_CTP_INVALID_JSON_BODY: 'FW_BAD_JSON',
  FST_ERR_CTP_EMPTY_JSON_BODY: 'FW_BAD_JSON',
  FST_ERR_NOT_FOUND: 'FW_NOT_FOUND',
}

/** The error for the client; undefined for a bug of the node. */
function codedErrorOf(error: unknown, request: FastifyRequest): FanwireError | undefined {
  const coded = clientErrorOf(error)
  if (coded !== undefined) return coded
  if (!(error instanceof Error)) return undefined
  const { code, statusCode = 500 } = error as FastifyError
  const known = code === undefined ? undefined : FASTIFY[code]
  if (known === 'FW_TOO_LARGE') {
    return new FanwireError(known, `the body is larger than ${request.routeOptions.bodyLimit} bytes`)
  }
  if (known === 'FW_MEDIA_TYPE')
    return new FanwireError(known, 'the body has no content type that is accepted here')
  if (known !== undefined) return new FanwireError(known, CODES[known].meaning)
  if (code === 'FST_ERR_BAD_URL') return new FanwireError('FW_BAD_REQUEST', 'the URL is not well-formed')
  return statusCode < 500 ? new FanwireError('FW_BAD_REQUEST', error.message) : undefined
}

/** Answers with the error. */
export function sendError(thrown: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  let error = codedErrorOf(thrown, request)
  if (error === undefined) {
    const path = loggedPath(request.url)
    if (request.raw.destroyed || reply.raw.destroyed) {
      request.log.debug(
        { reqId: request.id, err: thrown, method: request.method, path },
        'the client went away',
      )
    } else {
      request.log.error({ reqId: request.id, err: thrown, method: request.method, path }, 'a request failed')
    }
    error = new FanwireError('FW_INTERNAL', 'the node failed to handle this request: see its log')
  }
  if (!request.raw.complete) giveUpReading(request, reply)
  reply.header('cache-control', 'no-store')
  // An EventSource gives up permanently on any status but 200.
  if (error.retryable && request.routeOptions.config?.sse === true) return sendRetry(error, request, reply)
  if (error.retryable)
    reply.header('retry-after', String(secondsOf(error.retry) ?? 1 + Math.floor(Math.random() * 3)))
  if (error.retryable && request.routeOptions.config?.page === true) {
    reply.header('refresh', String(secondsOf(error.retry ?? jitter(RECONNECT_MS))))
  }
  if (error.statusCode === 401 || error.challenge !== undefined) {
    const why = error.challenge === undefined ? '' : `, error="${error.challenge}"`
    reply.header('www-authenticate', `Bearer realm="fanwire"${why}`)
  }
  return reply.code(error.statusCode).type('application/json; charset=utf-8').send(JSON.stringify(error))
}

/** Rounds `ms` up to whole seconds. */
function secondsOf(ms: number | undefined): number | undefined {
  return ms === undefined ? undefined : Math.ceil(ms / 1000)
}

/**
 * Tells an EventSource when to reconnect, and why. The body is left without an end, since other sse clients only reconnect
 * then. It has neither an event nor a blank line, which some would deliver as an event.
 */
function sendRetry(error: FanwireError, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const comment = `${error.code}: ${error.message.replaceAll(/[\r\n]+/g, ' ')}`
  const text = `retry: ${error.retry ?? jitter(RECONNECT_MS)}\n: ${comment}\n`
  reply.headers({ 'content-type': 'text/event-stream', 'x-accel-buffering': 'no' })
  // Hooks do not see this response.
  if (error.code === 'FW_DRAINING') answerAndClose(request, reply)
  const headers = reply.hijack().getHeaders() as OutgoingHttpHeaders
  if (isHttp2(request)) breakOffAtOnce(http2StreamOf(request), headers, text)
  else {
    writeOpenHead(request.raw, reply.raw, headers)
    reply.raw.end(takesChunks(request.raw) ? chunkOf(text) : text)
  }
  return reply
}

function breakOffAtOnce(
  stream: ServerHttp2Stream | undefined,
  headers: OutgoingHttpHeaders,
  text: string,
): void {
  if (stream === undefined || stream.destroyed || stream.closed) return
  stream.respond({ ':status': 200, ...headers })
  breakOff(stream, stream, Buffer.from(text))
}

/**
 * Discards input for a while, since the response is sent before the body has arrived. Closing at once would reset the
 * connection, and the client might not see the response.
 */
function giveUpReading(request: FastifyRequest, reply: FastifyReply): void {
  const { raw } = request
  if (reply.hasHeader('connection')) reply.removeHeader('connection')
  const cut = () => (http2StreamOf(request) ?? raw).destroy()
  const timer = setTimeout(() => raw.complete || cut(), UNREAD_MS).unref()
  raw.once('close', () => clearTimeout(timer))
}

export const errors = fp(
  async app => {
    app.setErrorHandler((error, request, reply) => sendError(error, request, reply))
  },
  { name: 'fanwire-errors', fastify: '5.x' },
)
