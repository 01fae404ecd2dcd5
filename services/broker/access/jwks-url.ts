// Token keys from a URL: cached, fetched again when a key is unknown, and kept while the source is down.

import { jwksUrlFault } from './jwks-url-fault.ts'
import { NO_KEYS, parseJwks, type TokenKeys } from './jwks.ts'
import type { KeySource } from './tokens.ts'

export interface JwksUrlOptions {
  /** See `jwksUrlFault`. */
  readonly url: string
  /** The audience of tokens: a provider's keys sign for all its customers. */
  readonly audiences: readonly string[]
  readonly issuer?: string
  /** How long an answer may take, ms. */
  readonly timeout?: number
  /** ms; need not be the time of day. */
  readonly clock?: () => number
  /** Called when the keys have changed. */
  readonly onChange?: () => void
  /** Receives the reason why the source could not be read. */
  readonly onFailure?: (reason: string) => void
}

export interface JwksUrl extends KeySource {
  close(): void
}

/** The shortest time between two requests for unknown keys, ms. */
const REFETCH_MS = 30_000
/** Used until keys have been read for the first time, ms. */
const FIRST_ASK_AGAIN_MS = 2000
/** After it, keys are fetched again in the background, so that keys which a provider withdrew disappear. */
const STALE_MS = 600_000
const MOST_BYTES = 2 ** 20

/** Raises `Error` for a faulty URL. A node awaits `refresh` before it serves. */
export function createJwksUrl({
  url,
  audiences,
  issuer,
  timeout = 5000,
  clock = () => performance.now(),
  onChange = () => {},
  onFailure = () => {},
}: JwksUrlOptions): JwksUrl {
  const fault = jwksUrlFault(url)
  if (fault !== undefined) throw new Error(`the URL of the key set ${fault}`)
  const closing = new AbortController()
  let keys: TokenKeys = NO_KEYS
  let text: string | undefined
  let askedAt = -Infinity
  /** When the keys were last requested for an unknown key. */
  let refetchedAt = -Infinity
  let asking: Promise<boolean> | undefined

  const ask = async (): Promise<boolean> => {
    try {
      const answer = await fetchText(url, AbortSignal.any([closing.signal, AbortSignal.timeout(timeout)]))
      if (answer === text) return false
      const read = parseJwks(answer, { published: true, audiences, issuer })
      if (read.size === 0) throw new Error('the key set has no key that can be used here')
      keys = read
      text = answer
      onChange()
      return true
    } catch (error) {
      if (!closing.signal.aborted) onFailure(reasonOf(error))
      return false
    }
  }

  const fetchKeys = (): Promise<boolean> => {
    askedAt = clock()
    asking ??= ask().finally(() => {
      asking = undefined
    })
    return asking
  }

  const refresh = (): Promise<boolean> => {
    if (asking !== undefined) return asking
    const now = clock()
    const isEarly = text === undefined ? now - askedAt < FIRST_ASK_AGAIN_MS : now - refetchedAt < REFETCH_MS
    if (isEarly || closing.signal.aborted) return Promise.resolve(false)
    if (text !== undefined) refetchedAt = now
    return fetchKeys()
  }

  return {
    get keys() {
      if (clock() - askedAt >= STALE_MS && !closing.signal.aborted) void fetchKeys()
      return keys
    },
    get known() {
      return text !== undefined
    },
    refresh,
    close: () => closing.abort(),
  }
}

/**
 * Raises unless the source answers 200 with at most 1 MiB in time. Redirects are not followed: the setting names the
 * source.
 */
async function fetchText(url: string, signal: AbortSignal): Promise<string> {
  const response = await fetch(url, { signal, redirect: 'error', headers: { accept: 'application/json' } })
  try {
    if (response.status !== 200) throw new Error(`the response status is ${response.status}`)
    const chunks: Uint8Array[] = []
    let bytes = 0
    for await (const chunk of response.body ?? []) {
      bytes += chunk.length
      if (bytes > MOST_BYTES) throw new Error('the key set is larger than 1 MiB')
      chunks.push(chunk)
    }
    return Buffer.concat(chunks).toString()
  } finally {
    if (response.body !== null && !response.body.locked) await response.body.cancel()
  }
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown'
  if (error.name === 'TimeoutError') return 'no answer in time'
  const cause: unknown = error.cause
  return cause instanceof Error ? cause.message : error.message
}
