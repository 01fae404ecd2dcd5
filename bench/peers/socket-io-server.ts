// Socket.IO with its Redis adapter: one room per channel.
// Run as a process: node socket-io-server.ts <redis url> <package.json of the folder that has it> <heartbeats>

import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { Redis } from 'ioredis'

/** The part of Socket.IO used here, because its types are not a dependency of the project. */
interface Socket {
  readonly handshake: { readonly query: Readonly<Record<string, string>> }
  join(room: string): void
}
interface SocketIo {
  Server: new (
    server: unknown,
    options: object,
  ) => { on(event: 'connection', listener: (socket: Socket) => void): void }
}
interface RedisAdapter {
  createAdapter(publisher: Redis, subscriber: Redis): unknown
}

const [redisUrl = '', modules = '', heartbeats = ''] = process.argv.slice(2)
const load = createRequire(modules)
const { Server } = load('socket.io') as SocketIo
const { createAdapter } = load('@socket.io/redis-adapter') as RedisAdapter

const publisher = new Redis(redisUrl)
const subscriber = publisher.duplicate()
for (const client of [publisher, subscriber]) client.on('error', error => console.error(error.message))

const server = createServer()
const io = new Server(server, {
  adapter: createAdapter(publisher, subscriber),
  transports: ['websocket'],
  serveClient: false,
  ...(heartbeats === 'true' ? {} : { pingInterval: 600_000 }),
})
io.on('connection', socket => socket.join(socket.handshake.query.channel ?? ''))

server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => {
  const address = server.address()
  console.log(`listening on ${typeof address === 'object' ? address?.port : address}`)
})
