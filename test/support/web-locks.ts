// Implements Web Locks (W3C) within one process, for clients in Node that share a connection as tabs do. Import it
// before the client.

interface Held {
  readonly run: () => Promise<unknown>
  readonly resolve: (value: unknown) => void
  readonly reject: (error: unknown) => void
}

const held = new Map<string, Held>()
const queues = new Map<string, Held[]>()

/** `until` delays the arrival of new requests until it resolves. `grant` delays the grant of a lock that became free, ms. */
export const late: { until: Promise<void> | undefined; grant: number } = { until: undefined, grant: 0 }

function grant(name: string): void {
  const next = held.has(name) ? undefined : queues.get(name)?.shift()
  if (next === undefined) return
  held.set(name, next)
  const free = () => {
    if (held.get(name) !== next) return
    held.delete(name)
    if (late.grant === 0) grant(name)
    else setTimeout(() => grant(name), late.grant)
  }
  Promise.resolve().then(next.run).then(next.resolve, next.reject).finally(free)
}

export const locks = {
  async request(...asked: Parameters<typeof request>): Promise<unknown> {
    if (late.until) await late.until
    return request(...asked)
  },
}

function request(
  name: string,
  { signal, steal }: { signal?: AbortSignal; steal?: boolean },
  run: () => Promise<unknown>,
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const mine: Held = { run, resolve, reject }
    const queue = queues.get(name) ?? []
    queues.set(name, queue)
    if (steal) {
      held.get(name)?.reject(new DOMException('stolen', 'AbortError'))
      held.delete(name)
      queue.unshift(mine)
    } else queue.push(mine)
    signal?.addEventListener('abort', () => {
      const at = queue.indexOf(mine)
      if (at === -1) return
      queue.splice(at, 1)
      reject(new DOMException('aborted', 'AbortError'))
    })
    grant(name)
  })
}

const { navigator = {} } = globalThis as { navigator?: object }
if (!('locks' in navigator))
  Object.defineProperty(globalThis, 'navigator', {
    configurable: true,
    value: Object.assign(Object.create(navigator), { locks }),
  })
