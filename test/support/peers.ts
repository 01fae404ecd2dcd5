// The programs at the other end of a process's TCP connections, as the kernel knows them.

import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

interface Connection {
  readonly inode: string
  /** Address and port, in hex. */
  readonly local: string
  readonly remote: string
}

/** The other ends of all TCP connections of a process to processes of this machine, such as `nginx 4711:8080`. */
export function peersOf(pid: number): string[] {
  const all = connections()
  const own = socketsOf(pid)
  const owners = new Map<string, string>()
  for (const other of readdirSync('/proc').filter(name => /^\d+$/.test(name))) {
    for (const inode of socketsOf(Number(other))) owners.set(inode, `${programOf(other)} ${other}`)
  }
  return all
    .filter(({ inode }) => own.has(inode))
    .flatMap(mine => {
      const end = all.find(({ local, remote }) => local === mine.remote && remote === mine.local)
      const port = Number.parseInt(mine.remote.split(':')[1] ?? '', 16)
      return port === 0 ? [] : [`${owners.get(end?.inode ?? '') ?? 'unknown'}:${port}`]
    })
}

/** IPv4 only: the nodes of tests listen on 127.0.0.1. */
function connections(): Connection[] {
  const lines = readFileSync('/proc/net/tcp', 'utf8').trim().split('\n').slice(1)
  return lines.map(line => {
    const [, local = '', remote = '', , , , , , , inode = ''] = line.trim().split(/\s+/)
    return { inode, local, remote }
  })
}

/** The inodes of its sockets. Empty for a process that has gone, or of another user. */
function socketsOf(pid: number): Set<string> {
  try {
    const links = readdirSync(`/proc/${pid}/fd`).map(fd => linkOf(`/proc/${pid}/fd/${fd}`))
    return new Set(links.flatMap(link => /^socket:\[(\d+)\]$/.exec(link)?.[1] ?? []))
  } catch {
    return new Set()
  }
}

/** Empty if the descriptor has been closed. */
function linkOf(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    return ''
  }
}

function programOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim()
  } catch {
    return 'ended'
  }
}
