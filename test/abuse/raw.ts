// Code shared by attackers: misbehaving sockets, which ignore errors.

import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

/** Attackers' address: limits by address can distinguish them from the good clients. */
export const ADDRESS = '127.0.0.66'

/** Opens a socket from the attackers' address. */
export function dial(port: number): Socket {
  const socket = connect({ port, host: '127.0.0.1', localAddress: ADDRESS, noDelay: true })
  return socket.on('error', () => {})
}

/** Connects. Undefined if that fails. `read` handles received bytes; they are dropped unless given. */
export function open(port: number, read?: (bytes: Buffer) => void): Promise<Socket | undefined> {
  return new Promise(resolve => {
    const socket = dial(port)
    socket.on('data', read ?? (() => {}))
    socket.once('connect', () => resolve(socket))
    socket.once('close', () => resolve(undefined))
  })
}

/** Sends `bytes` on a new connection. Returns the response once `fits` matches, after `within` ms, or at the end. */
export async function exchange(
  port: number,
  bytes: string | Buffer,
  fits = /\r\n\r\n/,
  within = 2000,
): Promise<{ text: string; socket: Socket | undefined }> {
  let text = ''
  let heard = () => {}
  const socket = await open(port, piece => {
    text += piece.toString('latin1')
    heard()
  })
  if (socket === undefined) return { text, socket }
  socket.write(bytes)
  await new Promise<void>(resolve => {
    const timer = setTimeout(resolve, within)
    heard = () => {
      if (!fits.test(text)) return
      clearTimeout(timer)
      resolve()
    }
    socket.once('close', () => {
      clearTimeout(timer)
      resolve()
    })
  })
  return { text, socket }
}

/** A GET request. `headers`: whole lines. */
export function getting(path: string, headers = ''): string {
  return `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\n${headers}\r\n`
}

/** Resolves when `signal` is aborted. */
export function ending(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve()
  return new Promise(resolve => signal.addEventListener('abort', () => resolve(), { once: true }))
}

/** Calls `run` `rate` times a second until `signal`, without awaiting earlier calls. Returns the number of calls. */
export async function paced(
  rate: number,
  signal: AbortSignal,
  run: (n: number) => Promise<unknown> | void,
  most = Number.POSITIVE_INFINITY,
): Promise<number> {
  const began = performance.now()
  let n = 0
  while (!signal.aborted && n < most) {
    const due = Math.min(most, ((performance.now() - began) * rate) / 1000)
    for (; n < due; n++) void run(n)
    await sleep(10, undefined, { signal }).catch(() => {})
  }
  return n
}

/** Sends the results of `next` as fast as the socket accepts them, until `signal` or its end. Returns how many. */
export async function pump(
  socket: Socket,
  signal: AbortSignal,
  next: (n: number) => Buffer,
  most = Number.POSITIVE_INFINITY,
): Promise<number> {
  let n = 0
  while (!signal.aborted && socket.writable && n < most) {
    if (socket.write(next(n++))) {
      // Lets the event loop run, so that the socket reads and `signal` fires.
      await new Promise(setImmediate)
    } else {
      await new Promise<void>(resolve => {
        const go = () => {
          socket.off('drain', go).off('close', go)
          signal.removeEventListener('abort', go)
          resolve()
        }
        socket.once('drain', go).once('close', go)
        signal.addEventListener('abort', go, { once: true })
      })
    }
  }
  return n
}

/** Runs `session` in `count` parallel loops until `signal`: a connection that ends is opened again. */
export async function again(
  count: number,
  signal: AbortSignal,
  session: (i: number) => Promise<unknown>,
): Promise<void> {
  const loop = async (i: number) => {
    while (!signal.aborted) {
      await session(i)
      await sleep(50, undefined, { signal }).catch(() => {})
    }
  }
  await Promise.all(Array.from({ length: count }, (_, i) => loop(i)))
}
