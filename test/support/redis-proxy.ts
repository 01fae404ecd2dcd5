// A proxy to Redis that can be cut or go silent: network faults that closing a socket does not simulate.

import { createServer, connect as dial, type Socket } from 'node:net'

/**
 * `pass`: forwards the output of Redis; `silent`: drops it; `no messages`: drops only pub/sub messages. `frozen`: holds
 * back the bytes of both directions, as in a network partition, and forwards them after another mode is set.
 */
export type Mode = 'pass' | 'silent' | 'no messages' | 'frozen'

export interface RedisProxy {
  readonly url: string
  mode: Mode
  /** Connections that were made through the proxy. */
  readonly made: number
  /** Chunks of bytes that the proxy dropped. */
  readonly dropped: number
  /** Cuts every connection. */
  cut(): void
  close(): Promise<void>
}

/** The start of a pub/sub message in RESP2. It begins a chunk if nothing else is sent at the time. */
const MESSAGE = Buffer.from('*3\r\n$7\r\nmessage\r\n')

export async function proxyRedis(port: number, listen = 0): Promise<RedisProxy> {
  const sockets = new Set<Socket>()
  let made = 0
  let dropped = 0
  let mode: Mode = 'pass'
  const server = createServer(client => {
    made++
    const redis = dial(port, '127.0.0.1')
    const end = () => {
      client.destroy()
      redis.destroy()
    }
    for (const socket of [client, redis]) {
      sockets.add(socket)
      socket.setNoDelay(true)
      if (mode === 'frozen') socket.pause()
      socket.on('error', end).on('close', () => {
        sockets.delete(socket)
        end()
      })
    }
    client.on('data', chunk => void redis.write(chunk))
    redis.on('data', chunk => {
      const isMessage = chunk.subarray(0, MESSAGE.length).equals(MESSAGE)
      if (mode === 'silent' || (mode === 'no messages' && isMessage)) dropped++
      else client.write(chunk)
    })
  })
  await new Promise<void>(resolve => server.listen(listen, '127.0.0.1', resolve))
  const address = server.address()
  const proxy = {
    url: `redis://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`,
    get mode() {
      return mode
    },
    set mode(next: Mode) {
      mode = next
      for (const socket of sockets) {
        if (mode === 'frozen') socket.pause()
        else socket.resume()
      }
    },
    get made() {
      return made
    },
    get dropped() {
      return dropped
    },
    cut() {
      for (const socket of sockets) socket.destroy()
    },
    async close() {
      proxy.cut()
      await new Promise(resolve => server.close(resolve))
    },
  }
  return proxy
}
