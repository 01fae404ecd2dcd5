// HTTP/2 written by hand, for frames that no library would send.

import { Raw } from '../http/app.ts'

/** Flags of a HEADERS frame that ends the headers and the stream. */
const END_HEADERS_AND_STREAM = 0x05
const ACK = 0x01
const [DATA, HEADERS, RST_STREAM, SETTINGS, PING] = [0, 1, 3, 4, 6]
/** Length of the head of a frame, bytes. */
const FRAME_HEAD = 9

/** A frame (RFC 9113 section 4.1). */
function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(FRAME_HEAD)
  head.writeUIntBE(payload.length, 0, 3)
  head[3] = type
  head[4] = flags
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, payload])
}

/** A GET request in cleartext. `stream` is odd, and greater than earlier ones. */
export function get(stream: number, path: string): Buffer {
  const literal = (name: number, value: string) =>
    Buffer.concat([Buffer.from([name, value.length]), Buffer.from(value)])
  // :method GET, :scheme http, :authority, :path (RFC 7541 appendix A). The literals are not added to the table.
  const block = Buffer.concat([Buffer.from([0x82, 0x86]), literal(0x01, '127.0.0.1'), literal(0x04, path)])
  return frame(HEADERS, END_HEADERS_AND_STREAM, stream, block)
}

/** A frame that resets a stream. */
export function reset(stream: number): Buffer {
  return frame(RST_STREAM, 0, stream, Buffer.from([0, 0, 0, 8]))
}

/** Invalid frames, by their fault, for a session whose stream 1 is open. */
export const MALFORMED: Readonly<Record<string, Buffer>> = {
  'headers that cannot be decoded': frame(HEADERS, END_HEADERS_AND_STREAM, 3, Buffer.from([0xff, 0xff])),
  'a frame longer than allowed': frame(DATA, 0, 1, Buffer.alloc(20_000)),
  'a PING of 7 bytes': frame(PING, 0, 0, Buffer.alloc(7)),
}

/** A cleartext session that has exchanged settings, and leaves everything else to the test. */
export class RawSession {
  readonly raw: Raw
  /** Resolves when the connection has ended. */
  readonly ended: Promise<void>
  #received = Buffer.alloc(0)
  /** Received data by stream. */
  readonly bodies = new Map<number, string>()
  /** Streams whose response head has arrived, in order. */
  readonly answered: number[] = []

  /** `from`: the client's own address. */
  constructor(port: number, from?: string) {
    this.raw = new Raw(port, { from })
    this.ended = new Promise(resolve => this.raw.socket.once('close', () => resolve()))
    this.raw.ended.catch(() => {})
    this.raw.socket.on('data', data => this.#take(data))
    this.raw.send('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
    this.raw.send(
      Buffer.concat([frame(SETTINGS, 0, 0, Buffer.alloc(0)), frame(SETTINGS, ACK, 0, Buffer.alloc(0))]),
    )
  }

  send(...frames: Buffer[]): this {
    this.raw.send(Buffer.concat(frames))
    return this
  }

  body(stream: number): string {
    return this.bodies.get(stream) ?? ''
  }

  close(): void {
    this.raw.close()
  }

  #take(data: Buffer): void {
    let left = Buffer.concat([this.#received, data])
    while (left.length >= FRAME_HEAD) {
      const end = FRAME_HEAD + left.readUIntBE(0, 3)
      if (left.length < end) break
      const [type, stream] = [left[3], left.readUInt32BE(5)]
      if (type === DATA) this.bodies.set(stream, this.body(stream) + left.toString('utf8', FRAME_HEAD, end))
      if (type === HEADERS) this.answered.push(stream)
      if (type === PING && left[4] === 0) this.send(frame(PING, ACK, 0, left.subarray(FRAME_HEAD, end)))
      left = left.subarray(end)
    }
    this.#received = left
  }
}
