// How a peer accepts one event per request, in a form that can be sent to another process. The texts have the
// placeholders `{channel}`, `{data}` and `{n}`, a number that is unique for each request.

export interface PostOrder {
  readonly path: string
  /** Lines that each end in a line break. */
  readonly headers?: string
  /** Only the data by default. */
  readonly body?: string
}

/** The same over a WebSocket: each message gets one answer. */
export interface MessageOrder {
  readonly path: string
  readonly message: string
}

/** The same over a line protocol: `{connection}` is the connection's number, `{bytes}` the length of the data. */
export interface LineOrder {
  readonly hello: string
  /** The expected content of its response, and of the response to each line. */
  readonly ready: string
  readonly line: string
  readonly answer: string
}

export function fill(text: string, channel: string, data: string, n: number): string {
  return text.replace('{channel}', channel).replace('{data}', data).replace('{n}', `${n}`)
}

export function postRequest(
  { path, headers = '', body = '{data}' }: PostOrder,
  channel: string,
  data: string,
  n: number,
): string {
  const filled = fill(body, channel, data, n)
  return (
    `POST ${fill(path, channel, data, n)} HTTP/1.1\r\nHost: localhost\r\n${fill(headers, channel, data, n)}` +
    `Content-Length: ${Buffer.byteLength(filled)}\r\n\r\n${filled}`
  )
}
