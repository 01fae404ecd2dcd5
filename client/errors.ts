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

/** Codes of temporary errors, which a WebSocket reports without a status. */
const RETRYABLE = /^FW_(LOG_UNAVAILABLE|NOT_|OVERLOADED|DRAINING|TOO_MANY_(CONNECTIONS|FOLLOWED|REQUESTS))/

interface ErrorBody {
  readonly code: string
  readonly message: string
  readonly retry?: number
}

export function errorOf({ code, message, retry }: ErrorBody): FanwireError {
  return new FanwireError(code, message, undefined, retry ?? (RETRYABLE.test(code) ? 0 : undefined))
}

/** The error of a response that is not 2xx. */
export async function errorIn(response: Response): Promise<FanwireError> {
  const { status, headers } = response
  const text = await response.text().catch(() => '')
  let body: Partial<ErrorBody> = {}
  try {
    body = (JSON.parse(text) as { error: ErrorBody }).error
  } catch {
    // The response is a proxy's own page.
  }
  const hint = Number(headers.get('retry-after')) * 1000 || body.retry
  const retryable = status === 429 || status === 408 || (status >= 500 && body.code !== 'FW_LOG_REFUSED')
  const { code = `HTTP_${status}`, message = `the server answered ${status}` } = body
  return new FanwireError(code, message, status, retryable ? (hint ?? 0) : undefined)
}
