// Validates WebSocket handshakes (RFC 6455 section 4.2.1) for all wires over WebSocket, so that faults are reported
// like those of any request. The library would refuse them too, with its own texts.

import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { FanwireError } from '../errors.ts'
import { isHandshake } from './node/upgrades.ts'

/** The maximum length of `Sec-WebSocket-Extensions`, bytes. Browsers send 50. */
const MAX_EXTENSIONS_BYTES = 1024
const TOKEN = /^[\w!#$%&'*+.^`|~-]+$/

/** Raises FW_UPGRADE_REQUIRED for another version of WebSocket, FW_BAD_REQUEST, FW_HEADERS_TOO_LARGE. */
function checkHandshake({ headers }: FastifyRequest): void {
  if (!/^(13|8)$/.test(headers['sec-websocket-version'] ?? '')) {
    throw new FanwireError('FW_UPGRADE_REQUIRED', 'this path speaks version 13 of WebSocket')
  }
  if (!/^[\w+/]{22}==$/.test(headers['sec-websocket-key'] ?? '')) {
    throw new FanwireError('FW_BAD_REQUEST', 'the handshake has no valid Sec-WebSocket-Key')
  }
  const protocols = headers['sec-websocket-protocol']?.split(',').map(each => each.trim()) ?? []
  if (!protocols.every(each => TOKEN.test(each)) || new Set(protocols).size < protocols.length) {
    throw new FanwireError('FW_BAD_REQUEST', 'Sec-WebSocket-Protocol is not a list of different names')
  }
  if ((headers['sec-websocket-extensions'] ?? '').length > MAX_EXTENSIONS_BYTES) {
    throw new FanwireError(
      'FW_HEADERS_TOO_LARGE',
      `Sec-WebSocket-Extensions is longer than ${MAX_EXTENSIONS_BYTES} bytes`,
    )
  }
}

export const handshakes = fp(
  async app => {
    app.addHook('preValidation', (request, reply, next) => {
      if (!isHandshake(request.raw)) return next()
      try {
        checkHandshake(request)
      } catch (error) {
        reply.headers({ upgrade: 'websocket', 'sec-websocket-version': '13' })
        throw error
      }
      next()
    })
  },
  { name: 'fanwire-handshakes', dependencies: ['fanwire-upgrades'], fastify: '5.x' },
)
