// Node hands every request with an `Upgrade` header to whoever listens for upgrades, and takes it off HTTP. Only
// WebSocket handshakes for a WebSocket path are meant for them: others, such as the `Upgrade: h2c` that some HTTP
// clients send with each first request, are requests like any other, and the header is to be ignored (RFC 9110
// section 7.8).

import type { IncomingMessage, Server } from 'node:http'
import type { Socket } from 'node:net'
import fp from 'fastify-plugin'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The handler takes WebSocket handshakes itself, as well as requests: see `isHandshake`. */
    handshakes?: true
  }
}

type OnUpgrade = (request: IncomingMessage, socket: Socket, head: Buffer) => void

const NOTHING = Buffer.alloc(0)
const handshakes = new WeakSet<IncomingMessage>()

/** Whether the request came as a WebSocket handshake, and what came behind it waits in its socket. */
export function isHandshake(request: IncomingMessage): boolean {
  return handshakes.has(request)
}

export const upgrades = fp(
  async app => {
    const paths = new Set<string>()
    app.addHook('onRoute', route => {
      if ('wsHandler' in route || 'websocket' in route || route.config?.handshakes) paths.add(route.url)
    })

    app.addHook('onReady', async () => {
      const { server } = app
      const listeners = server.listeners('upgrade') as OnUpgrade[]
      if (listeners.length === 0) return // Node ignores the header.
      server.removeAllListeners('upgrade')
      server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
        const path = request.url?.split('?', 1)[0] ?? ''
        if (request.headers.upgrade?.toLowerCase() === 'websocket' && paths.has(path)) {
          handshakes.add(request)
          if (head.length > 0) socket.unshift(head)
          for (const listener of listeners) listener.call(server, request, socket, NOTHING)
        } else giveBack(server, request, socket, head)
      })
    })
  },
  { name: 'fanwire-upgrades', fastify: '5.x' },
)

/** Lets the server read the request once more, without what asks for an upgrade. */
function giveBack(server: Server, request: IncomingMessage, socket: Socket, rest: Buffer): void {
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
  socket.unshift(Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), rest]))
  server.emit('connection', socket)
  socket.resume()
}
