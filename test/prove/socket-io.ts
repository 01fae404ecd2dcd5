// Socket.IO: its server with connection state recovery, and its client.

import { once } from 'node:events'
import { createServer } from 'node:http'
import { Server } from 'socket.io'
import { io } from 'socket.io-client'
import { freePort } from '../../infra/local/ports.ts'
import type { System } from './system.ts'

export async function startSocketIo(): Promise<System> {
  const port = await freePort()
  const channels = ['a', 'b', 'short']
  const begin = async () => {
    const http = createServer()
    const server = new Server(http, {
      connectionStateRecovery: { maxDisconnectionDuration: 120_000 },
      pingInterval: 1000,
      pingTimeout: 1000,
    })
    server.on('connection', socket => socket.join(channels))
    http.listen(port, '127.0.0.1')
    await once(http, 'listening')
    return server
  }
  let server = await begin()
  return {
    name: 'socket.io-client',
    fromStart: false,
    channels,
    port: () => port,
    async publish(_url, channel, n) {
      server.to(channel).emit('event', channel, n)
    },
    follow(url, hear, { random }) {
      const transports = random.oneIn(2) ? ['websocket'] : ['polling', 'websocket']
      const socket = io(url, { transports, reconnectionDelay: 20, reconnectionDelayMax: 300, forceNew: true })
      let before = false
      socket.on('connect', () => {
        // Without recovery, the events since the last connection are lost.
        if (before && !socket.recovered) for (const channel of channels) hear.gap(channel)
        before = true
      })
      socket.on('event', (channel: string, n: number) => hear.event(channel, n))
      return { close: () => void socket.close() }
    },
    async disturb() {
      // Clients see their connections break: after a disconnect packet from the server they would not reconnect.
      await server.close()
      server = await begin()
      return 'server restarted'
    },
    stop: async () => void (await server.close()),
  }
}
