// Chunked transfer coding, as HTTP/1.1 has it (RFC 9112 section 7.1). A stretch lies in memory as one chunk: clients
// of HTTP/1.1 are sent all of it, those of HTTP/2 and HTTP/1.0 the data within, so that it is encoded once for both.

const LINE_END = '\r\n'
const NEWLINE = 0x0a
const NOTHING = Buffer.alloc(0)

/**
 * Ends a body. Left out where the client is to come back: a body without it is incomplete (RFC 9112 section 8), which
 * no client takes for an end.
 */
export const LAST_CHUNK = Buffer.from(`0${LINE_END}${LINE_END}`)

/** A chunk whose `size` bytes of data the caller writes, from `at` on. None for no data: that would end the body. */
export function allocateChunk(size: number): { readonly chunk: Buffer; readonly at: number } {
  if (size === 0) return { chunk: NOTHING, at: 0 }
  const head = size.toString(16) + LINE_END
  const at = head.length
  const chunk = Buffer.allocUnsafe(at + size + LINE_END.length)
  chunk.write(head, 0, 'latin1')
  chunk.write(LINE_END, at + size, 'latin1')
  return { chunk, at }
}

/** A text as one chunk. */
export function chunkOf(text: string): Buffer {
  const { chunk, at } = allocateChunk(Buffer.byteLength(text))
  chunk.write(text, at)
  return chunk
}

/** The data of one chunk: a view of it. */
export function dataOf(chunk: Buffer): Buffer {
  return chunk.subarray(chunk.indexOf(NEWLINE) + 1, -LINE_END.length)
}
