// Handles requests that Node would answer without a code, or by closing the connection: CONNECT, an unknown `Expect`, and
// a version in the request line that an HTTP/1 connection can't have.
//
// Relies on: Node emits 'connect' and 'checkExpectation' in place of 'request', and its parser lets HTTP/2.0 and
// HTTP/0.9 through. Tried on Node 20.19, 20.20, 22.23, 24.21 and 26.10.

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import fp from 'fastify-plugin'
import { FanwireError } from '../../errors.ts'
import { isHttp2 } from '../exchange.ts'
import { destroy, refuse, whenAnswered } from './closing.ts'
import { leavePipeline } from './pipelining.ts'

/** CONNECT is for proxies. */
export const NO_PROXY = {
  error: new FanwireError('FW_METHOD_NOT_ALLOWED', 'CONNECT is not supported: this is not a proxy'),
  headers: { allow: 'GET, HEAD, OPTIONS, POST' },
} as const

export const unrouted = fp(
  async app => {
    const { server } = app
    server.on('connect', (_request: IncomingMessage, socket: Socket) => {
      leavePipeline(socket)
      socket.on('error', destroy)
      whenAnswered(socket, () => refuse(socket, NO_PROXY.error, NO_PROXY.headers))
    })
    server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
      server.emit('request', request, response)
    })

    app.addHook('onRequest', (request, _reply, next) => {
      const { headers, httpVersion } = request.raw
      if (!isHttp2(request) && httpVersion !== '1.1' && httpVersion !== '1.0') {
        throw new FanwireError(
          'FW_BAD_REQUEST',
          "the version in the request line differs from the connection's",
        )
      }
      if (headers.expect !== undefined && httpVersion !== '1.0' && !/^100-continue$/i.test(headers.expect)) {
        throw new FanwireError('FW_EXPECTATION_FAILED', 'Expect may only be 100-continue')
      }
      next()
    })
  },
  { name: 'fanwire-unrouted', dependencies: ['fanwire-errors', 'fanwire-pipelining'], fastify: '5.x' },
)
