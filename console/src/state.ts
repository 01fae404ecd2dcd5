// Shared by several views: the route in the hash, and polling while the page is visible.

import { useEffect, useState } from 'preact/hooks'
import { ApiError, isAbort } from './api.ts'

export interface Route {
  /** Empty if the page was opened without a hash. */
  readonly view: string
  /** The path after the view, such as a channel. */
  readonly rest: string
  readonly query: URLSearchParams
  /** The number of the visit: each followed link is another one, also if it leads to the same view. */
  readonly visit: number
}

function routeOf(hash: string, visit: number): Route {
  const [path = '', query = ''] = hash.replace(/^#\/?/, '').split('?', 2)
  const [view = '', ...rest] = path.split('/')
  return {
    view,
    rest: decodeURIComponent(rest.join('/')),
    query: new URLSearchParams(query),
    visit,
  }
}

export function useRoute(): Route {
  const [route, setRoute] = useState(() => routeOf(location.hash, 0))
  useEffect(() => {
    const change = () => setRoute(({ visit }) => routeOf(location.hash, visit + 1))
    addEventListener('hashchange', change)
    return () => removeEventListener('hashchange', change)
  }, [])
  return route
}

/** Changes the route without a new entry in the browser's history. */
export function replaceRoute(hash: string): void {
  history.replaceState(null, '', hash)
}

export interface Polled<T> {
  readonly value: T | undefined
  readonly error: unknown
}

/** Reads at once, then `every` ms after each response, while the page is visible. */
export function usePolled<T>(
  read: (signal: AbortSignal) => Promise<T>,
  every: number,
  key: readonly unknown[],
): Polled<T> {
  const [state, setState] = useState<Polled<T>>({ value: undefined, error: undefined })
  useEffect(() => {
    const abort = new AbortController()
    let timer: ReturnType<typeof setTimeout> | undefined
    const poll = async () => {
      try {
        if (!document.hidden) {
          const value = await read(abort.signal)
          setState({ value, error: undefined })
        }
      } catch (error) {
        if (isAbort(error)) return
        setState(({ value }) => ({ value, error }))
        // The path stays forbidden until the user enters another token.
        if (error instanceof ApiError && (error.status === 401 || error.status === 403)) return
      }
      if (!abort.signal.aborted) timer = setTimeout(poll, every)
    }
    void poll()
    return () => {
      abort.abort()
      clearTimeout(timer)
    }
  }, key)
  return state
}

export const channelPath = (channel: string) => `/v1/channels/${encodeURIComponent(channel)}`
export const adminChannelPath = (channel: string) => `/v1/admin/channels/${encodeURIComponent(channel)}`
export const offsetOf = (position: string) => Number(position.slice(position.lastIndexOf('-') + 1))
export const epochOf = (position: string) => position.slice(0, position.lastIndexOf('-'))
