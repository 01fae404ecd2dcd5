// A TCP proxy with the faults of networks and of other proxies. The faults can change while it runs.

import { once } from 'node:events'
import { connect as dial, createServer, type AddressInfo, type Socket } from 'node:net'

export interface ProxyFaults {
  /** Upgrade requests are answered with 403. */
  blockUpgrades?: boolean
  /** Responses to a matching path are held until they end. */
  buffer?: RegExp | undefined
  /** A connection is cut after this many bytes of responses; called for each connection. */
  cutAfter?: (() => number | undefined) | undefined
  /** A connection is cut at this age, ms. */
  maxAge?: number | undefined
  /** New connections are refused. */
  refuse?: boolean
}

export interface FaultyProxy {
  readonly url: string
  readonly faults: ProxyFaults
  /** Number of connections that it has cut. */
  readonly cuts: number
  /** The port for new connections; called for each. */
  target: () => number
  /** Cuts all connections. */
  cut(): void
  close(): void
}

export async function startFaultyProxy(port: number, faults: ProxyFaults = {}): Promise<FaultyProxy> {
  const pairs = new Set<() => void>()
  let cuts = 0
  const proxy = { faults, target: () => port }
  const server = createServer(client => {
    if (faults.refuse) return void client.resetAndDestroy()
    const node = dial(proxy.target(), '127.0.0.1')
    const end = () => {
      clearTimeout(timer)
      pairs.delete(cut)
      client.destroy()
      node.destroy()
    }
    const cut = () => {
      if (!pairs.has(cut)) return
      cuts++
      end()
    }
    pairs.add(cut)
    const timer = faults.maxAge === undefined ? undefined : setTimeout(cut, faults.maxAge)
    let left = faults.cutAfter?.() ?? Infinity
    let held: Buffer[] | undefined
    client.on('data', bytes => {
      const text = bytes.toString('latin1')
      if (faults.blockUpgrades && /^upgrade: *websocket/im.test(text)) {
        client.end('HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n')
        return void node.destroy()
      }
      const path = /^[A-Z]+ (\S+) HTTP/.exec(text)?.[1]
      if (path !== undefined) held = faults.buffer?.test(path) ? (held ?? []) : undefined
      if (!node.write(bytes)) stop(client, node)
    })
    node.on('data', bytes => {
      if (held) return void held.push(bytes)
      const part = bytes.subarray(0, left)
      left -= part.length
      if (!client.write(part)) stop(node, client)
      // Earlier bytes are sent before the connection ends.
      if (left <= 0 && pairs.delete(cut)) {
        cuts++
        clearTimeout(timer)
        client.destroySoon()
        node.destroy()
      }
    })
    node.on('end', () => {
      if (held) client.write(Buffer.concat(held))
      client.end()
    })
    client.on('end', () => node.end())
    for (const socket of [client, node]) socket.setNoDelay(true).on('error', end).on('close', end)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return Object.defineProperties(proxy, {
    url: { value: `http://127.0.0.1:${(server.address() as AddressInfo).port}` },
    cuts: { get: () => cuts },
    cut: { value: () => [...pairs].forEach(cut => cut()) },
    close: {
      value: () => {
        server.close()
        for (const cut of pairs) cut()
      },
    },
  }) as unknown as FaultyProxy
}

/** Backpressure: a fast sender waits for a slow receiver. */
function stop(from: Socket, to: Socket): void {
  from.pause()
  to.once('drain', () => from.resume())
}
