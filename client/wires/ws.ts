// WebSocket: one connection, on which channels are subscribed and unsubscribed, and the token is renewed.

import { backoff } from '../backoff.ts'
import { isToken } from '../credentials.ts'
import { errorOf, Unauthorized } from '../errors.ts'
import {
  deliver,
  type Fault,
  faultOf,
  faultOfCode,
  type Message,
  type OpenLink,
  type Source,
} from '../link.ts'

/** A silent connection is pinged after this fraction of the longest silence. */
const PING_AFTER = 0.5
/** How long an answer to a ping may take after the machine has slept, ms. */
const CHECK_MS = 5000
/** A token is renewed this long before it expires, ms. */
const RENEW_MS = 30_000

interface Answer {
  /** A channel that the node took from the connection. */
  readonly unsubscribed?: { readonly channel: string }
  readonly ok?: { readonly cursor?: string; readonly expires?: number }
  readonly error?: { readonly code: string; readonly message: string; readonly retry?: number }
}

export const openWs: OpenLink = (env, events) => {
  const { timing, credentials } = env
  const wanted = new Map<string, Source>()
  /** Sources whose subscribe was answered. */
  const live = new Map<string, Source>()
  const answers = new Map<number, (answer: Answer) => void>()
  const timers = new Set<ReturnType<typeof setTimeout>>()
  let socket: InstanceType<NonNullable<typeof env.WebSocket>> | undefined
  let ref = 0
  /** Whether the node has seen a token or key of this connection. */
  let shown = false
  let state: 'opening' | 'open' | 'closed' = 'opening'
  let heard = Date.now()
  let deadline = heard + timing.open

  const after = (ms: number, run: () => void) => {
    const timer = setTimeout(() => {
      timers.delete(timer)
      run()
    }, ms)
    timers.add(timer)
  }

  const close = () => {
    state = 'closed'
    clearInterval(watch)
    timers.forEach(clearTimeout)
    if (socket) {
      socket.onmessage = socket.onclose = null
      // On some platforms, closing a socket that is still connecting causes an error event.
      socket.onerror = () => {}
      socket.close()
    }
  }

  const down = (fault: Fault) => {
    if (state === 'closed') return
    close()
    events.down(fault)
  }

  const send = (command: object, answered: (answer: Answer) => void) => {
    answers.set(++ref, answered)
    socket?.send(JSON.stringify({ ref, ...command }))
  }

  const ping = () => send({ ping: true }, () => {})

  /** Checks the connection every second, and at once when the machine wakes up. */
  const look = () => {
    const now = Date.now()
    if (now > deadline)
      return down({ why: 'the connection is silent', kind: state === 'open' ? 'mute' : undefined } as Fault)
    const quiet = heard + timing.silence * PING_AFTER
    if (state === 'open' && now > quiet && deadline > now + CHECK_MS) {
      deadline = now + CHECK_MS
      ping()
    }
  }
  const watch = setInterval(look, Math.min(1000, timing.open / 4))

  const subscribe = (source: Source, refusals = 0) => {
    const { channel, cursor, options } = source
    send({ subscribe: channel, cursor, ...options }, ({ ok, error }) => {
      if (wanted.get(channel) !== source) return
      if (ok) {
        live.set(channel, source)
        if (ok.cursor !== undefined) source.opened(ok.cursor)
        return
      }
      const refusal = errorOf(error ?? { code: '', message: '' })
      // Without a token, another one does not come by itself: only this channel is refused.
      if (refusal.code === 'FW_UNAUTHORIZED' && credentials.renewable && shown)
        down({ kind: 'rejected', why: refusal.message })
      else if (refusal.retry === undefined) source.refused(refusal)
      else
        after(
          backoff(refusals, refusal.retry, timing),
          () => wanted.get(channel) === source && subscribe(source, refusals + 1),
        )
    })
  }

  const authenticate = (token: string | undefined, done: () => void) => {
    if (!token) return done()
    shown = true
    send({ auth: isToken(token) ? { token } : { key: token } }, ({ ok, error }) => {
      if (!ok) {
        const { message: why, retry: hint } = errorOf(error ?? { code: '', message: '' })
        if (hint !== undefined) return down({ kind: 'ended', why, hint })
        credentials.drop()
        return down({ kind: 'rejected', why })
      }
      if (ok.expires !== undefined) {
        const left = ok.expires - Date.now()
        after(Math.min(2 ** 31 - 1, Math.max(left - RENEW_MS, left / 2)), renew)
      }
      done()
    })
  }

  /** Renews the token. If that fails, the node closes the connection with 4401 when the token expires. */
  const renew = () =>
    credentials.renew().then(
      token => state === 'open' && authenticate(token, () => {}),
      error => error instanceof Unauthorized && down(faultOf(error)),
    )

  const opened = () => {
    state = 'open'
    events.opened()
    // The listener may have changed the sources, and have begun some already.
    for (const source of wanted.values()) if (!asked.has(source)) begin(source)
  }

  /** Sources for which a subscribe was sent. */
  const asked = new Set<Source>()
  const begin = (source: Source) => {
    asked.add(source)
    subscribe(source)
  }

  /** Subscribes anew to a channel that the connection lost: the node says whether the client may still read it. */
  const again = (channel: string) => {
    const source = live.get(channel)
    if (source === undefined) return
    live.delete(channel)
    subscribe(source)
  }

  const take = (text: string, token: string | undefined) => {
    heard = Date.now()
    if (state === 'open') deadline = heard + timing.silence
    const message = JSON.parse(text) as Message & Answer & { ref?: number }
    if (message.ref !== undefined) {
      const answered = answers.get(message.ref)
      answers.delete(message.ref)
      answered?.(message)
    } else if (message.open) authenticate(token, opened)
    else if (message.unsubscribed) again(message.unsubscribed.channel)
    else deliver(message, channel => live.get(channel))
  }

  const connect = async () => {
    const token = await credentials.get()
    if (state === 'closed' || !env.WebSocket) return
    deadline = Date.now() + timing.open
    socket = new env.WebSocket(`${env.url.replace(/^http/, 'ws')}/v1/ws`)
    socket.onmessage = ({ data }: { data: string }) => state !== 'closed' && take(data, token)
    socket.onclose = ({ code, reason }: { code: number; reason: string }) => {
      const plain = code === 1005 || code === 1006 || state === 'opening'
      down(plain && code < 4000 ? { why: 'the connection was cut' } : faultOfCode(code, `${reason}`))
    }
    socket.onerror = () => {}
  }
  connect().catch((error: unknown) => down(faultOf(error)))

  return {
    want(sources) {
      const next = new Map(sources.map(source => [source.channel, source]))
      for (const [channel, source] of wanted) {
        if (next.get(channel) === source) continue
        wanted.delete(channel)
        live.delete(channel)
        if (asked.delete(source)) send({ unsubscribe: channel }, () => {})
      }
      for (const [channel, source] of next) {
        if (wanted.has(channel)) continue
        wanted.set(channel, source)
        if (state === 'open') begin(source)
      }
    },
    check() {
      if (state !== 'open') return
      look()
      deadline = Math.min(deadline, Date.now() + CHECK_MS)
      if (socket) ping()
    },
    close,
  }
}
