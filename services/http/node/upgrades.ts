// Node hands every request with an `Upgrade` header to the listeners for upgrades, and detaches its socket from HTTP.
// Only WebSocket handshakes for a WebSocket path are meant for them: others, such as the `Upgrade: h2c` that some HTTP
// clients send with each first request, are ordinary requests, and the header must be ignored (RFC 9110 section 7.8).
// The listener that takes an upgrade owns its socket: nothing else would end it, or read from it, when the handshake is
// refused.
//
// Relies on: a request that was handed over can be re-read, by giving its head back to the socket and the socket back
// to the server (Node before 22.21 and 24.9; since then Node asks first, by the option `shouldUpgradeCallback`);
// `parser` and `_httpMessage`, by which a socket keeps the remains of its handshake alive. Tried on Node 20.19, 20.20,
// 22.23, 24.21 and 26.10.

import { EventEmitter } from 'node:events'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import fp from 'fastify-plugin'
import { destroy, endGently, whenAnswered } from './closing.ts'
import { guard } from './guard.ts'
import { beginPipeline, leavePipeline } from './pipelining.ts'
import { hardenReceiver } from './ws-receiver.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Emits 'upgrade' like a server, but only for WebSocket handshakes. If one is refused, its socket ends. */
    readonly handshakes: EventEmitter
  }

  interface FastifyContextConfig {
    /** Set if the handler takes WebSocket handshakes as well as requests: see `isHandshake`. */
    handshakes?: true
  }
}

const NOTHING = Buffer.alloc(0)
const taken = new WeakSet<IncomingMessage>()

/** Whether the request is a WebSocket handshake whose socket holds the bytes after it. */
export function isHandshake(request: IncomingMessage): boolean {
  return taken.has(request)
}

export const upgrades = fp(
  async app => {
    const paths = new Set<string>()
    const handshakes = new EventEmitter()
    app.decorate('handshakes', handshakes)
    app.addHook('onRoute', route => {
      if ('wsHandler' in route || route.config?.handshakes) paths.add(route.url.replace(/:[^/]+$/, ':'))
    })

    // Hooks that refuse a handshake run later.
    app.addHook('onRequest', (request, reply, next) => {
      if (isHandshake(request.raw)) endWith(reply.raw, request.raw.socket)
      next()
    })

    app.addHook('onReady', async () => {
      if (paths.size === 0) return // Nobody listens for upgrades, and Node ignores the header.
      hardenReceiver()
      const server = app.server as Server & { shouldUpgradeCallback?(request: IncomingMessage): boolean }
      const isMeant = (request: IncomingMessage) => {
        const path = pathOf(request)
        return isWebSocket(request) && (paths.has(path) || paths.has(withParameter(path)))
      }
      server.shouldUpgradeCallback = isMeant
      server.on('upgrade', (request: IncomingMessage, socket: Socket, begun: Buffer) => {
        const head = Buffer.concat([begun, leavePipeline(socket)])
        // Node no longer listens.
        socket.on('error', destroy)
        whenAnswered(socket, () => {
          if (isMeant(request)) take(request, socket, head)
          else giveBack(request, socket, head)
        })
      })

      const take = (request: IncomingMessage, socket: Socket, head: Buffer) => {
        if (head.length > 0) socket.unshift(head)
        guard(socket, app.log)
        taken.add(request)
        handshakes.emit('upgrade', request, socket, NOTHING)
      }

      /** Lets the server re-read the request, without its upgrade headers. */
      const giveBack = (request: IncomingMessage, socket: Socket, rest: Buffer) => {
        socket.off('error', destroy)
        socket.unshift(Buffer.concat([headWithoutUpgrade(request), rest]))
        server.emit('connection', socket)
        beginPipeline(socket, app)
        socket.resume()
      }
    })
  },
  { name: 'fanwire-upgrades', dependencies: ['fanwire-pipelining', 'fanwire-route'], fastify: '5.x' },
)

/** A handshake is a GET without a body (RFC 6455 section 4.1). */
function isWebSocket({ method, headers }: IncomingMessage): boolean {
  return (
    method === 'GET' &&
    headers.upgrade?.toLowerCase() === 'websocket' &&
    headers['transfer-encoding'] === undefined &&
    /^0*$/.test(headers['content-length'] ?? '')
  )
}

/** The path of a URL in any form (RFC 9112 section 3.2). */
function pathOf({ url = '' }: IncomingMessage): string {
  return url.replace(/^https?:\/\/[^/?]*/i, '').split('?', 1)[0] ?? ''
}

/** Ends the socket when the response is finished. A socket that was accepted for WebSocket has no response. */
function endWith(response: ServerResponse, socket: Socket): void {
  response.shouldKeepAlive = false
  response.once('finish', () => endGently(socket))
}

/** Replaces the last segment of a path by a colon, to compare it with routes whose last segment is a parameter. */
const withParameter = (path: string) => `${path.slice(0, path.lastIndexOf('/') + 1)}:`

/** The head of a request, without its upgrade headers. */
function headWithoutUpgrade(request: IncomingMessage): Buffer {
  const lines = [`${request.method} ${request.url} HTTP/${request.httpVersion}`]
  for (let i = 0; i < request.rawHeaders.length; i += 2) {
    const name = request.rawHeaders[i] ?? ''
    let value = request.rawHeaders[i + 1] ?? ''
    if (/^(upgrade|http2-settings)$/i.test(name)) continue
    if (/^connection$/i.test(name)) {
      const kept = value.split(',').filter(token => !/^\s*(upgrade|http2-settings)\s*$/i.test(token))
      if (kept.length === 0) continue
      value = kept.join(',')
    }
    lines.push(`${name}: ${value}`)
  }
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1')
}

/** Releases references of an accepted handshake on its socket: 3 KiB per client, measured on Node 20. */
export function forgetHandshake(socket: Socket): void {
  const held = socket as Socket & { _httpMessage?: ServerResponse | null; parser?: unknown }
  held._httpMessage?.detachSocket(socket)
  held.parser = null
}
