// Open descriptors of a process, as reported by Linux.

import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'

/** The reason to skip a test that counts descriptors; false if it can run. */
export const withoutProc = existsSync('/proc/net/tcp') ? false : 'descriptors are counted in /proc'

/** The process and the processes that it has started. */
function family(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean)
  return [pid, ...children.flatMap(each => family(Number(each)))]
}

/** Inodes of the sockets that are open in a process. */
function socketsOf(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`).flatMap(fd => {
    try {
      return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1] ?? []
    } catch {
      return [] // The descriptor was closed meanwhile.
    }
  })
}

/** Inodes of the connections to a port of this machine, in any state, without the listener. */
function connectionsTo(port: number): Set<string> {
  const LISTENS = '0A'
  const found = new Set<string>()
  for (const table of ['tcp', 'tcp6']) {
    for (const line of readFileSync(`/proc/net/${table}`, 'utf8').split('\n').slice(1)) {
      const [, local = '', , state, , , , , , inode = ''] = line.trim().split(/\s+/)
      if (Number.parseInt(local.split(':')[1] ?? '', 16) === port && state !== LISTENS) found.add(inode)
    }
  }
  return found
}

/** Descriptors of connections to `port` that a process, or one that it started, has open. */
export function descriptorsOf({ pid, port }: { readonly pid: number; readonly port: number }): number {
  const connections = connectionsTo(port)
  return family(pid)
    .flatMap(socketsOf)
    .filter(inode => connections.has(inode)).length
}
