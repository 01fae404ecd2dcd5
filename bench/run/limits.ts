// Limits of this machine for one process and one address, checked before a load: connections need file descriptors and
// ports.

import { readFileSync } from 'node:fs'
import type { Options } from './options.ts'

/** Descriptors that a process needs for itself. */
const OWN = 64

export interface Allowed {
  /** Open files of a process. */
  readonly files: number
  /** Local ports for connections to one address. */
  readonly ports: number
}

/** The limits of this machine. An unknown value does not limit. */
export function allowed(): Allowed {
  // Node raises its own soft limit to the hard one when it starts.
  const files = /^Max open files +\S+ +(\d+)/m.exec(read('/proc/self/limits'))?.[1]
  const [first, last] = read('/proc/sys/net/ipv4/ip_local_port_range').trim().split(/\s+/).map(Number)
  return {
    files: files === undefined ? Number.POSITIVE_INFINITY : Number(files),
    ports: first === undefined || last === undefined ? Number.POSITIVE_INFINITY : last - first + 1,
  }
}

/** The number of processes per wire that have enough descriptors, or instructions as text if that is impossible. */
export function processesFor(options: Options, { files, ports }: Allowed): number | string {
  const { clients, wires, urls, processes, processesFree } = options
  const each = Math.ceil((clients * wires.length) / new Set(urls).size)
  if (each > ports) {
    return (
      `${each} clients of one URL need as many ports, and this machine has ${ports} of them for one address: ` +
      'spread the clients over several --url, load from several machines, or widen the range ' +
      "(sysctl -w net.ipv4.ip_local_port_range='1024 65535')"
    )
  }
  const room = Math.max(1, files - OWN)
  const needed = Math.ceil(clients / room)
  if (needed <= processes) return processes
  if (processesFree) return needed
  return (
    `${clients} clients in ${processes} processes need ${Math.ceil(clients / processes) + OWN} open files each, ` +
    `and the hard limit is ${files}: give --processes ${needed}, or raise it (ulimit -Hn as root, LimitNOFILE= in ` +
    'systemd, --ulimit nofile= in Docker)'
  )
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
