// Sinks of the publisher: for each peer, its fastest way to publish.

import { createRequire } from 'node:module'
import { connect, type Socket } from 'node:net'
import { Redis } from 'ioredis'
import { type NdjsonOrder, NdjsonSink } from './ndjson.ts'
import { type PostOrder, postRequest } from './post.ts'

export type SinkOrder =
  /** One streamed NDJSON request to `POST /v1/events`. */
  | ({ readonly kind: 'fanwire' } & NdjsonOrder)
  /** Keep-alive requests of one event, pipelined. */
  | { readonly kind: 'post'; readonly port: number; readonly by: PostOrder }
  /** `PUBLISH` to Redis, under the channel's name. */
  | { readonly kind: 'redis'; readonly url: string }
  /** Socket.IO's emitter; `modules` is the package.json of the folder that contains it. */
  | { readonly kind: 'socket.io'; readonly url: string; readonly modules: string }

export interface Sink {
  /** `data`: JSON text. Sent with the next `flush`. */
  publish(channel: string, data: string): void
  flush(): void
  /** Numbers of events reported as published, and as failed. */
  readonly acknowledged: number
  readonly failed: number
  /** The last error, if there was any and the sink knows it. */
  readonly trouble?: string | undefined
  close(): void
}

export async function openSink(order: SinkOrder): Promise<Sink> {
  switch (order.kind) {
    case 'fanwire':
      return new NdjsonSink(order)
    case 'post':
      return new PostSink(order.port, order.by)
    case 'redis':
      return new RedisSink(await redis(order.url))
    case 'socket.io':
      return emitterSink(await redis(order.url), order.modules)
  }
}

/** Connections of one publisher. More than one, because a server answers the requests of a connection in turn. */
const CONNECTIONS = 32

class PostSink implements Sink {
  readonly #connections: PostConnection[] = []
  /** All events of a channel use the same connection, which keeps their order. */
  readonly #byChannel = new Map<string, PostConnection>()
  readonly #port: number
  readonly #by: PostOrder

  constructor(port: number, by: PostOrder) {
    this.#port = port
    this.#by = by
  }

  get acknowledged(): number {
    return this.#connections.reduce((sum, each) => sum + each.acknowledged, 0)
  }

  get failed(): number {
    return this.#connections.reduce((sum, each) => sum + each.failed, 0)
  }

  publish(channel: string, data: string): void {
    let connection = this.#byChannel.get(channel)
    if (connection === undefined) {
      const at = this.#byChannel.size % CONNECTIONS
      this.#connections[at] ??= new PostConnection(this.#port, this.#by)
      connection = this.#connections[at]
      this.#byChannel.set(channel, connection)
    }
    connection.publish(channel, data)
  }

  flush(): void {
    for (const connection of this.#connections) connection.flush()
  }

  close(): void {
    for (const connection of this.#connections) connection.close()
  }
}

class PostConnection implements Sink {
  acknowledged = 0
  failed = 0
  readonly #socket: Socket
  readonly #by: PostOrder
  #requests = ''
  #rest = ''
  #n = 0

  constructor(port: number, by: PostOrder) {
    this.#by = by
    this.#socket = connect({ port, host: '127.0.0.1', noDelay: true })
    this.#socket.setEncoding('latin1')
    this.#socket.on('data', (text: unknown) => this.#read(String(text)))
    this.#socket.on('error', error => console.error(`publisher: ${error.message}`))
  }

  publish(channel: string, data: string): void {
    this.#requests += postRequest(this.#by, channel, data, ++this.#n)
  }

  flush(): void {
    if (this.#requests !== '') this.#socket.write(this.#requests)
    this.#requests = ''
  }

  close(): void {
    this.#socket.destroy()
  }

  #read(text: string): void {
    const parts = (this.#rest + text).split('HTTP/1.1 ')
    for (const part of parts.slice(1, -1)) this.#count(part)
    // The last response may be cut anywhere, but its status line is not counted before it is complete.
    const last = parts.at(-1) ?? ''
    if (parts.length > 1 && last.length >= 3) {
      this.#count(last)
      this.#rest = last.slice(-9)
    } else this.#rest = (parts.length > 1 ? 'HTTP/1.1 ' : '') + last.slice(-9)
  }

  #count(answer: string): void {
    if (answer.startsWith('20')) this.acknowledged++
    else this.failed++
  }
}

class RedisSink implements Sink {
  acknowledged = 0
  failed = 0
  readonly #redis: Redis

  constructor(redis: Redis) {
    this.#redis = redis
  }

  publish(channel: string, data: string): void {
    this.#redis.publish(channel, data).then(
      () => this.acknowledged++,
      () => this.failed++,
    )
  }

  flush(): void {}

  close(): void {
    this.#redis.disconnect()
  }
}

interface Emitter {
  to(room: string): { emit(event: string, data: string): void }
}

function emitterSink(redis: Redis, modules: string): Sink {
  const { Emitter } = createRequire(modules)('@socket.io/redis-emitter') as {
    Emitter: new (redis: Redis) => Emitter
  }
  const emitter = new Emitter(redis)
  // The emitter does not report when Redis has received an event.
  const sink = {
    acknowledged: 0,
    failed: 0,
    publish(channel: string, data: string) {
      emitter.to(channel).emit('message', data)
      sink.acknowledged++
    },
    flush() {},
    close: () => redis.disconnect(),
  }
  return sink
}

async function redis(url: string): Promise<Redis> {
  const client = new Redis(url, { lazyConnect: true, enableAutoPipelining: true })
  client.on('error', error => console.error(`publisher: ${error.message}`))
  await client.connect()
  return client
}
