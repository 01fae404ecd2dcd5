// The resources of a node, measured from outside: descriptors and memory by the kernel, the rest by /metrics.

import { readdirSync } from 'node:fs'
import { request } from 'node:http'
import { residentOf } from '../../bench/processes/proc.ts'
import { WAIT_LIMIT_MS } from './until.ts'

/** Counts that must return to their initial values once all clients have left. */
export interface Counts {
  /** Open descriptors of the process. */
  readonly descriptors: number
  /** TCP connections counted by the node, including the one of this request. */
  readonly sockets: number
  /** Clients that stay connected, over all wires. */
  readonly connections: number
  /** Cursors in channels. */
  readonly readers: number
  /** Channels that are followed. */
  readonly channels: number
}

export interface Footprint extends Counts {
  /** Bytes in use in V8's heap and in buffers outside it. */
  readonly heap: number
  /** Resident bytes of the process. */
  readonly resident: number
}

export interface Measured {
  readonly pid: number
  readonly port: number
  /** The port of /metrics, if it is not `port`. */
  readonly metricsPort?: number
  /** An API key that may read /metrics, if it is not public. */
  readonly key?: string | undefined
}

/** Raises if the node does not answer. */
export async function footprintOf({ pid, port, metricsPort = port, key }: Measured): Promise<Footprint> {
  const { status, body } = await get(metricsPort, '/metrics', WAIT_LIMIT_MS, key)
  if (status !== 200) throw new Error(`/metrics: ${status}`)
  const sum = (name: string) => {
    const lines = body.matchAll(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, 'gm'))
    return [...lines].reduce((total, [, value]) => total + Number(value), 0)
  }
  return {
    descriptors: descriptorsOf(pid),
    sockets: sum('fanwire_sockets'),
    connections: sum('fanwire_connections'),
    readers: sum('fanwire_readers'),
    channels: sum('fanwire_channels_followed'),
    heap: sum('nodejs_heap_size_used_bytes') + sum('nodejs_external_memory_bytes'),
    resident: residentOf([pid]),
  }
}

/** 0 for a process that has gone. */
export function descriptorsOf(pid: number): number {
  try {
    return readdirSync(`/proc/${pid}/fd`).length
  } catch {
    return 0
  }
}

/** Describes the counts of `now` that exceed those of `before`. Empty if none does. */
export function leftOver(before: Counts, now: Counts): string[] {
  const names = ['descriptors', 'sockets', 'connections', 'readers', 'channels'] as const
  return names.filter(name => now[name] > before[name]).map(name => `${name} ${before[name]} → ${now[name]}`)
}

export interface Reply {
  readonly status: number
  readonly body: string
}

/** One request on a separate connection. Raises if there is no answer. */
export function get(port: number, path: string, within: number, key?: string): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const headers = key === undefined ? {} : { authorization: `Bearer ${key}` }
    const asked = request({ host: '127.0.0.1', port, path, headers, agent: false })
    const timer = setTimeout(
      () => asked.destroy(new Error(`no answer to ${path} within ${within} ms`)),
      within,
    )
    asked.once('close', () => clearTimeout(timer))
    asked.on('error', reject)
    asked.once('response', async answer => {
      const pieces: Buffer[] = []
      try {
        for await (const piece of answer) pieces.push(piece)
        resolve({ status: answer.statusCode ?? 0, body: Buffer.concat(pieces).toString() })
      } catch (error) {
        reject(error)
      }
    })
    asked.end()
  })
}
