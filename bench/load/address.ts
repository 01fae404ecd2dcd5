// The target of a load, in the parts that a hand-written client needs.

import { connect, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { Target } from './order.ts'

export interface Address {
  readonly host: string
  readonly port: number
  /** Present for TLS. */
  readonly tls?: { readonly servername?: string; readonly rejectUnauthorized: boolean }
  /** The value of the `Host` header. */
  readonly authority: string
  /** A prefix of every path; empty or without a trailing slash. */
  readonly prefix: string
  readonly headers: Readonly<Record<string, string>>
}

export const loopback = (port: number, headers: Address['headers'] = {}): Address => ({
  host: '127.0.0.1',
  port,
  authority: `127.0.0.1:${port}`,
  prefix: '',
  headers,
})

export function addressOf({ url, headers = {}, insecure = false }: Target): Address {
  const { protocol, hostname, port, host, pathname } = new URL(url)
  const bare = hostname.replace(/^\[(.*)\]$/, '$1')
  const secure = protocol === 'https:'
  const isName = /[a-z]/i.test(bare) && !bare.includes(':')
  return {
    host: bare,
    port: port === '' ? (secure ? 443 : 80) : Number(port),
    ...(secure ? { tls: { ...(isName ? { servername: bare } : {}), rejectUnauthorized: !insecure } } : {}),
    authority: host,
    prefix: pathname.replace(/\/+$/, ''),
    headers,
  }
}

/** The request line and first headers; more headers may follow. */
export function requestHead({ authority, prefix, headers }: Address, path: string): string {
  const more = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  return `GET ${prefix}${path} HTTP/1.1\r\nHost: ${authority}\r\n${more.join('')}`
}

/** `onRead` must not keep the bytes that it receives: the socket reads into `buffer` if it can. */
export function openSocket(
  { host, port, tls }: Address,
  buffer: Buffer,
  onRead: (socket: Socket, bytes: Buffer, length: number) => void,
): Socket {
  if (tls === undefined) {
    const socket: Socket = connect({
      port,
      host,
      noDelay: true,
      onread: {
        buffer,
        callback: length => {
          onRead(socket, buffer, length)
          return true
        },
      },
    })
    return socket
  }
  const socket = connectTls({ port, host, ...tls, ALPNProtocols: ['http/1.1'] })
  socket.setNoDelay()
  socket.on('data', (bytes: Buffer) => onRead(socket, bytes, bytes.length))
  return socket
}

/** Total traffic of a client's consecutive sockets. */
export class Traffic {
  #past = { in: 0, out: 0 }
  #socket: Socket | undefined

  use(socket: Socket): void {
    if (socket === this.#socket) return
    this.#past = { in: this.in, out: this.out }
    this.#socket = socket
  }

  get in(): number {
    return this.#past.in + (this.#socket?.bytesRead ?? 0)
  }

  get out(): number {
    return this.#past.out + (this.#socket?.bytesWritten ?? 0)
  }

  clear(): void {
    this.#past = { in: -(this.#socket?.bytesRead ?? 0), out: -(this.#socket?.bytesWritten ?? 0) }
  }
}
