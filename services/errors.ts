// Every coded error that a client can receive, in one table. docs/reference/errors.md lists the same codes; a test
// compares the two, and another one checks that each is raised somewhere.

/** A code's HTTP status, meaning, and whether the same request may succeed later. */
interface Code {
  readonly status: number
  readonly retryable: boolean
  readonly meaning: string
}

const code = (status: number, meaning: string, retryable = false): Code => ({ status, retryable, meaning })

export const CODES = {
  FW_BAD_REQUEST: code(400, 'the request is not well-formed HTTP, or its parts contradict each other'),
  FW_BAD_CHANNEL: code(400, 'a channel name is missing, malformed or reserved'),
  FW_BAD_TYPE: code(400, 'an event type is malformed or reserved'),
  FW_BAD_TAG: code(400, 'a tag has a malformed name or value, or an event has too many'),
  FW_BAD_FILTER: code(
    400,
    'a filter is malformed or too large, or the number of filters does not match the channels',
  ),
  FW_BAD_CURSOR: code(400, 'a cursor is malformed, or does not have one entry per channel'),
  FW_BAD_PARAMETER: code(
    400,
    'a parameter in the query or the body is unknown, repeated, missing or out of range',
  ),
  FW_BAD_ENCODING: code(400, 'text is not valid UTF-8'),
  FW_BAD_JSON: code(400, 'the body, the line or the message is not valid JSON'),
  FW_BAD_EVENT: code(400, 'an entry of a bulk publish is malformed'),
  FW_BAD_IDEMPOTENCY_KEY: code(400, 'an idempotency key is not 1 to 128 visible ASCII characters'),
  FW_BAD_COMMAND: code(400, 'a message is not a command'),
  FW_TOO_MANY_CHANNELS: code(400, 'more channels than one request or connection may have'),
  FW_UNAUTHORIZED: code(
    401,
    'a token or a key is needed here, the one that was sent is not accepted, or an administrator disconnected the client',
  ),
  FW_FORBIDDEN_ORIGIN: code(403, 'browser pages of this origin may not do this'),
  FW_FORBIDDEN_HOST: code(403, 'the node does not accept the name in Host'),
  FW_FORBIDDEN: code(
    403,
    'the token or the key lacks the required right, or the application refuses the request; `application` is its code',
  ),
  FW_PRODUCER_FENCED: code(403, 'Durable Streams: a newer epoch of the producer has written since'),
  FW_TOO_MANY_MEMBERS: code(
    403,
    'Pusher: the presence channel has more members than its clients can receive',
  ),
  FW_NOT_FOUND: code(404, 'there is nothing at this path'),
  FW_EVENT_NOT_FOUND: code(404, 'the event is unknown or trimmed'),
  FW_NO_PRESENCE: code(404, 'the channel keeps no members'),
  FW_STREAM_NOT_FOUND: code(404, 'Durable Streams: there is no such stream, or it no longer exists'),
  FW_METHOD_NOT_ALLOWED: code(405, 'the path does not support this method; Allow lists those that it does'),
  FW_REQUEST_TIMEOUT: code(408, 'the request did not arrive in time'),
  FW_ALREADY_SUBSCRIBED: code(409, 'the connection already has this channel'),
  FW_NOT_SUBSCRIBED: code(409, 'the connection does not have this channel'),
  FW_CHANNEL_ENDED: code(409, 'the channel has ended: nothing more can be published to it'),
  FW_STREAM_CONFLICT: code(
    409,
    'Durable Streams: the stream exists with another content type, life or state',
  ),
  FW_STREAM_SEQUENCE: code(409, 'Durable Streams: Stream-Seq or Producer-Seq is not the next'),
  FW_OFFSET_GONE: code(410, 'Durable Streams: events after the offset are no longer available'),
  FW_HEAD_MOVED: code(412, 'the head of the channel is not the required one; `head` is the current one'),
  FW_TOO_LARGE: code(413, 'an event or a request is larger than the limit'),
  FW_URL_TOO_LONG: code(414, 'the URL is longer than 32 KiB'),
  FW_MEDIA_TYPE: code(415, 'the body has a content type that is not supported here, or none'),
  FW_EXPECTATION_FAILED: code(417, 'the request expects something that the node does not support'),
  FW_UPGRADE_REQUIRED: code(426, 'this path speaks WebSocket only'),
  FW_TOO_MANY_REQUESTS: code(
    429,
    'a limit of the address, the user, the key or the connection is reached; `retry` is the time to wait, ms',
    true,
  ),
  FW_HEADERS_TOO_LARGE: code(431, 'the request headers are larger than the limit'),
  FW_INTERNAL: code(500, 'a fault of the node; its log says more'),
  FW_LOG_REFUSED: code(500, 'the log refuses this permanently: its operator has to change something'),
  FW_TRANSFER_ENCODING: code(501, 'the body has a transfer coding other than chunked'),
  FW_NOT_SUPPORTED: code(501, 'fanwire does not support this part of the protocol'),
  FW_TOO_MANY_CONNECTIONS: code(503, 'the node has reached its limit of connections', true),
  FW_TOO_MANY_FOLLOWED: code(503, 'the node has reached its limit of followed channels', true),
  FW_TOO_MANY_FILTERS: code(503, 'the node has reached its limit of different filters of a channel', true),
  FW_LOG_UNAVAILABLE: code(503, 'the log cannot be reached, or cannot confirm that it holds the event', true),
  FW_HOOK_FAILED: code(503, 'the application did not give a usable answer', true),
  FW_OVERLOADED: code(503, 'the node is overloaded, and accepts no new connections and reads', true),
  FW_NOT_READY: code(503, 'the node cannot deliver right now, or has not yet read the keys of tokens', true),
  FW_DRAINING: code(503, 'the node is stopping', true),
  FW_NOT_TRIED: code(503, 'an earlier event of the same channel failed, so this one was not tried', true),
  FW_RESULTS_UNREAD: code(503, 'the client left too many results of its bulk publish unread', true),
} as const satisfies Record<string, Code>

export type ErrorCode = keyof typeof CODES

/** The documents' table of codes, in Markdown. */
export function errorTable(): string {
  const rows = Object.entries<Code>(CODES).map(
    ([name, { status, retryable, meaning }]) =>
      `| \`${name}\` | ${status} | ${retryable ? 'yes' : ''} | ${meaning} |`,
  )
  return ['| code | status | retryable | meaning |', '|---|---|---|---|', ...rows, ''].join('\n')
}

/** An error that a client receives: `{"error":{"code","message"}}`. */
export class FanwireError extends Error {
  override readonly name = 'FanwireError'
  readonly code: ErrorCode
  /** Why the credentials do not suffice, for `WWW-Authenticate` (RFC 6750 section 3.1). */
  readonly challenge: 'invalid_token' | 'insufficient_scope' | undefined
  /** Ms until a retry can succeed, if known. */
  readonly retry: number | undefined
  /** The head of the channel, if that is the reason. */
  readonly head: string | undefined
  /** The application's own code, if the application refuses. */
  readonly application: number | string | undefined

  /** `message` explains the problem and the remedy. It never repeats secrets or unbounded input. */
  constructor(
    code: ErrorCode,
    message: string,
    options?: ErrorOptions & {
      challenge?: FanwireError['challenge']
      retry?: number
      head?: string
      application?: number | string
    },
  ) {
    super(message, options)
    this.code = code
    this.challenge = options?.challenge
    this.retry = options?.retry
    this.head = options?.head
    this.application = options?.application
  }

  get statusCode(): number {
    return CODES[this.code].status
  }

  /** Whether the same request may succeed later: then the response has `Retry-After`. */
  get retryable(): boolean {
    return CODES[this.code].retryable
  }

  toJSON(): {
    error: { code: ErrorCode; message: string; retry?: number; head?: string; application?: number | string }
  } {
    const { code, message, retry, head, application } = this
    return {
      error: {
        code,
        message,
        ...(retry === undefined ? {} : { retry }),
        ...(head === undefined ? {} : { head }),
        ...(application === undefined ? {} : { application }),
      },
    }
  }
}

/** Quotes a client's text in a message, short and on one line. */
export function quote(text: unknown, most = 80): string {
  const whole = String(text)
  return JSON.stringify(whole.length > most ? `${whole.slice(0, most)}…` : whole)
}
