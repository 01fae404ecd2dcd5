// A socket that speaks for itself: for what no HTTP client would send, and to see every byte that comes.

import { connect, type Socket } from 'node:net'
import { until } from '../contract/node.ts'

export class Raw {
  readonly socket: Socket
  bytes = Buffer.alloc(0)
  ended = false
  closed = false

  constructor(port: number) {
    this.socket = connect({ port, host: '127.0.0.1' })
    this.socket.on('data', bytes => {
      this.bytes = Buffer.concat([this.bytes, bytes])
    })
    this.socket.on('end', () => {
      this.ended = true
    })
    this.socket.on('close', () => {
      this.closed = true
    })
    this.socket.on('error', () => {})
  }

  /** Sends the lines of a request's head, and the blank one. */
  ask(...lines: string[]): this {
    return this.send(`${lines.join('\r\n')}\r\n\r\n`)
  }

  send(bytes: string | Uint8Array): this {
    this.socket.write(bytes)
    return this
  }

  get text(): string {
    return this.bytes.toString()
  }

  /** The head of the first response, once its body has begun to matter. */
  get head(): string {
    return this.text.slice(0, this.text.indexOf('\r\n\r\n')).toLowerCase()
  }

  /** What came after the first head. */
  get body(): string {
    return this.text.slice(this.text.indexOf('\r\n\r\n') + 4)
  }

  /** Returns when what came matches. */
  async saw(pattern: RegExp): Promise<RegExpExecArray> {
    await until(`${pattern}`, () => pattern.test(this.text))
    return pattern.exec(this.text) as RegExpExecArray
  }

  cut(): void {
    this.socket.destroy()
  }
}
