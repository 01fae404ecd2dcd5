// The naive solution: the `ws` package, or a plain response for SSE, Redis pub/sub, and a loop of `send`.
// Run as a process: node plain-server.ts <redis url>

import { createServer, type ServerResponse } from 'node:http'
import { Redis } from 'ioredis'
import { type WebSocket, WebSocketServer } from 'ws'

const [redisUrl = ''] = process.argv.slice(2)

interface Followers {
  readonly sockets: Set<WebSocket>
  readonly responses: Set<ServerResponse>
}

const channels = new Map<string, Followers>()
const redis = new Redis(redisUrl)
redis.on('error', error => console.error(error.message))

redis.on('message', (channel: string, data: string) => {
  const followers = channels.get(channel)
  if (followers === undefined) return
  for (const socket of followers.sockets) socket.send(data)
  for (const response of followers.responses) response.write(`data: ${data}\n\n`)
})

function follow(url: string | undefined): Followers {
  const channel = new URL(url ?? '', 'http://x').searchParams.get('channel') ?? ''
  let followers = channels.get(channel)
  if (followers === undefined) {
    followers = { sockets: new Set(), responses: new Set() }
    channels.set(channel, followers)
    void redis.subscribe(channel)
  }
  return followers
}

const server = createServer((request, response) => {
  const { responses } = follow(request.url)
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
  response.flushHeaders()
  responses.add(response)
  response.on('close', () => responses.delete(response))
})

new WebSocketServer({ server, perMessageDeflate: false, clientTracking: false }).on(
  'connection',
  (socket, request) => {
    const { sockets } = follow(request.url)
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
  },
)

server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => {
  const address = server.address()
  console.log(`listening on ${typeof address === 'object' ? address?.port : address}`)
})
