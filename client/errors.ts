// The client's errors.

/** Thrown by `getToken` if nobody is signed in: the client stops until `reconnect()` is called. */
export class Unauthorized extends Error {
  override readonly name = 'Unauthorized'
}

/** An error of a node: `{"error":{"code","message"}}`. */
export class FanwireError extends Error {
  override readonly name = 'FanwireError'
  /** `FW_…`: see the table of errors in the documentation. */
  readonly code: string
  /** The response's status; undefined on a WebSocket. */
  readonly status: number | undefined
  /** Ms until a retry can succeed; undefined for permanent errors. */
  readonly retry: number | undefined

  constructor(code: string, message: string, status?: number, retry?: number) {
    super(message)
    this.code = code
    this.status = status
    this.retry = retry
  }
}

/** The codes that the documentation's table of errors calls retryable. A WebSocket reports them without a status. */
export const RETRYABLE: ReadonlySet<string> = new Set([
  'FW_TOO_MANY_REQUESTS',
  'FW_TOO_MANY_CONNECTIONS',
  'FW_TOO_MANY_FOLLOWED',
  'FW_TOO_MANY_FILTERS',
  'FW_LOG_UNAVAILABLE',
  'FW_HOOK_FAILED',
  'FW_OVERLOADED',
  'FW_NOT_READY',
  'FW_DRAINING',
  'FW_NOT_TRIED',
  'FW_RESULTS_UNREAD',
])

interface ErrorBody {
  readonly code: string
  readonly message: string
  readonly retry?: number
}

export function errorOf({ code, message, retry }: ErrorBody): FanwireError {
  return new FanwireError(code, message, undefined, retry ?? (RETRYABLE.has(code) ? 0 : undefined))
}

/** The error of a response that is not 2xx. */
export async function errorIn(response: Response): Promise<FanwireError> {
  const { status, headers } = response
  const text = await response.text().catch(() => '')
  let body: Partial<ErrorBody> = {}
  try {
    body = (JSON.parse(text) as { error?: ErrorBody }).error ?? {}
  } catch {
    // The response is a proxy's own page.
  }
  const hint = Number(headers.get('retry-after')) * 1000 || body.retry
  // 501 is permanent: the node does not support what the request asks for.
  const unavailable = status >= 500 && status !== 501 && body.code !== 'FW_LOG_REFUSED'
  const retryable = status === 429 || status === 408 || unavailable
  const { code = `HTTP_${status}`, message = `the server answered ${status}` } = body
  return new FanwireError(code, message, status, retryable ? (hint ?? 0) : undefined)
}
