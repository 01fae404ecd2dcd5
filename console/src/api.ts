// Requests to the node that served the page, with the user's token or API key.

/** An error response of the node. */
export class ApiError extends Error {
  readonly status: number
  readonly code: string

  constructor(status: number, code: string, message: string) {
    super(message)
    this.status = status
    this.code = code
  }
}

const KEY = 'fanwire-console-token'

/** The token, kept while the tab is open, and never in a URL. */
export const token = {
  get: () => sessionStorage.getItem(KEY) ?? '',
  set: (value: string) =>
    value === '' ? sessionStorage.removeItem(KEY) : sessionStorage.setItem(KEY, value),
}

export function authorization(): Record<string, string> {
  const value = token.get()
  return value === '' ? {} : { authorization: `Bearer ${value}` }
}

/** Sends a request. Raises ApiError, and TypeError if the node can't be reached. */
export async function send(path: string, init: RequestInit = {}): Promise<Response> {
  const response = await fetch(path, { ...init, headers: { ...authorization(), ...init.headers } })
  if (response.ok) return response
  const body = await response.json().catch(() => undefined)
  const { code = `HTTP ${response.status}`, message = response.statusText } = body?.error ?? {}
  throw new ApiError(response.status, code, message)
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  const response = await send(path, signal === undefined ? {} : { signal })
  return (await response.json()) as T
}

export async function post<T>(path: string, body: unknown): Promise<T> {
  const response = await send(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  return (await response.json()) as T
}

export interface Receipt {
  readonly channel: string
  readonly id: string
  readonly time: number
}

export function publish(channel: string, data: unknown, type = ''): Promise<Receipt> {
  const query = type === '' ? '' : `?type=${encodeURIComponent(type)}`
  return post<Receipt>(`/v1/channels/${encodeURIComponent(channel)}/events${query}`, data)
}

/** The lines of a response, as they arrive. `bytes` receives the size of each chunk. */
export async function* lines(response: Response, bytes?: (count: number) => void): AsyncGenerator<string> {
  if (response.body === null) return
  const decoder = new TextDecoder()
  const reader = response.body.getReader()
  let rest = ''
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return
      bytes?.(value.length)
      const parts = (rest + decoder.decode(value, { stream: true })).split('\n')
      rest = parts.pop() ?? ''
      yield* parts
    }
  } finally {
    // A caller that stops early must not leave the connection open. After an error of the connection this does nothing.
    void reader.cancel().catch(() => {})
  }
}

export interface FanwireEvent {
  readonly channel: string
  readonly id: string
  readonly time: number
  readonly type?: string
  readonly tags?: Readonly<Record<string, string>>
  readonly encoding?: 'base64'
  readonly erased?: boolean
  readonly data: unknown
}

export interface Gap {
  readonly channel: string
  readonly from: string
  readonly to: string
}

/** An error as text for people. */
export function wordsOf(error: unknown): string {
  if (error instanceof ApiError) return `${error.message} (${error.code})`
  if (error instanceof TypeError) return 'the node cannot be reached'
  return error instanceof Error ? error.message : String(error)
}

export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === 'AbortError'
}
