// Chunked transfer coding of HTTP/1.1 (RFC 9112 section 7.1). A stretch is one chunk in memory: clients of HTTP/1.1
// receive all of it, those of HTTP/2 and HTTP/1.0 the data in it, so that it is encoded once for both.

const CR = 0x0d
const LF = 0x0a
const LINE_END = 2
const NOTHING = Buffer.alloc(0)
const DIGITS = Buffer.from('0123456789abcdef')

/**
 * Ends a body. It is not sent to clients that should reconnect: without it a body is incomplete (RFC 9112 section 8),
 * and no client treats it as complete.
 */
export const LAST_CHUNK = Buffer.from('0\r\n\r\n')

/**
 * A chunk whose `size` bytes of data the caller writes from `at` on. Empty if `size` is 0: a chunk without data ends
 * the body.
 */
export function allocateChunk(size: number): { readonly chunk: Buffer; readonly at: number } {
  if (size === 0) return { chunk: NOTHING, at: 0 }
  let digits = 1
  for (let rest = size >>> 4; rest > 0; rest >>>= 4) digits++
  const at = digits + LINE_END
  const chunk = Buffer.allocUnsafe(at + size + LINE_END)
  for (let i = digits - 1, rest = size; i >= 0; i--, rest >>>= 4) chunk[i] = DIGITS[rest & 15] as number
  endLine(chunk, digits)
  endLine(chunk, at + size)
  return { chunk, at }
}

function endLine(bytes: Buffer, at: number): void {
  bytes[at] = CR
  bytes[at + 1] = LF
}

/** A text as one chunk. */
export function chunkOf(text: string): Buffer {
  const { chunk, at } = allocateChunk(Buffer.byteLength(text))
  chunk.write(text, at)
  return chunk
}

/** The data of one chunk: a view of it. */
export function dataOf(chunk: Buffer): Buffer {
  return chunk.subarray(chunk.indexOf(LF) + 1, -LINE_END)
}
