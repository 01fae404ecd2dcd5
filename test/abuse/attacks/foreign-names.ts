// H9 and S9: requests with a foreign Host, or for a private path in any spelling, which must be rejected.

import type { Attack } from '../attack.ts'
import { exchange, getting, paced } from '../raw.ts'

const RATE = 40

/** Sends the requests in turn. `wrong`: those that were answered 200. */
async function ask(port: number, signal: AbortSignal, requests: Readonly<Record<string, string>>) {
  const reached = new Map<string, number>()
  const all = Object.entries(requests)
  const asked = await paced(RATE, signal, async n => {
    const [what, request] = all[n % all.length] ?? ['', '']
    const { text, socket } = await exchange(port, request)
    if (/^HTTP\/1.[01] 200 /.test(text)) reached.set(what, (reached.get(what) ?? 0) + 1)
    socket?.destroy()
  })
  return {
    did: { asked },
    wrong: [...reached].map(([what, times]) => `${what} was answered 200 ${times} times`),
  }
}

export const foreignHost: Attack = {
  name: 'foreign-host',
  title: 'H9: requests to a loopback node by a foreign Host',
  rate: `${RATE} a second`,
  needs: { env: { FANWIRE_SOCKET_IO: '1' } },
  attack({ port, channel }, signal) {
    const paths = [
      `/v1/poll?channel=${channel}`,
      `/v1/sse?channel=${channel}`,
      `/v1/stream?channel=${channel}`,
      `/v1/refresh?channel=${channel}`,
      `/v1/channels/${channel}`,
      '/metrics',
      '/socket.io/?EIO=4&transport=polling',
    ]
    const foreign = (path: string) =>
      getting(path).replace('Host: 127.0.0.1', `Host: elsewhere.example:${port}`)
    return ask(port, signal, Object.fromEntries(paths.map(path => [path, foreign(path)])))
  },
}

export const encodedMetrics: Attack = {
  name: 'encoded-metrics',
  title: 'S9: `/metrics` through HAProxy by other spellings',
  rate: `${RATE} a second`,
  needs: { redis: [], balancer: 'haproxy' },
  attack({ port }, signal) {
    return ask(port, signal, {
      '/metrics': getting('/metrics'),
      '/%6detrics': getting('/%6detrics'),
      '/metric%73?': getting('/metric%73?'),
      'absolute-form': getting(`http://127.0.0.1:${port}/metrics`),
      HEAD: getting('/metrics').replace('GET', 'HEAD'),
    })
  },
}
