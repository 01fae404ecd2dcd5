// The token: requested once, kept until it expires or is rejected.

import type { Options } from './types.ts'

/** A token that expires within this time, ms, is no longer used. */
const MARGIN_MS = 10_000

export class Credentials {
  readonly #getToken: Options['getToken']
  #token: Promise<string | undefined> | undefined

  constructor(getToken: Options['getToken']) {
    this.#getToken = getToken
  }

  /** Raises the errors of `getToken`. */
  async get(): Promise<string | undefined> {
    const kept = await this.#token?.catch(() => undefined)
    if (kept !== undefined && !expires(kept)) return kept
    return this.renew()
  }

  /** Requests another token. Concurrent callers share it. */
  renew(): Promise<string | undefined> {
    const asked = Promise.resolve().then(() => this.#getToken?.())
    this.#token = asked
    asked.catch(() => this.drop())
    return asked
  }

  /** Drops the token, which the node has rejected. */
  drop(): void {
    this.#token = undefined
  }

  get renewable(): boolean {
    return this.#getToken !== undefined
  }
}

/** Whether a text is a JWT rather than a key. */
export const isToken = (text: string): boolean => /^[\w-]+\.[\w-]+\.[\w-]*$/.test(text)

function expires(token: string): boolean {
  if (!isToken(token)) return false
  try {
    const claims = atob((token.split('.')[1] ?? '').replace(/-/g, '+').replace(/_/g, '/'))
    const { exp } = JSON.parse(claims) as { exp?: number }
    return exp !== undefined && exp * 1000 - MARGIN_MS < Date.now()
  } catch {
    return false
  }
}
