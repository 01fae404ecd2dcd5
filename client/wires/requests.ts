// A link that consists of requests. A change of channels or token needs a new request.

import { type Env, type Fault, faultOf, type Link, type LinkEvents, sift, type Source } from '../link.ts'
import type { Wire } from '../types.ts'

export interface Requesting {
  /** Whether the link has delivered. */
  readonly open: boolean
  /** Reports that it delivers. */
  opened(): void
  /** Sets the time in which something must arrive, ms. */
  expect(ms: number): void
  down(fault: Fault): void
}

/** `read` requests sources until its signal aborts. An error that it raises ends the link. */
export function openRequests(
  env: Env,
  events: LinkEvents,
  wire: Wire,
  read: (sources: readonly Source[], signal: AbortSignal, link: Requesting) => Promise<void>,
): Link {
  let sources: readonly Source[] = []
  let abort: AbortController | undefined
  let deadline = Infinity
  let open = false
  let closed = false

  const close = () => {
    closed = true
    clearInterval(watch)
    abort?.abort()
  }
  const down = (fault: Fault) => {
    if (closed) return
    close()
    events.down(fault)
  }
  const look = () => {
    if (Date.now() > deadline) down({ why: `nothing arrives over ${wire}`, kind: 'mute' })
  }
  const watch = setInterval(look, Math.min(1000, env.timing.open / 4))

  const link: Requesting = {
    get open() {
      return open
    },
    opened() {
      if (open) return
      open = true
      events.opened()
    },
    expect(ms) {
      deadline = Date.now() + ms
    },
    down,
  }

  const start = () => {
    abort?.abort()
    deadline = Infinity
    if (sources.length === 0) return
    const mine = sources
    const { signal } = (abort = new AbortController())
    link.expect(env.timing.open)
    read(mine, signal, link).catch(async (error: unknown) => {
      if (signal.aborted) return
      deadline = Infinity
      // Refused sources leave, and the others are requested again.
      const sifted = await sift(env, mine, error)
      if (!sifted && !signal.aborted) down(faultOf(error))
    })
  }

  return {
    want(next) {
      if (next.length === sources.length && next.every((each, i) => each === sources[i])) return
      sources = next
      start()
    },
    check: look,
    close,
  }
}
