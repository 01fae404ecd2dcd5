// Raw bodies of HTTP/1.1: chunked transfer coding, RFC 9112 section 7.1.

export interface Chunks {
  /** The data of each complete chunk, as latin1. */
  readonly data: readonly string[]
  /** The last chunk has arrived, and so the end of the body. */
  readonly ended: boolean
}

/** Parses chunks strictly. Raises if they are malformed, or bytes follow the last one. */
export function readChunks(body: string): Chunks {
  const data: string[] = []
  for (let at = 0; at < body.length;) {
    const line = body.indexOf('\r\n', at)
    if (line === -1) break
    const head = body.slice(at, line)
    if (!/^(0|[1-9a-f][0-9a-f]*)$/.test(head)) throw new Error(`no chunk begins with ${JSON.stringify(head)}`)
    const size = Number.parseInt(head, 16)
    const end = line + 2 + size
    if (body.length < end + 2) break
    if (body.slice(end, end + 2) !== '\r\n') throw new Error(`a chunk of ${size} bytes has no end`)
    at = end + 2
    if (size > 0) data.push(body.slice(line + 2, end))
    else if (at < body.length) throw new Error('bytes follow the last chunk')
    else return { data, ended: true }
  }
  return { data, ended: false }
}

/** The bytes after the head of the first response of a connection. */
export function rawBodyOf(text: string): string {
  return text.slice(text.indexOf('\r\n\r\n') + 4)
}

/** The same bytes, decoded if they are chunked. */
export function bodyOf(text: string): string {
  const body = rawBodyOf(text)
  const head = text.slice(0, text.length - body.length)
  return /^transfer-encoding: chunked\r$/im.test(head) ? readChunks(body).data.join('') : body
}
